// The site's settings: what the site file says, changed at once and checked by the manager.

import { ask, Refused } from "/assets/ask.js";
import { field, h, select } from "/assets/dom.js";
import { state } from "/assets/live.js";
import { tell } from "/assets/page.js";
import { plain, t } from "/assets/words.js";

// name, kind, least, most, step; what is left empty is taken out of the file, so its usual value holds
const SITE = [
  ["limit_a", "numbers"],
  ["policy", ["fair", "equal", "first", "deadline", "cheapest", "green"]],
  ["source", ["grid", "solar_first", "solar_only"]],
  ["worst_house_a", "number", 0, 6300, 1],
  ["margin_a", "margin"],
  ["update_interval_s", "number", 0, 3600, 0.1],
  ["max_active", "number", 0, 10000, 1],
  ["turn_min", "number", 1, 1440, 1],
  ["min_on_s", "number", 0, 86400, 1],
  ["min_off_s", "number", 0, 86400, 1],
];
const DEEP = [
  ["max_chargers", "number", 1, 10000, 1],
  ["max_counters", "number", 1, 1000, 1],
  ["ttl_s", "number", 6, 600, 1],
  ["renew_s", "number", 1, 200, 1],
  ["meter_silent_s", "number", 1, 600, 1],
  ["meter_lost_s", "number", 1, 3600, 1],
];
const DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

export async function show(main) {
  await draw(main, await ask("/api/settings"));
}

function draw(main, read) {
  const fields = new Map(); // where -> field, so that a refusal stands where it belongs
  const values = {};
  const one = ([name, kind, low, high, step]) => {
    const now = read.site[name];
    const used = read.usual[name];
    const usual = t("settings.usual") + (used === undefined ? "" : `: ${
      Array.isArray(kind) ? t(`settings.${name}.${used}`) : plain(used)}`);
    let input;
    if (Array.isArray(kind)) {
      input = select([["", usual], ...kind.map((k) => [k, t(`settings.${name}.${k}`)])], now ?? "");
      values[name] = () => input.value || null;
    } else if (kind === "number") {
      input = h("input", { type: "number", min: low, max: high, step, inputmode: "decimal", placeholder: usual, value: now ?? "" });
      values[name] = () => (input.value === "" ? null : Number(input.value));
    } else {
      input = h("input", { type: "text", inputmode: "decimal", placeholder: usual, value: Array.isArray(now) ? now.join(" ") : now ?? "" });
      values[name] = () => figures(input.value);
    }
    const made = field(t(`settings.${name}`), input, t(`settings.${name}.hint`));
    fields.set(`site.${name}`, made);
    return made;
  };

  const places = ["main", ...read.feeders.map((f) => f.name)];
  const feeders = new Rows(t("settings.feeders"), read.feeders, (f, n) => feederRow(f, n, fields, places));
  const windows = new Rows(t("settings.windows"), read.windows, (w, n) => windowRow(w, n, fields, read.devices));
  const devices = read.devices.map((d, n) => deviceRow(d, n + 1, fields, places));

  const wrong = h("p", { class: "wrong", role: "alert" });
  const form = h("form", {
    novalidate: true,
    onsubmit: async (event) => {
      event.preventDefault();
      fields.forEach((f) => f.complain(""));
      wrong.textContent = "";
      const site = Object.fromEntries(Object.entries(values).map(([name, value]) => [name, value()])
        .filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(read.site[name] ?? null)));
      const changes = { version: read.version, site };
      if (feeders.changed()) changes.feeders = feeders.values();
      if (windows.changed()) changes.windows = windows.values();
      const moved = devices.filter((d) => d.changed()).map((d) => d.values());
      if (moved.length) changes.devices = moved;
      try {
        const now = await ask("/api/settings", changes, "PUT");
        form.remove();
        draw(main, now);
        tell(t("settings.done"));
      } catch (e) {
        if (!(e instanceof Refused)) throw e;
        const place = fields.get(e.where);
        (place ?? { complain: (words) => { wrong.textContent = words; } }).complain(e.message || t("no-answer"));
        place?.querySelector("input, select")?.focus();
        tell(t("settings.not-done"), true);
      }
    },
  },
  h("section", { class: "card", "aria-labelledby": "s-site" }, h("h2", { id: "s-site" }, t("settings.site")),
    h("div", { class: "grid" }, SITE.map(one)),
    h("details", {}, h("summary", {}, t("settings.deep")), h("div", { class: "grid" }, DEEP.map(one)))),
  h("section", { class: "card", "aria-labelledby": "s-windows" }, h("h2", { id: "s-windows" }, t("settings.windows")),
    h("p", { class: "hint" }, t("settings.windows.hint")), windows.box),
  h("section", { class: "card", "aria-labelledby": "s-feeders" }, h("h2", { id: "s-feeders" }, t("settings.feeders")),
    h("p", { class: "hint" }, t("settings.feeders.hint")), feeders.box),
  h("section", { class: "card", "aria-labelledby": "s-devices" }, h("h2", { id: "s-devices" }, t("settings.devices")),
    h("p", { class: "hint" }, t("settings.devices.hint")),
    devices.length ? devices.map((d) => d.box) : h("p", { class: "none" }, t("settings.no-devices"))),
  wrong,
  h("div", { class: "buttons" }, h("button", { class: "main" }, t("settings.save"))));
  main.append(form);
}

/** One number, one for each phase, "learned", or null for none. What is no number is sent for the manager to refuse. */
function figures(text) {
  const parts = text.trim().split(/[\s;]+/).filter(Boolean);
  const read = parts.map((p) => (Number.isNaN(Number(p)) ? p : Number(p)));
  return read.length > 1 ? read : read[0] ?? null;
}

class Rows {
  constructor(what, rows, make) {
    this.rows = [];
    this.make = make;
    this.list = h("div", {});
    this.box = h("div", {}, this.list,
      h("button", { type: "button", "aria-label": `${t("settings.add")}: ${what}`, onclick: () => this.add({}, true) }, t("settings.add")));
    rows.forEach((row) => this.add(row));
    this.was = JSON.stringify(this.values());
  }

  add(row, focus) {
    const made = this.make(row, this.rows.length + 1);
    made.box.append(h("button", {
      type: "button",
      onclick: () => {
        this.rows.splice(this.rows.indexOf(made), 1);
        made.box.remove();
      },
    }, t("settings.remove")));
    this.rows.push(made);
    this.list.append(made.box);
    if (focus) made.box.querySelector("input, select").focus();
  }

  values() {
    return this.rows.map((row) => row.values());
  }

  changed() {
    return JSON.stringify(this.values()) !== this.was;
  }
}

const without = (values) => Object.fromEntries(Object.entries(values).filter(([, v]) => v !== null && v !== ""));
const whole = (input) => (input.value === "" ? null : Number(input.value));
const numeric = (value, low, high) => h("input", { type: "number", min: low, max: high, inputmode: "numeric", value: value ?? "" });

function feederRow(f, n, fields, places) {
  const name = h("input", { type: "text", maxlength: "24", value: f.name ?? "" });
  const limit = h("input", { type: "text", inputmode: "decimal", value: Array.isArray(f.limit_a) ? f.limit_a.join(" ") : f.limit_a ?? "" });
  const parent = select([["", "main"], ...places.filter((p) => p !== "main" && p !== f.name).map((p) => [p, p])], f.parent === "main" ? "" : f.parent ?? "");
  const worst = numeric(f.worst_house_a, 0, 6300);
  const made = {
    name: field(t("settings.feeder.name"), name),
    limit_a: field(t("settings.limit_a"), limit),
    parent: field(t("settings.feeder.parent"), parent),
    worst_house_a: field(t("settings.worst_house_a"), worst),
  };
  for (const [key, one] of Object.entries(made)) fields.set(`feeder[${n}].${key}`, one);
  const parentValue = () => parent.value || (f.parent === "main" ? "main" : null);
  return {
    box: h("fieldset", {}, h("legend", {}, t("settings.feeder")), h("div", { class: "grid" }, Object.values(made))),
    values: () => without({ name: name.value, limit_a: figures(limit.value), parent: parentValue(), worst_house_a: whole(worst) }),
  };
}

function windowRow(w, n, fields, listed) {
  const days = DAYS.map((day) => {
    const box = h("input", { type: "checkbox" });
    box.checked = (w.days ?? DAYS).includes(day);
    return [day, box];
  });
  const start = h("input", { type: "time", value: (w.start ?? "").padStart(5, "0") });
  const end = h("input", { type: "time", value: (w.end === "24:00" ? "00:00" : w.end ?? "").padStart(5, "0") });
  const most = numeric(w.max_a, 0, 6300);
  const charger = select([["", t("settings.whole-site")], ...listed.map((d) => [d.id, d.id])], w.charger ?? "");
  const made = {
    start: field(t("settings.window.start"), start),
    end: field(t("settings.window.end"), end),
    max_a: field(t("settings.window.max_a"), most),
    charger: field(t("settings.window.charger"), charger),
  };
  for (const [key, one] of Object.entries(made)) fields.set(`window[${n}].${key}`, one);
  const chosen = () => days.filter(([, box]) => box.checked).map(([day]) => day);
  const daysValue = () => (!w.days && chosen().length === 7 ? null : chosen());
  const same = (input, was) => (was && input.value === was.padStart(5, "0") ? was : was === "24:00" && input.value === "00:00" ? was : input.value);
  return {
    box: h("fieldset", {}, h("legend", {}, t("settings.window")),
      h("div", { class: "days", role: "group", "aria-label": t("settings.window.days") }, days.map(([day, box]) => h("label", {}, box, t(`day.${day}`)))),
      h("div", { class: "grid" }, Object.values(made))),
    values: () => without({ days: daysValue(), start: same(start, w.start), end: same(end, w.end), max_a: whole(most), charger: charger.value }),
  };
}

function deviceRow(d, n, fields, places) {
  const feeder = select(places.map((p) => [p, p]), d.feeder ?? "main");
  const priority = numeric(d.priority ?? 0, 0, 100);
  const failsafe = numeric(d.failsafe_a ?? 0, 0, 80);
  const made = {
    feeder: field(t("settings.device.feeder"), feeder),
    priority: field(t("now.priority"), priority),
    failsafe_a: field(t("settings.device.failsafe_a"), failsafe),
  };
  for (const [key, one] of Object.entries(made)) fields.set(`device[${n}].${key}`, one);
  // Of a meter only its place can be said.
  made.priority.hidden = made.failsafe_a.hidden = (state?.meters ?? []).some((m) => m.id === d.id);
  const values = () => ({ id: d.id, feeder: feeder.value === "main" && !d.feeder ? null : feeder.value, priority: whole(priority), failsafe_a: whole(failsafe) });
  const was = JSON.stringify(values());
  return {
    box: h("fieldset", {}, h("legend", {}, d.id), h("div", { class: "grid" }, Object.values(made))),
    values,
    changed: () => JSON.stringify(values()) !== was,
  };
}
