// Meters and chargers: who is there, who waits to be let in, new firmware, and what each one's log says.

import { ask, may } from "/assets/ask.js";
import { field, h, say } from "/assets/dom.js";
import { tell, tried } from "/assets/page.js";
import { log } from "/assets/view_events.js";
import { dateAndTime, hour, sentence, t } from "/assets/words.js";

const AGAIN_MS = 3000;

export async function show(main) {
  const window_ = h("p", { role: "status" });
  const waiting = h("ul", { class: "cards" });
  const known = h("ul", { class: "cards" });
  let drawn = "";

  const draw = async () => {
    const said = await ask("/api/devices");
    say(window_, said.pairing_until_ms ? t("pairing.open", { until: hour(said.pairing_until_ms) }) : t("pairing.closed"));
    close.hidden = !said.pairing_until_ms;
    // Drawn anew only when something has changed: an open log or form stays open.
    const now = JSON.stringify(said.devices.map((d) => [d.id, d.standing, d.online, d.boot, d.firmware, d.refused, d.times > 0, said.pairing_until_ms > 0]));
    if (now === drawn || main.contains(document.activeElement?.closest("details"))) return;
    drawn = now;
    const open = new Set([...main.querySelectorAll("details[open]")].map((d) => d.dataset.id));
    const cards = (standing) => said.devices.filter((d) => standing(d.standing)).map((d) => card(d, open, said.pairing_until_ms > 0, draw));
    const wait = cards((s) => s === "waiting");
    waiting.replaceChildren(...(wait.length ? wait : [h("li", { class: "none" }, t("devices.none-waits"))]));
    known.replaceChildren(...cards((s) => s !== "waiting"));
  };

  const pair = (minutes) => async () => {
    await tried(() => ask("/api/pairing", { minutes }));
    drawn = "";
    await tried(draw);
  };
  const close = h("button", { type: "button", onclick: pair(0) }, t("pairing.close"));
  main.append(
    h("section", { "aria-labelledby": "waiting-title" }, h("h2", { id: "waiting-title" }, t("devices.waiting")),
      window_,
      may("administrator") ? h("div", { class: "buttons" }, h("button", { type: "button", onclick: pair(5) }, t("pairing.start")), close) : null,
      h("p", { class: "hint" }, t("pairing.hint")), waiting),
    h("section", { "aria-labelledby": "known-title" }, h("h2", { id: "known-title" }, t("devices.known")), known));
  await draw();
  const timer = setInterval(() => draw().catch(() => {}), AGAIN_MS);
  return () => clearInterval(timer);
}

function card(d, open, pairing, again) {
  const refused = Object.entries(d.refused).map(([what, n]) => `${n} ${what}`).join(", ");
  const lines = [
    [t("devices.kind"), d.kind && t(`devices.${d.kind}`)],
    [t("devices.model"), d.model],
    [t("devices.firmware"), d.firmware],
    [t("devices.under"), d.counter],
    [t("devices.signs"), t(d.signed ? "yes" : "no")],
    [t("devices.starts"), d.boot || ""],
    [t("devices.since"), d.first_ms && dateAndTime(d.first_ms)],
    [t("devices.asked"), d.times || ""],
    [t("devices.refused"), refused],
  ].filter(([, value]) => value);
  const standing = { authorised: d.online ? "online" : "offline", waiting: "waits", revoked: "revoked" }[d.standing];
  const box = h("li", { class: "card", id: `device-${d.id}` },
    h("div", { class: "top" }, h("h3", {}, d.id), h("span", { class: d.online ? "how" : "how gone" }, t(`devices.${standing}`))),
    h("p", { class: "how" }, lines.map(([what, value]) => `${what}: ${value}`).join(" · ")));
  if (may("administrator")) box.append(standingControls(d, pairing, again));
  if (d.standing === "authorised" && d.boot) box.append(details("update", d, open, t("update"), () => updateForm(d)));
  box.append(details("log", d, open, t("devices.log"), () => {
    const shown = log("events", d.id);
    tried(() => shown.begun);
    return shown.box;
  }));
  return box;
}

/** A part that is made when it is opened. */
function details(what, d, open, title, make) {
  const id = `${what} ${d.id}`;
  const box = h("details", { "data-id": id }, h("summary", {}, title, h("span", { class: "unseen" }, ` ${d.id}`)));
  box.addEventListener("toggle", () => {
    if (box.open && box.children.length === 1) box.append(make());
  });
  box.open = open.has(id);
  return box;
}

function standingControls(d, pairing, again) {
  const done = async (path, body) => {
    if (await tried(() => ask(`/api/devices/${encodeURIComponent(d.id)}/${path}`, body))) await tried(again);
  };
  if (d.standing === "authorised") {
    const sure = h("button", { type: "button", hidden: true, onclick: () => done("revoke", {}) }, t("devices.revoke-sure", { id: d.id }));
    const first = h("button", {
      type: "button",
      onclick: () => {
        sure.hidden = false;
        sure.focus();
      },
    }, t("devices.revoke"), h("span", { class: "unseen" }, ` ${d.id}`));
    return h("div", { class: "buttons" }, first, sure);
  }
  const key = h("input", { type: "text", autocomplete: "off", spellcheck: "false", maxlength: "128" });
  return h("form", {
    class: "inline",
    onsubmit: (event) => {
      event.preventDefault();
      done("authorise", key.value ? { key: key.value } : {});
    },
  }, field(t("devices.key"), key, pairing ? t("devices.key-pairing") : t("devices.key-hint")),
  h("button", { class: "main" }, t("devices.authorise"), h("span", { class: "unseen" }, ` ${d.id}`)));
}

function updateForm(d) {
  const file = h("input", { type: "file", required: true });
  const version = h("input", { type: "text", required: true, maxlength: "16" });
  const state = h("p", { role: "status", class: "how" });
  const follow = async () => {
    const said = await tried(() => ask("/api/update", { device: d.id }));
    if (!said || !state.isConnected) return;
    say(state, said.words);
    if (said.words.endsWith("%") || said.words === sentence("offered")) setTimeout(follow, 1000);
  };
  return h("form", {
    onsubmit: async (event) => {
      event.preventDefault();
      const bytes = new Uint8Array(await file.files[0].arrayBuffer());
      let text = "";
      for (const byte of bytes) text += String.fromCharCode(byte);
      const said = await tried(() => ask("/api/update", { device: d.id, bundle: btoa(text), version: version.value }));
      if (said) {
        tell(said.words);
        follow();
      }
    },
  }, field(t("update.bundle"), file, t("update.bundle-hint")), field(t("update.version"), version),
  h("button", {}, t("update.do")), state);
}
