// Users with their rights, and their cards. A tenant sees himself and may block a card that is lost.

import { ask, may, Refused } from "/assets/ask.js";
import { field, h, select } from "/assets/dom.js";
import { state } from "/assets/live.js";
import { tell, tried } from "/assets/page.js";
import { days, kwh, t } from "/assets/words.js";

export async function show(main) {
  const box = h("div", {});
  const draw = async () => {
    const [{ users }, { cards }] = await Promise.all([ask("/api/users"), ask("/api/cards")]);
    const open = new Set([...box.querySelectorAll("details[open]")].map((d) => d.dataset.id));
    const list = users.map((u) => userCard(u, cards.filter((c) => c.user === u.id), draw, open));
    box.replaceChildren(h("ul", { class: "cards" }, list.length ? list : h("li", { class: "none" }, t("people.none"))));
  };
  main.append(h("h2", {}, t("people.users")), box);
  await draw();
  if (!may("operator")) return;
  const file = h("input", { type: "file", accept: ".csv,text/csv", required: true });
  main.append(
    h("section", { class: "card", "aria-labelledby": "p-new" }, h("h2", { id: "p-new" }, t("people.new")), userForm(null, draw)),
    h("section", { class: "card", "aria-labelledby": "p-import" }, h("h2", { id: "p-import" }, t("people.import")),
      h("form", {
        onsubmit: async (event) => {
          event.preventDefault();
          const text = await file.files[0].text();
          if (await tried(() => ask("/api/users/import", text, "POST", "text/csv"))) await draw();
        },
      }, field(t("people.file"), file, t("people.file-hint")), h("button", {}, t("people.import")))));
}

function userCard(u, cards, draw, open) {
  const rights = [
    u.max_a === null ? null : t("people.at-most", { amps: u.max_a }),
    u.priority === null ? null : `${t("now.priority")} ${u.priority}`,
    days(u.windows) || null,
    u.quota_wh === null ? null : t("people.quota-used", { used: kwh(u.used_wh), quota: kwh(u.quota_wh) }),
    u.chargers.length ? t("people.only-at", { chargers: u.chargers.join(", ") }) : null,
    u.owns.length ? t("people.owner-of", { chargers: u.owns.join(", ") }) : null,
    u.payer ? t("people.paid-by", { payer: u.payer }) : null,
  ].filter(Boolean);
  const details = (what, title, inside) => {
    const box = h("details", { "data-id": `${what} ${u.id}` }, h("summary", {}, title, h("span", { class: "unseen" }, ` ${u.name}`)), inside);
    box.open = open.has(box.dataset.id);
    return box;
  };
  const box = h("li", { class: "card", id: `user-${u.id}` },
    h("div", { class: "top" }, h("h3", {}, u.name), h("span", { class: u.active ? "how" : "how gone" }, u.active ? u.id : t("people.blocked"))),
    u.email ? h("p", { class: "how" }, u.email) : null,
    h("p", { class: "why" }, rights.join(" · ") || t("people.no-limits")),
    u.quota_wh === null ? h("p", { class: "how" }, t("people.this-month", { energy: kwh(u.used_wh) })) : null,
    h("ul", { class: "events" }, cards.map((c) => cardRow(c, draw))));
  if (may("operator")) {
    box.append(details("card", t("people.add-card"), cardForm(u, draw)),
      details("change", t("people.change"), userForm(u, draw)));
  }
  return box;
}

function cardRow(c, draw) {
  const name = c.label || c.mark;
  const act = (words, doing) => h("button", {
    type: "button",
    "aria-label": `${words}: ${name}`,
    onclick: async () => {
      if (await tried(doing)) await draw();
    },
  }, words);
  const buttons = [];
  const path = `/api/cards/${encodeURIComponent(c.mark)}`;
  if (c.active) buttons.push(act(t("people.block"), () => ask(`${path}/block`, {})));
  if (may("operator")) {
    if (!c.active) buttons.push(act(t("people.unblock"), () => ask("/api/cards", { mark: c.mark, user: c.user, label: c.label, purpose: c.purpose, active: true })));
    buttons.push(act(t("settings.remove"), () => ask(path, undefined, "DELETE")));
  }
  return h("li", {}, h("span", {}, h("b", {}, name), ` ${t(`purpose.${c.purpose}`)}${c.active ? "" : `, ${t("people.blocked")}`}`), h("span", { class: "buttons" }, buttons));
}

function cardForm(u, draw) {
  const number = h("input", { type: "text", required: true, maxlength: "40", autocomplete: "off", spellcheck: "false" });
  const label = h("input", { type: "text", maxlength: "40" });
  const purpose = select([["private", t("purpose.private")], ["business", t("purpose.business")]], "private");
  const numberField = field(t("people.number"), number, t("people.number-hint"));
  return h("form", {
    onsubmit: async (event) => {
      event.preventDefault();
      try {
        tell((await ask("/api/cards", { user: u.id, number: number.value, label: label.value, purpose: purpose.value })).words);
      } catch (e) {
        if (!(e instanceof Refused)) throw e;
        numberField.complain(e.message || t("no-answer"));
        return;
      }
      await draw();
    },
  }, numberField, field(t("people.label"), label), field(t("people.purpose"), purpose), h("button", {}, t("people.add-card")));
}

function userForm(u, draw) {
  const text = (value, most) => h("input", { type: "text", maxlength: most, value: value ?? "" });
  const whole = (value, min, max) => h("input", { type: "number", min, max, inputmode: "numeric", value: value ?? "" });
  const id = h("input", { type: "text", maxlength: "32", required: true, pattern: "[a-z0-9][a-z0-9._\\-]*", autocapitalize: "none" });
  const name = text(u?.name, "80");
  const email = h("input", { type: "email", maxlength: "120", value: u?.email ?? "" });
  const most = whole(u?.max_a, 6, 80);
  const priority = whole(u?.priority, 0, 9);
  const windows = text(u?.windows, "1000");
  const quota = whole(u?.quota_wh === null || u === null ? "" : u.quota_wh / 1000, 0, 1_000_000);
  const chargers = text(u?.chargers.join(" "), "400");
  const owns = text(u?.owns.join(" "), "400");
  const payer = text(u?.payer, "32");
  const active = select([["yes", t("people.active")], ["", t("people.blocked")]], u === null || u.active ? "yes" : "");
  const names = (input) => input.value.split(/[\s,;]+/).filter(Boolean);
  const numberOr = (input, by = 1) => (input.value === "" ? null : Math.round(Number(input.value) * by));
  const wrong = h("p", { class: "wrong", role: "alert" });
  const known = (state?.chargers ?? []).map((c) => c.id).join(", ");
  return h("form", {
    onsubmit: async (event) => {
      event.preventDefault();
      wrong.textContent = "";
      const body = {
        name: name.value, email: email.value, active: active.value === "yes", max_a: numberOr(most), priority: numberOr(priority),
        windows: windows.value, quota_wh: numberOr(quota, 1000), chargers: names(chargers), owns: names(owns), payer: payer.value,
      };
      try {
        const said = u ? await ask(`/api/users/${encodeURIComponent(u.id)}`, body, "PUT") : await ask("/api/users", { id: id.value, ...body });
        tell(said.words);
      } catch (e) {
        if (!(e instanceof Refused)) throw e;
        wrong.textContent = e.message || t("no-answer");
        return;
      }
      if (!u) event.target.reset();
      document.activeElement?.blur();
      await draw();
    },
  }, h("div", { class: "grid" },
    u ? null : field(t("people.id"), id, t("people.id-hint")),
    field(t("login.name"), name), field(t("people.email"), email),
    field(t("people.max_a"), most), field(t("now.priority"), priority),
    field(t("people.windows"), windows, t("people.windows-hint")), field(t("people.quota"), quota),
    field(t("people.chargers"), chargers, known), field(t("people.owns"), owns, t("people.owns-hint")),
    field(t("people.payer"), payer, t("people.payer-hint")), field(t("people.standing"), active)),
  wrong,
  h("div", { class: "buttons" }, h("button", { class: "main" }, t(u ? "people.save" : "people.new")),
    u ? h("button", {
      type: "button",
      onclick: async () => {
        if (await tried(() => ask(`/api/users/${encodeURIComponent(u.id)}`, undefined, "DELETE"))) await draw();
      },
    }, t("people.remove")) : null));
}
