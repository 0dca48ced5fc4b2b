// Words, numbers and times, in the language of whoever looks and the time zone of the site.

const LANGUAGES = { en: "English", pt: "Português" };
const LOCALES = { en: "en-GB", pt: "pt-PT" }; // how numbers and dates are written
// As in manager/translated.py: gaps filled with a sentence of their own, with one word, and with a number.
const PARTS = ["what", "why", "todo", "whose"];
const NAMES = ["device", "charger", "mark", "field", "command", "url"];
const NUMBER = /_(a|s|pct|kwh|n)$/;
let table = {};
let sentences = []; // what the manager writes: its pattern, the same in this language
let zone;
export let language = "en";

export const languages = Object.entries(LANGUAGES);

/** Load the language chosen here before, or the browser's. */
export async function load() {
  const wished = [localStorage.getItem("language"), ...navigator.languages.map((l) => l.slice(0, 2))];
  language = wished.find((l) => l in LANGUAGES) ?? "en";
  table = await (await fetch(`/assets/words.${language}.json`)).json();
  const said = Object.entries(table).filter(([key]) => key.startsWith("said."));
  sentences = said.map(([key, theirs]) => pattern(key.slice(5), theirs)).sort((a, b) => b.own - a.own);
  document.documentElement.lang = language;
}

export function choose(name) {
  localStorage.setItem("language", name);
}

/** The time zone of the site; "" for the browser's own. */
export function inZone(name) {
  zone = name || undefined;
}

const filled = (words, values) => words.replace(/{(\w+)}/g, (whole, name) => values[name] ?? whole);

/** The words of this key, its {names} filled in. */
export function t(key, values = {}) {
  return filled(table[key] ?? key, values);
}

/** What the manager says: by its kind where this language has words for it, else as it said it. */
export function told(kind, words, values = {}) {
  const written = Object.entries(values).map(([name, v]) => [name, typeof v === "number" ? plain(v) : v]);
  const kept = table[`told.${kind}`];
  return kept ? filled(kept, Object.fromEntries(written)) : words;
}

function pattern(ours, theirs) {
  const filling = (name) => (NUMBER.test(name) ? "[+-]?\\d+(?:\\.\\d+)?" : NAMES.includes(name) ? "\\S+" : ".*?");
  const parts = ours.split(/{(\w+)}/).map((part, n) => (n % 2
    ? `(?<${part}>${filling(part)})`
    : part.replaceAll(/[\\^$.*+?()[\]{}|/]/g, "\\$&")));
  return { theirs, at: new RegExp(`^${parts.join("")}$`, "s"), own: ours.replaceAll(/{\w+}/g, "").length };
}

/** A sentence the manager wrote, in this language if it has one for it, else as it was written. */
export function sentence(words) {
  for (const { theirs, at } of sentences) {
    const found = at.exec(words);
    if (!found) continue;
    const fills = Object.entries(found.groups ?? {}).map(([name, value]) => [name, fill(name, value)]);
    return filled(theirs, Object.fromEntries(fills));
  }
  return words;
}

function fill(name, value) {
  if (PARTS.includes(name)) return sentence(value);
  if (name === "weekday") return days(value.toLowerCase());
  return NUMBER.test(name) ? value.replace(".", t("decimal")) : value;
}

const number = (least, most = least) => {
  const made = {};
  return (n) => (made[language] ??= new Intl.NumberFormat(LOCALES[language], {
    minimumFractionDigits: least, maximumFractionDigits: most,
  })).format(n);
};
export const tenths = number(1);
const hundredths = number(2);
export const plain = number(0, 3);

export const amps = (a) => `${tenths(a)} A`;
export const kwh = (wh) => `${wh < 10_000 ? hundredths(wh / 1000) : tenths(wh / 1000)} kWh`;
export const kw = (w) => `${tenths(w / 1000)} kW`;
/** Money, given as decimal text and never made a float. */
export const money = (text, currency) => new Intl.NumberFormat(LOCALES[language], {
  style: "currency", currency: currency || "EUR",
}).format(text);

/** A price as decimal text, with as many digits as it has. */
export const price = (text, currency) => new Intl.NumberFormat(LOCALES[language], {
  style: "currency", currency: currency || "EUR", minimumFractionDigits: 2, maximumFractionDigits: 6,
}).format(text);

/** A percentage as decimal text. */
export const percent = (text) => `${number(0, 3)(Number(text))} %`;

/** Days as they are written for the manager, `mon-fri`, in this language. */
export const days = (text) => text.replaceAll(/\b(mon|tue|wed|thu|fri|sat|sun)\b/g, (day) => t(`day.${day}`));

const time = (options) => (ms) => new Intl.DateTimeFormat(LOCALES[language], { timeZone: zone, ...options }).format(ms);
export const clock = time({ hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
export const hour = time({ hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
export const date = time({ weekday: "short", day: "numeric", month: "short" });
export const longDate = time({ weekday: "long", day: "numeric", month: "long", year: "numeric" });
export const month = time({ month: "long", year: "numeric" });
export const dayMonthYear = time({ year: "numeric", month: "2-digit", day: "2-digit" });
/** "2026-11" in words. */
export const monthOf = (text) => new Intl.DateTimeFormat(LOCALES[language], {
  timeZone: "UTC", month: "long", year: "numeric",
}).format(new Date(`${text}-01T00:00:00Z`));
export const dateAndTime = time({
  year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", hourCycle: "h23",
});

export function duration(seconds) {
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

const shortDay = (ms) => new Intl.DateTimeFormat("en-GB", { timeZone: zone, weekday: "short" }).format(ms);
/** Day of the week over day of the month, for the foot of a plot. */
export const dayBelow = (ms) => `${t(`day.${shortDay(ms).toLowerCase()}`)}\n${dayOf(ms)[2]}`;

/** Year, month (0..11) and day of this moment at the site. */
export function dayOf(ms) {
  const parts = new Intl.DateTimeFormat("en-CA", {
    timeZone: zone, year: "numeric", month: "2-digit", day: "2-digit", calendar: "gregory",
  }).formatToParts(ms);
  const part = (type) => Number(parts.find((p) => p.type === type).value);
  return [part("year"), part("month") - 1, part("day")];
}

/** When this day begins at the site, in ms; days and months beyond their month's end run on. */
export function dayStart(year, monthNumber, day) {
  const wanted = Date.UTC(year, monthNumber, day);
  let ms = wanted;
  for (let round = 0; round < 2; round += 1) ms += wanted - wallClock(ms);
  return ms;
}

function wallClock(ms) {
  const parts = {};
  for (const { type, value } of new Intl.DateTimeFormat("en-CA", {
    timeZone: zone, year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric",
    second: "numeric", hourCycle: "h23", calendar: "gregory",
  }).formatToParts(ms)) parts[type] = Number(value);
  return Date.UTC(parts.year, parts.month - 1, parts.day, parts.hour, parts.minute, parts.second) + ms % 1000;
}

/** The wall clock of the site as a Date whose local fields say it, for plots. */
export const onTheWall = (seconds) => (zone ? uPlot.tzDate(new Date(seconds * 1000), zone) : new Date(seconds * 1000));
