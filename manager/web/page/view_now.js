// What is: limit, house, sun, cars; a live plot; each charger with its reason, and what one may do about it.

import { ask, may, me } from "/assets/ask.js";
import { choice, field, h, say, select } from "/assets/dom.js";
import { listen, points, state as known } from "/assets/live.js";
import { tried } from "/assets/page.js";
import { carColour, Plot } from "/assets/plot.js";
import { amps, clock, hour, kw, kwh, plain, sentence, t, tenths, told } from "/assets/words.js";

const priorities = () => Array.from({ length: 10 }, (_, n) => [String(n), n ? String(n) : t("priority.first")]);
// Of these reasons a start changes nothing.
const STOPPABLE = new Set(["whole", "share", "alone", "capped", "limited", "driver_limit", "rights_limit", "standby",
  "turn", "time_to_spare", "planned", "resting", "raise_waits", "max_active", "window", "no_sun", "solar", "meter_lost"]);
let minutes = 10;

export function show(main) {
  const overview = new Overview();
  let names = known ? known.chargers.map((c) => c.id) : [];
  const plot = new Plot(() => ({
    label: t("plot.time"),
    lines: [
      { label: t("limit"), colour: "--limit", dash: [6, 4] },
      { label: t("total"), colour: "--total" },
      { label: t("house"), colour: "--house" },
      ...names.map((label, i) => ({ label, colour: carColour(i) })),
    ],
    data: columns(names),
  }), t("plot.now"));
  const chargers = new List(Charger, t("none-announced"));
  const meters = new List(Meter, t("none-announced"));
  const events = h("ol", { class: "events" });
  main.append(
    h("section", { "aria-label": t("now.figures") }, overview.box),
    h("section", { "aria-label": t("now.plot") },
      choice(t("now.span"), [[2, t("span.2")], [10, t("span.10")], [60, t("span.60")]], minutes, (m) => {
        minutes = m;
        plot.update();
      }),
      plot.box),
    h("section", { "aria-labelledby": "chargers-title" }, h("h2", { id: "chargers-title" }, t("chargers")), chargers.box),
    h("section", { "aria-labelledby": "meters-title" }, h("h2", { id: "meters-title" }, t("meters")), meters.box),
  );
  if (may("operator")) {
    main.append(h("section", { "aria-labelledby": "events-title" },
      h("h2", { id: "events-title" }, t("events")), events,
      h("p", {}, h("a", { href: "#events" }, t("events.all")))));
  }
  plot.draw();
  const over = listen((state) => {
    overview.update(state);
    chargers.update(state.chargers);
    meters.update(state.meters);
    if (may("operator")) events.replaceChildren(...state.events.slice(0, 6).map(eventRow));
    const ids = state.chargers.map((c) => c.id);
    if (ids.join() !== names.join()) {
      names = ids;
      plot.draw();
    } else {
      plot.update();
    }
  });
  return () => {
    over();
    plot.end();
  };
}

function columns(names) {
  const since = points.length ? points[points.length - 1].t - minutes * 60 : 0;
  const shown = points.filter((p) => p.t >= since);
  return [
    shown.map((p) => p.t),
    shown.map((p) => p.limit),
    shown.map((p) => p.total),
    shown.map((p) => p.house),
    ...names.map((n) => shown.map((p) => p.cars[n] ?? null)),
  ];
}

class Overview {
  constructor() {
    this.figures = {};
    const figure = (name) => {
      this.figures[name] = h("dd", { id: name }, "–");
      return h("div", {}, h("dt", {}, t(name)), this.figures[name]);
    };
    this.solar = figure("solar");
    this.solar.hidden = true;
    this.bar = h("div", { id: "bar", "aria-hidden": "true" });
    this.known = h("p", { id: "known" });
    this.box = h("div", {}, h("dl", { id: "now" },
      figure("limit"), figure("house"), this.solar, figure("cars"), figure("free")), this.bar, this.known);
    if (may("operator")) this.box.append(this.site());
  }

  site() {
    this.limit = new LimitForm("", t("now.site-limit"));
    return h("details", {}, h("summary", {}, t("now.site-controls")), this.limit.box);
  }

  update(state) {
    const main = state.feeders[0];
    const room = main.limit_a.map((a, i) => a - main.total_a[i]);
    const worst = room.indexOf(Math.min(...room)); // the phase nearest its limit
    const whole = { limit: main.limit_a, house: main.house_a, cars: main.cars_a, free: room };
    for (const [name, values] of Object.entries(whole)) say(this.figures[name], amps(values[worst]));
    this.figures.free.className = room[worst] < 0 ? "over" : "";
    this.solar.hidden = state.solar_w === null;
    if (state.solar_w !== null) say(this.figures.solar, kw(state.solar_w));
    say(this.known, told(`known.${main.known}`, main.known_words));
    this.known.className = main.known === "measured" ? "" : "warn";
    document.title = `${amps(main.total_a[worst])} / ${plain(main.limit_a[worst])} A – ${state.name}`;
    const parts = [["--house", main.house_a[worst]], ...state.chargers.map((c, i) => [carColour(i), c.drawn_a])];
    const full = Math.max(main.limit_a[worst], main.total_a[worst], 1);
    while (this.bar.children.length < parts.length) this.bar.append(h("span", {}));
    [...this.bar.children].forEach((part, i) => {
      const [colour, a] = parts[i] ?? ["--house", 0];
      part.style.width = `${Math.max(0, 100 * a / full)}%`;
      part.style.background = `var(${colour})`;
    });
    this.limit?.update(state.by_hand_a);
  }
}

/** A list whose cards stay the same elements while what they show changes. */
class List {
  constructor(Card, none) {
    this.Card = Card;
    this.cards = new Map();
    this.none = h("li", { class: "none" }, none);
    this.box = h("ul", { class: "cards" }, this.none);
  }

  update(items) {
    const ids = items.map((item) => item.id);
    if (ids.join() !== [...this.cards.keys()].join()) {
      const old = this.cards;
      this.cards = new Map(ids.map((id, i) => [id, old.get(id) ?? new this.Card(id, i)]));
      this.box.replaceChildren(...(ids.length ? [...this.cards.values()].map((c) => c.box) : [this.none]));
    }
    for (const item of items) this.cards.get(item.id).update(item);
  }
}

class LimitForm {
  constructor(charger, label) {
    this.input = h("input", { type: "number", min: "0", max: "200", step: "1", inputmode: "numeric" });
    this.field = field(label, this.input);
    this.clear = h("button", { type: "button", onclick: () => this.put(null) }, t("now.no-limit"));
    this.box = h("form", {
      class: "inline",
      onsubmit: (event) => {
        event.preventDefault();
        if (this.input.value !== "") this.put(Number(this.input.value));
      },
    }, this.field, h("button", {}, t("now.set")), this.clear);
    this.put = async (limit) => {
      if (await tried(() => ask("/api/limit", { charger, limit_a: limit })) && limit === null) this.input.value = "";
    };
  }

  update(limit) {
    this.clear.disabled = limit === null;
    if (document.activeElement !== this.input && limit !== this.limit) this.input.value = limit ?? "";
    this.limit = limit;
  }
}

class Charger {
  constructor(id, i) {
    this.id = id;
    this.offer = h("span", {});
    this.drawn = h("small", {});
    this.why = h("p", { class: "why" });
    this.how = h("span", {});
    this.gone = h("span", { class: "gone" });
    this.wanted = h("p", { class: "how wanted" });
    this.lease = h("p", { class: "how" });
    this.start = this.button(true);
    this.stop = this.button(false);
    this.buttons = h("div", { class: "buttons" }, this.start, this.stop);
    this.box = h("li", { id: `charger-${id}`, class: "card car" },
      h("div", { class: "top" }, h("h3", {}, id), h("span", { class: "amps" }, this.offer, " ", this.drawn)),
      this.why, h("p", { class: "how" }, this.how, this.gone), this.wanted, this.buttons);
    this.box.style.setProperty("--car", `var(${carColour(i)})`);
    this.wish = this.wishes();
    this.box.append(this.wish);
    if (may("operator")) this.box.append(this.controls());
  }

  wishes() {
    const energy = h("input", { type: "number", min: "1", max: "500", step: "any", inputmode: "decimal" });
    const until = h("input", { type: "time" });
    const most = h("input", { type: "number", min: "6", max: "80", step: "1", inputmode: "numeric" });
    const number = (input) => (input.value === "" ? null : Number(input.value));
    const put = (kwhWanted, leaves, maxA) => tried(() => ask("/api/wish", { charger: this.id, kwh: kwhWanted, until: leaves, max_a: maxA }));
    this.unwish = h("button", { type: "button", hidden: true, onclick: () => put(null, null, null) }, t("wish.none"));
    return h("details", {}, h("summary", {}, t("wish"), h("span", { class: "unseen" }, ` ${this.id}`)), h("form", {
      class: "inline",
      onsubmit: (event) => {
        event.preventDefault();
        put(number(energy), until.value || null, number(most));
      },
    }, field(t("wish.kwh"), energy), field(t("wish.until"), until), field(t("people.max_a"), most),
    h("button", {}, t("wish.say")), this.unwish));
  }

  button(on) {
    const words = t(on ? "now.start" : "now.stop");
    return h("button", {
      type: "button",
      "aria-label": `${words}: ${this.id}`,
      onclick: () => tried(async () => {
        await ask("/api/charging", { charger: this.id, on });
        return { words: t(on ? "now.start-sent" : "now.stop-sent", { charger: this.id }) };
      }),
    }, words);
  }

  controls() {
    this.limit = new LimitForm(this.id, t("now.charger-limit"));
    this.priority = select(priorities(), "0", {
      onchange: (event) => tried(() => ask("/api/priority", { charger: this.id, priority: Number(event.target.value) })),
    });
    return h("details", {}, h("summary", {}, t("now.controls")),
      this.limit.box, field(t("now.priority"), this.priority), this.lease);
  }

  update(c) {
    say(this.offer, `${plain(c.offer_a)} A`);
    say(this.drawn, t("now.draws", { amps: amps(c.drawn_a) }));
    const faults = `${t("fault")}: ${c.faults.map((name) => told(`fault.${name}`, name)).join("; ")}`;
    const faulty = c.reason.kind === "fault" && c.faults.length > 0;
    say(this.why, faulty ? faults : told(`reason.${c.reason.kind}`, c.reason.words, c.reason));
    const whose = c.user && c.user !== me.user ? `, ${c.user}` : c.user ? `, ${t("now.yours")}` : "";
    const taken = c.session_wh ? `, ${kwh(c.session_wh)}` : "";
    say(this.how, `${told(`state.${c.state}`, c.state_words)}, ${c.min_a}–${c.max_a} A${taken}${whose}`);
    say(this.gone, `${c.online ? "" : `, ${t("offline")}`}${c.faults.length && !faulty ? `, ${faults}` : ""}`);
    say(this.wanted, wished(c.wish));
    this.unwish.hidden = c.wish === null;
    const mine = may("operator") || (c.user && c.user === me.user);
    const car = "BCD".includes(c.state[0] ?? " ");
    // One that waits for a card is started, one that has its share or waits for it is stopped.
    this.start.hidden = car && STOPPABLE.has(c.reason.kind);
    this.stop.hidden = c.reason.kind === "not_authorised";
    this.buttons.hidden = !mine || !c.online || !car;
    this.wish.hidden = this.buttons.hidden;
    if (!this.limit) return;
    this.limit.update(c.by_hand_a);
    if (document.activeElement !== this.priority) this.priority.value = String(c.priority);
    say(this.lease, c.lease ? t("now.lease", { number: c.lease, amps: c.limit_a, seconds: Math.round(c.lease_left_ms / 1000) }) : t("now.no-lease"));
  }
}

/** What the driver wants in words, and when it will have been done. */
function wished(wish) {
  if (wish === null) return "";
  const parts = [];
  if (wish.wh !== null) parts.push(t("wish.wanted", { energy: kwh(wish.wh) }));
  if (wish.leaves_ms !== null) parts.push(t("wish.leaves", { at: hour(wish.leaves_ms) }));
  if (wish.max_a !== null) parts.push(t("people.at-most", { amps: wish.max_a }));
  if (wish.left_wh === 0) parts.push(t("wish.done"));
  else if (wish.ready_ms !== null) parts.push(t("wish.ready", { at: hour(wish.ready_ms) }));
  return parts.join(" · ");
}

class Meter {
  constructor(id) {
    this.current = h("span", { class: "amps" });
    this.how = h("p", { class: "how" });
    this.box = h("li", { class: "card" }, h("div", { class: "top" }, h("h3", {}, id), this.current), this.how);
  }

  update(m) {
    say(this.current, m.current_a.map(amps).join(" ") || "–");
    const age = m.age_ms === null ? t("meter.no-reading") : t("meter.age", { seconds: tenths(m.age_ms / 1000) });
    say(this.how, `${told(`role.${m.role}`, t("meter.measures", { what: m.role_words }))}, ${age}${m.online ? "" : `, ${t("offline")}`}`);
  }
}

/** What kind of event this is, in this language. */
export function eventKind(e) {
  return told(`event.${e.kind}`, e.kind.replaceAll("_", " "));
}

/** An event in words of this language; what it has none for is as the manager wrote it. */
export function eventWords(e) {
  if (e.kind === "fault") {
    const [name, over] = e.words.split(" ", 2);
    const fault = told(`fault.${name}`, name);
    return over ? t("fault.over", { fault }) : fault;
  }
  if (e.code) return told(`state.${e.code}`, e.words);
  return e.words === e.kind.replaceAll("_", " ") ? eventKind(e) : sentence(e.words);
}

export function eventRow(e) {
  const words = eventWords(e);
  return h("li", {}, h("time", { datetime: new Date(e.at_ms).toISOString() }, clock(e.at_ms)),
    h("span", {}, `${e.device ? `${e.device}: ` : ""}${words}`));
}
