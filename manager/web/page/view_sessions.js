// Who charged where, when, how much, at what price.

import { ask, may, me } from "/assets/ask.js";
import { field, h, select, table } from "/assets/dom.js";
import { state } from "/assets/live.js";
import { tried } from "/assets/page.js";
import { dateAndTime, dayOf, dayStart, duration, kwh, money, month, sentence, t } from "/assets/words.js";

const MONTHS = 24;

/** The last months at the site, newest first, as [from_s-to_s, words]. */
export function months(count = MONTHS) {
  const [year, now] = dayOf(Date.now());
  return Array.from({ length: count }, (_, n) => {
    const from = dayStart(year, now - n, 1);
    return [`from_s=${from / 1000}&to_s=${dayStart(year, now - n + 1, 1) / 1000}`, month(from)];
  });
}

export function downloads(path, query) {
  return h("p", { class: "buttons" }, ["csv", "xlsx"].map((kind) => h("a", {
    class: "button", href: `${path}.${kind}?${query}`, download: "",
  }, t("download", { kind: kind.toUpperCase() }))));
}

export async function show(main) {
  const spans = months();
  const chosen = { span: spans[0][0], user: "", charger: "" };
  const box = h("div", {});
  const draw = async () => {
    const query = `${chosen.span}&user=${encodeURIComponent(chosen.user)}&charger=${encodeURIComponent(chosen.charger)}`;
    const { sessions } = await ask(`/api/sessions?${query}`);
    const rows = sessions.toReversed();
    const energy = rows.reduce((sum, s) => sum + s.energy_wh, 0);
    const columns = [
      [t("sessions.begin"), (s) => dateAndTime(s.begin_s * 1000)],
      [t("charger"), (s) => s.charger],
      may("operator") ? [t("sessions.user"), (s) => s.name || t("sessions.nobody")] : null,
      [t("sessions.card"), (s) => s.card],
      [t("energy"), (s) => kwh(s.energy_wh), "number"],
      [t("solar"), (s) => (s.solar_wh ? kwh(s.solar_wh) : ""), "number"],
      [t("sessions.time"), (s) => duration((s.end_s ?? Date.now() / 1000) - s.begin_s), "number"],
      [t("sessions.net"), (s) => (s.net === null ? sentence(s.unpriced) : money(s.net, s.currency)), "number"],
      [t("sessions.bill"), (s) => (s.end_s === null ? t("sessions.running") : s.bill)],
    ].filter(Boolean);
    box.replaceChildren(
      h("p", {}, t("sessions.sum", { count: rows.length, energy: kwh(energy) })),
      table(t("view.sessions"), columns, rows, t("sessions.none")),
      downloads("/api/sessions", query));
  };
  const choose = (name) => (event) => {
    chosen[name] = event.target.value;
    tried(draw);
  };
  const chargers = (state?.chargers ?? []).map((c) => [c.id, c.id]);
  const filters = [field(t("history.month"), select(spans, chosen.span, { onchange: choose("span") }))];
  if (may("operator")) {
    const { users } = await ask("/api/users");
    filters.push(field(t("sessions.user"), select([["", t("events.everybody")], ...users.map((u) => [u.id, u.name])], "", { onchange: choose("user") })));
  }
  filters.push(field(t("charger"), select([["", t("events.everybody")], ...chargers], "", { onchange: choose("charger") })));
  main.append(me.user ? h("p", { class: "hint" }, t("sessions.own")) : "", h("div", { class: "grid" }, filters), box);
  await draw();
}
