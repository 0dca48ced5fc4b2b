// What was: currents of a day, energy of a week or a month, by the store's readings.

import { ask } from "/assets/ask.js";
import { choice, h, say, table } from "/assets/dom.js";
import { carColour, Plot } from "/assets/plot.js";
import { amps, date, dayBelow, dayOf, dayStart, hour, kwh, longDate, month, t } from "/assets/words.js";

let span = "day";
let day = null; // [year, month, day] that is shown, or the first of what is shown

export function show(main) {
  day ??= dayOf(Date.now());
  const title = h("p", { class: "label", role: "status" });
  const content = h("div", {});
  let plot = null;
  let turn = 0;

  const draw = async () => {
    const mine = turn += 1;
    const [from, to] = bounds();
    say(title, { day: () => longDate(from), week: () => t("history.weekof", { from: date(from), to: date(to - 1) }), month: () => month(from) }[span]());
    next.disabled = to > Date.now();
    const step = span === "day" ? "" : "&step_s=3600";
    const until = Math.max(from + 60_000, Math.min(to, Date.now()));
    const said = await ask(`/api/history?from_ms=${from}&to_ms=${until}${step}`);
    if (mine !== turn) return;
    plot?.end();
    const shown = span === "day" ? currents(said, from, to) : energies(said);
    plot = shown.plot;
    content.replaceChildren(plot.box, ...shown.tables);
    plot.draw();
    content.dataset.span = span;
  };
  const move = (way) => () => {
    const [y, m, d] = day;
    day = dayOf(dayStart(...(span === "month" ? [y, m + way, 1] : [y, m, d + way * (span === "week" ? 7 : 1)])));
    draw();
  };
  const next = h("button", { type: "button", onclick: move(1) }, t("history.next"));
  main.append(
    choice(t("history.span"), ["day", "week", "month"].map((s) => [s, t(`history.${s}`)]), span, (s) => {
      span = s;
      draw();
    }),
    h("div", { class: "buttons" }, h("button", { type: "button", onclick: move(-1) }, t("history.before")), next),
    title, content);
  const drawn = draw();
  return drawn.then(() => () => plot?.end());
}

function bounds() {
  const [y, m, d] = day;
  if (span === "month") return [dayStart(y, m, 1), dayStart(y, m + 1, 1)];
  if (span === "week") {
    const monday = d - (new Date(Date.UTC(y, m, d)).getUTCDay() + 6) % 7;
    return [dayStart(y, m, monday), dayStart(y, m, monday + 7)];
  }
  return [dayStart(y, m, d), dayStart(y, m, d + 1)];
}

const zeros = (n) => Array.from({ length: n }, () => 0);
const add = (a, b) => a.map((v, i) => (v === null && b[i] === null ? null : (v ?? 0) + (b[i] ?? 0)));
const sum = (values) => values.reduce((all, v) => all + (v ?? 0), 0);

// House, cars and sun of what the meters said: a meter of the grid measures the cars too.
function parts(said, of) {
  const by = (role) => said.devices.filter((d) => d.role === role);
  const cars = by("charger").map((d) => [d.id, d[of]]);
  const none = said.t.map(() => null);
  const all = cars.reduce((total, [, values]) => add(total, values), none);
  const [house] = by("house");
  const [grid] = by("grid");
  const [sun] = by("solar");
  const total = grid ? grid[of] : house ? add(house[of], all) : all;
  const rest = grid ? grid[of].map((v, i) => (v === null ? null : Math.max(0, v - (all[i] ?? 0)))) : house?.[of] ?? none;
  return { house: rest, total, cars, sun: sun?.[of] ?? null };
}

function currents(said, from, to) {
  const mean = parts(said, "mean_a");
  const peak = parts(said, "peak_a").total;
  const lines = [
    { label: t("limit"), colour: "--limit", dash: [6, 4] },
    { label: t("peak"), colour: "--edge", width: 1 },
    { label: t("total"), colour: "--total" },
    { label: t("house"), colour: "--house" },
    ...mean.cars.map(([label], i) => ({ label, colour: carColour(i) })),
    ...(mean.sun ? [{ label: t("solar"), colour: "--sun" }] : []),
  ];
  const data = [said.t, said.t.map(() => said.limit_a), peak, mean.total, mean.house,
    ...mean.cars.map(([, values]) => values), ...(mean.sun ? [mean.sun] : [])];
  const plot = new Plot(() => ({
    label: t("plot.time"), lines, data, range: () => [from / 1000, to / 1000],
    when: (_, s) => (s == null ? "–" : hour(s * 1000)),
  }), t("plot.day"));
  const highest = Math.max(0, ...peak.filter((v) => v !== null));
  const energy = parts(said, "energy_wh");
  const rows = [[t("house"), sum(energy.house)], ...energy.cars.map(([id, values]) => [id, sum(values)]),
    ...(energy.sun ? [[t("solar"), sum(energy.sun)]] : [])];
  const columns = [[t("device"), (r) => r[0]], [t("energy"), (r) => kwh(r[1]), "number"]];
  const any = said.devices.length > 0;
  return {
    plot,
    tables: [
      h("p", {}, any ? t("history.highest", { amps: amps(highest) }) : t("history.nothing")),
      h("h2", {}, t("history.energy")),
      table(t("history.energy"), columns, any ? rows : [], t("history.nothing")),
    ],
  };
}

function energies(said) {
  const energy = parts(said, "energy_wh");
  const [from, to] = bounds();
  const days = [];
  for (let [y, m, d] = dayOf(from); dayStart(y, m, d) < to; d += 1) days.push(dayStart(y, m, d));
  const index = said.t.map((s) => days.findLastIndex((start) => start <= s * 1000));
  const daily = (values) => {
    const sums = zeros(days.length);
    values.forEach((v, i) => {
      if (v !== null && index[i] >= 0) sums[index[i]] += v;
    });
    return sums;
  };
  const series = [[t("house"), "--house", daily(energy.house)],
    ...energy.cars.map(([id, values], i) => [id, carColour(i), daily(values)])];
  const sun = energy.sun ? [[t("solar"), "--sun", daily(energy.sun)]] : []; // in the table only: it is part of the others
  // Stacked: each bar reaches to the top of all below it, and the highest is drawn first.
  const tops = [];
  series.reduce((below, [, , values]) => {
    tops.push(below.map((v, i) => v + values[i]));
    return tops.at(-1);
  }, zeros(days.length));
  const order = series.map((_, i) => i).reverse();
  const half = 12 * 3600;
  const plot = new Plot(() => ({
    label: t("history.day"), unit: "kWh", least: 1,
    lines: order.map((i) => ({
      label: series[i][0], colour: series[i][1], bars: true, width: 1,
      value: (_u, _v, _s, at) => (at === null || at === undefined ? "–" : kwh(series[i][2][at])),
    })),
    data: [days.map((ms) => ms / 1000 + half), ...order.map((i) => tops[i].map((wh, n) => (days[n] > Date.now() ? null : wh / 1000)))],
    range: () => [from / 1000, to / 1000],
    splits: () => days.filter((_, i) => days.length <= 8 || i % 5 === 0).map((ms) => ms / 1000 + half),
    times: (_, splits) => splits.map((s) => dayBelow(s * 1000)),
    when: (_, s) => (s == null ? "–" : date(s * 1000)),
  }), t("plot.days"));
  const columns = [[t("history.day"), (i) => date(days[i])],
    ...[...series, ...sun].map(([label, , values]) => [label, (i) => kwh(values[i]), "number"])];
  const rows = days.map((_, i) => i).filter((i) => series.some(([, , values]) => values[i] > 0));
  const all = h("p", {}, t("history.all", { energy: kwh(sum(series.flatMap(([, , values]) => values))) }));
  return { plot, tables: [all, h("h2", {}, t("history.energy")), table(t("history.energy"), columns, rows, t("history.nothing"))] };
}
