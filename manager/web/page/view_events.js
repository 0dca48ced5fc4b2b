// What was worth telling, and what chargers were given and why; newest first, as far back as one asks.

import { ask } from "/assets/ask.js";
import { choice, field, h, select } from "/assets/dom.js";
import { state } from "/assets/live.js";
import { tried } from "/assets/page.js";
import { eventKind, eventWords } from "/assets/view_now.js";
import { dateAndTime, t, told } from "/assets/words.js";

const COUNT = 50;

/** A list of one device's or everybody's, that goes on being asked for. */
export function log(kind, device) {
  const list = h("ol", { class: "events" });
  const more = h("button", { type: "button", onclick: () => tried(ask_) }, t("events.more"));
  let before = null;
  const row = kind === "events" ? event : decision;
  async function ask_() {
    const query = new URLSearchParams({ count: COUNT });
    if (before !== null) query.set("before", before);
    if (device) query.set("device", device);
    const rows = (await ask(`/api/${kind}?${query}`))[kind];
    list.append(...rows.map(row));
    if (rows.length) before = rows[rows.length - 1].n;
    if (!list.children.length) list.append(h("li", { class: "none" }, t("events.none")));
    more.hidden = rows.length < COUNT;
  }
  const begun = ask_();
  return { box: h("div", {}, list, more), begun };
}

function when(at) {
  return h("time", { datetime: new Date(at).toISOString() }, dateAndTime(at));
}

function event(e) {
  const kind = eventKind(e);
  const words = eventWords(e);
  return h("li", {}, when(e.at_ms), h("span", {}, h("b", {}, kind),
    `${e.device ? ` ${e.device}` : ""}${words && words !== kind ? `: ${words}` : ""}`));
}

function decision(d) {
  return h("li", {}, when(d.at_ms), h("span", {}, h("b", {}, `${d.charger} ${d.offer_a} A`), `: ${told(`reason.${d.reason}`, d.words, d.numbers)}`));
}

export async function show(main) {
  let kind = "events";
  let device = "";
  const box = h("div", {});
  const draw = async () => {
    const shown = log(kind, device);
    await shown.begun;
    box.replaceChildren(shown.box);
  };
  const names = [...state?.meters ?? [], ...state?.chargers ?? []].map((d) => [d.id, d.id]);
  main.append(
    choice(t("events.kind"), [["events", t("events")], ["decisions", t("decisions")]], kind, (k) => {
      kind = k;
      tried(draw);
    }),
    field(t("device"), select([["", t("events.everybody")], ...names], "", {
      onchange: (e) => {
        device = e.target.value;
        tried(draw);
      },
    })),
    box);
  await draw();
}
