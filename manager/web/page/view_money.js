// Bills and credit notes, what charging costs, and reports.

import { ask, may, Refused } from "/assets/ask.js";
import { field, h, select, table } from "/assets/dom.js";
import { tell, tried } from "/assets/page.js";
import { downloads, months } from "/assets/view_sessions.js";
import { dayMonthYear, dayOf, days, duration, kwh, money, monthOf, percent, plain, price, sentence, t } from "/assets/words.js";

const REPORTS = ["user", "charger", "building", "fleet", "benefit"];

export async function show(main) {
  const bills = h("section", { "aria-labelledby": "m-bills" }, h("h2", { id: "m-bills" }, t("money.bills")));
  const tariffs = h("section", { "aria-labelledby": "m-tariffs" }, h("h2", { id: "m-tariffs" }, t("money.tariffs")));
  main.append(bills, tariffs);
  await Promise.all([drawBills(bills), drawTariffs(tariffs)]);
  if (may("operator")) main.append(reports());
}

async function drawBills(section) {
  const list = h("div", {});
  const draw = async () => {
    const rows = (await ask("/api/bills")).bills;
    const columns = [
      [t("money.number"), (b) => b.number],
      [t("history.month"), (b) => monthOf(b.month)],
      may("operator") ? [t("sessions.user"), (b) => b.name] : null,
      [t("money.total"), (b) => money(b.total, b.currency), "number"],
      [t("money.made"), (b) => dayMonthYear(b.made_s * 1000)],
      [t("money.file"), (b) => [["pdf", "PDF"], ["csv", "CSV"]].map(([kind, words]) => h("a", {
        href: `/api/bills/${encodeURIComponent(b.number)}.${kind}`, download: "", "aria-label": `${words} ${b.number}`,
      }, words)).flatMap((link, i) => (i ? [" ", link] : [link]))],
      [t("money.remark"), (b) => remark(b, draw)],
    ].filter(Boolean);
    list.replaceChildren(table(t("money.bills"), columns, rows, t("money.no-bills")));
  };
  section.append(list);
  if (may("administrator")) section.append(billing(draw));
  await draw();
}

function remark(b, draw) {
  if (b.credits) return t("money.credits", { number: b.credits, why: b.why });
  if (b.undone_by) return t("money.undone", { number: b.undone_by });
  if (!may("administrator")) return "";
  const why = h("input", { type: "text", required: true, maxlength: "200" });
  return h("details", {}, h("summary", {}, t("money.credit"), h("span", { class: "unseen" }, ` ${b.number}`)),
    h("form", {
      onsubmit: async (event) => {
        event.preventDefault();
        if (await tried(() => ask(`/api/bills/${encodeURIComponent(b.number)}/credit`, { why: why.value }))) await draw();
      },
    }, field(t("money.why"), why), h("button", {}, t("money.credit-do"))));
}

function billing(draw) {
  const [year, now] = dayOf(Date.now());
  const spans = Array.from({ length: 13 }, (_, n) => new Date(Date.UTC(year, now - n, 1)).toISOString().slice(0, 7)).map((m) => [m, monthOf(m)]);
  const which = select(spans, spans[1][0]);
  const early = select([["", t("money.only-over")], ["yes", t("money.early")]], "");
  return h("div", { class: "card" },
    h("form", {
      class: "inline",
      onsubmit: async (event) => {
        event.preventDefault();
        if (await tried(() => ask("/api/bills", { month: which.value, early: early.value === "yes" }))) await draw();
      },
    }, field(t("history.month"), which), field(t("money.when"), early), h("button", { class: "main" }, t("money.bill"))),
    h("div", { class: "buttons" }, h("button", {
      type: "button",
      onclick: () => tried(async () => {
        const { faults } = await ask("/api/bills/check");
        return { words: faults.length ? faults.map(sentence).join("; ") : t("money.adds-up") };
      }),
    }, t("money.check"))));
}

async function drawTariffs(section) {
  const list = h("div", {});
  section.append(list);
  const draw = async () => {
    const said = await ask("/api/tariffs");
    const mine = may("administrator") && !said.elsewhere;
    const keep = async (tariffs) => {
      const done = await ask("/api/tariffs", { tariffs }, "PUT");
      tell(done.words);
      await draw();
    };
    const cards = said.tariffs.map((tariff, i) => tariffCard(tariff, mine && {
      change: (now) => keep(said.tariffs.with(i, now)),
      remove: () => tried(() => keep(said.tariffs.toSpliced(i, 1))),
    }));
    list.replaceChildren(
      said.elsewhere ? h("p", { class: "hint" }, t("money.elsewhere")) : "",
      ...(cards.length ? cards : [h("p", { class: "none" }, t("money.no-tariffs"))]),
      mine ? h("details", { class: "card" }, h("summary", {}, t("tariff.new")), tariffForm({}, (now) => keep([...said.tariffs, now]))) : "");
  };
  await draw();
}

function tariffCard(tariff, may_) {
  const each = (name) => (Number(tariff[name]) ? `${t(`tariff.${name}`)}: ${price(tariff[name], tariff.currency)}` : null);
  const parts = [
    each("per_session"), each("per_hour"), each("idle_per_hour"),
    Number(tariff.idle_per_hour) && tariff.idle_grace_min ? t("tariff.grace", { minutes: tariff.idle_grace_min }) : null,
    tariff.solar_per_kwh === null ? null : `${t("tariff.solar_per_kwh")}: ${price(tariff.solar_per_kwh, tariff.currency)}`,
    tariff.spot ? t("tariff.spot-words", {
      area: tariff.spot.area, factor: plain(Number(tariff.spot.factor)), add: price(tariff.spot.add, tariff.currency),
    }) : null,
    t("tariff.vat", { percent: percent(tariff.vat_percent) }),
  ].filter(Boolean);
  const columns = [
    [t("settings.window.days"), (r) => days(r.days)],
    [t("tariff.times"), (r) => `${r.from}–${r.to}`],
    [t("tariff.per_kwh"), (r) => price(r.per_kwh, tariff.currency), "number"],
  ];
  return h("div", { class: "card" },
    h("div", { class: "top" }, h("h3", {}, tariff.name), h("span", { class: "how" }, tariff.valid_to ? `${tariff.valid_from} – ${tariff.valid_to}` : t("tariff.since", { from: tariff.valid_from }))),
    h("p", { class: "why" }, parts.join(" · ")),
    tariff.rates ? table(`${t("tariff.rates")}: ${tariff.name}`, columns, tariff.rates, "") : null,
    may_ ? h("details", {}, h("summary", {}, t("people.change"), h("span", { class: "unseen" }, ` ${tariff.name}`)),
      tariffForm(tariff, may_.change),
      h("button", { type: "button", onclick: may_.remove }, t("people.remove"), h("span", { class: "unseen" }, ` ${tariff.name}`))) : null);
}

function tariffForm(tariff, keep) {
  const values = {};
  const text = (name, value, attributes) => {
    const input = h("input", { type: "text", ...attributes, value: value ?? "" });
    values[name] = () => input.value.trim() || null;
    return field(t(`tariff.${name}`), input);
  };
  const decimal = { inputmode: "decimal", maxlength: "16" };
  const amounts = ["vat_percent", "per_session", "per_hour", "idle_per_hour", "solar_per_kwh"].map((name) => text(name, tariff[name], decimal));
  const grace = h("input", { type: "number", min: "0", max: "10000", value: tariff.idle_grace_min ?? 0 });
  const rates = h("div", {});
  const addRate = (rate) => rates.append(rateRow(rate));
  (tariff.rates ?? (tariff.spot ? [] : [{}])).forEach(addRate);
  const spot = tariff.spot ?? {};
  const area = text("spot.area", spot.area, { maxlength: "8" });
  const factor = text("spot.factor", spot.factor, decimal);
  const add = text("spot.add", spot.add, decimal);
  const wrong = h("p", { class: "wrong", role: "alert" });
  return h("form", {
    onsubmit: async (event) => {
      event.preventDefault();
      wrong.textContent = "";
      const now = { timezone: tariff.timezone, idle_grace_min: Number(grace.value) };
      for (const [name, value] of Object.entries(values)) if (!name.startsWith("spot.")) now[name] = value();
      if (values["spot.area"]()) now.spot = { area: values["spot.area"](), factor: values["spot.factor"]() ?? "1", add: values["spot.add"]() ?? "0" };
      else now.rates = [...rates.children].map((row) => row.values());
      try {
        await keep(Object.fromEntries(Object.entries(now).filter(([, value]) => value !== null && value !== undefined)));
      } catch (e) {
        if (!(e instanceof Refused)) throw e;
        wrong.textContent = e.message || t("no-answer");
      }
    },
  }, h("div", { class: "grid" },
    text("name", tariff.name, { required: true, maxlength: "80" }),
    text("valid_from", tariff.valid_from, { required: true, placeholder: "2026-01-01" }),
    text("valid_to", tariff.valid_to, { placeholder: "2027-01-01" }),
    text("currency", tariff.currency ?? "EUR", { required: true, maxlength: "3" }),
    amounts, field(t("tariff.idle_grace_min"), grace)),
  h("fieldset", {}, h("legend", {}, t("tariff.rates")), rates,
    h("button", { type: "button", "aria-label": `${t("settings.add")}: ${t("tariff.rates")}`, onclick: () => addRate({}) }, t("settings.add"))),
  h("fieldset", {}, h("legend", {}, t("tariff.spot")), h("p", { class: "hint" }, t("tariff.spot-hint")), h("div", { class: "grid" }, area, factor, add)),
  wrong, h("div", { class: "buttons" }, h("button", { class: "main" }, t("people.save"))));
}

function rateRow(rate) {
  const days = h("input", { type: "text", value: rate.days ?? "mon-sun", maxlength: "40" });
  const from = h("input", { type: "text", value: rate.from ?? "00:00", maxlength: "5" });
  const to = h("input", { type: "text", value: rate.to ?? "24:00", maxlength: "5" });
  const price = h("input", { type: "text", value: rate.per_kwh ?? "", inputmode: "decimal", required: true, maxlength: "16" });
  const row = h("div", { class: "grid" }, field(t("settings.window.days"), days), field(t("settings.window.start"), from),
    field(t("settings.window.end"), to), field(t("tariff.per_kwh"), price),
    h("div", { class: "field" }, h("button", { type: "button", onclick: () => row.remove() }, t("settings.remove"))));
  row.values = () => ({ days: days.value, from: from.value, to: to.value, per_kwh: price.value });
  return row;
}

function reports() {
  const spans = months();
  const chosen = { kind: REPORTS[0], span: spans[0][0] };
  const box = h("div", {});
  const draw = async () => {
    const path = `/api/reports/${chosen.kind}`;
    const { rows } = await ask(`${path}?${chosen.span}`);
    const names = rows.length ? Object.keys(rows[0]) : [];
    const columns = names.map((name) => [t(`report.${name}`), (r) => cell(name, r), typeof rows[0][name] === "number" || ["net", "billed"].includes(name) ? "number" : undefined]);
    box.replaceChildren(table(t("money.reports"), columns, rows, t("sessions.none")), downloads(path, chosen.span));
  };
  const choose = (name) => (event) => {
    chosen[name] = event.target.value;
    tried(draw);
  };
  tried(draw);
  return h("section", { "aria-labelledby": "m-reports" }, h("h2", { id: "m-reports" }, t("money.reports")),
    h("div", { class: "grid" },
      field(t("money.report"), select(REPORTS.map((r) => [r, t(`report.of.${r}`)]), chosen.kind, { onchange: choose("kind") })),
      field(t("history.month"), select(spans, chosen.span, { onchange: choose("span") }))),
    box);
}

function cell(name, row) {
  const value = row[name];
  if (name === "name" && value === "" && row.user === "") return t("sessions.nobody");
  if (value === null || value === "") return "";
  if (name === "month") return monthOf(value);
  if (name === "whose") return t(`report.whose.${value}`);
  if (name === "purpose") return t(`purpose.${value}`);
  if (name.endsWith("_wh")) return kwh(value);
  if (name.endsWith("_s")) return duration(value);
  if (["net", "billed", "value"].includes(name)) return money(value, row.currency);
  return String(value);
}
