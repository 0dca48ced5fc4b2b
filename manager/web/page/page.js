// The shell of the page: who looks, in which language, and which view is shown.

import { may, me, Refused, whoAmI } from "/assets/ask.js";
import { $, h, icon, say } from "/assets/dom.js";
import * as live from "/assets/live.js";
import { inZone, load, sentence, t } from "/assets/words.js";

// name, the least role, and whether a phone shows it at the bottom or in the menu
const VIEWS = [
  ["now", "tenant", true],
  ["history", "operator", true],
  ["sessions", "tenant", true],
  ["money", "tenant", true],
  ["people", "tenant", false],
  ["devices", "operator", false],
  ["events", "operator", false],
  ["settings", "administrator", false],
  ["menu", "tenant", true],
];

const AGAIN_MS = 2000;

let end = null; // of the view that is shown
let shown = 0; // which of several quick changes is the last

function views() {
  return VIEWS.filter(([, role]) => may(role));
}

/** Tell what was done, or what went wrong. */
export function tell(words, bad = false) {
  say($("said"), words);
  $("said").className = bad ? "bad" : "";
  clearTimeout(tell.timer);
  tell.timer = setTimeout(() => say($("said"), ""), 8000);
}

/** Do something and tell what the manager says to it; a refusal is told too. The answer, or null. */
export async function tried(doing) {
  try {
    const said = await doing();
    if (said?.words) tell(said.words);
    return said;
  } catch (e) {
    if (!(e instanceof Refused)) throw e;
    tell(e.message || t("no-answer"), true);
    return null;
  }
}

function drawNavigation() {
  const links = views().map(([name, , bottom]) => h("li", { class: bottom ? "" : "aside" },
    h("a", { href: `#${name}`, "data-view": name }, icon(name), h("span", {}, t(`view.${name}`)))));
  $("nav").setAttribute("aria-label", t("navigation"));
  $("nav").firstElementChild.replaceChildren(...links);
  $("nav").hidden = !me.role;
}

async function show(focus) {
  const turn = shown += 1;
  const asked = location.hash.slice(1).split("/")[0];
  const name = me.role ? (views().find(([n]) => n === asked) ?? views()[0])[0] : "login";
  for (const link of $("nav").querySelectorAll("a")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const view = await import(`/assets/view_${name}.js`);
  if (name !== "now" && me.role) await live.known(); // lists of devices, the site's time zone
  if (turn !== shown) return;
  end?.();
  end = null;
  const main = $("main");
  const title = h("h1", { id: "title" }, t(`view.${name}`));
  main.replaceChildren(title);
  main.dataset.view = name;
  document.title = `${t(`view.${name}`)} – ${live.state?.name ?? "IEVCC"}`;
  if (focus) {
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  try {
    end = await view.show(main) ?? null;
  } catch (e) {
    if (!(e instanceof Refused)) throw e;
    main.append(h("p", { class: "none" }, e.message || t("no-answer")));
  }
  main.dataset.ready = name;
}

function linkIs(yes, words) {
  $("link").dataset.live = yes ? "yes" : "no";
  say($("link"), words);
}

async function begin() {
  drawNavigation();
  if (me.role) {
    live.start();
    live.listen((state) => {
      inZone(state.timezone);
      say($("name"), state.name);
      const { connected } = state.broker;
      linkIs(connected, connected ? t("live") : t("no-broker"));
      say($("trouble"), state.store === "ok" ? "" : `${t("store-fails")}${may("operator") ? ` (${sentence(state.store)})` : ""}`);
    });
  } else {
    linkIs(false, t("not-logged-in"));
  }
  await show(false);
}

/** Another who looks, or another language: everything anew. */
export async function anew() {
  end?.();
  end = null;
  live.stop();
  await Promise.all([load(), whoAmI()]);
  say($("skip"), t("skip"));
  await begin();
}

function begun() {
  anew().catch(() => {
    linkIs(false, t("no-answer"));
    setTimeout(begun, AGAIN_MS);
  });
}

export function theme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  localStorage.setItem("theme", name);
  window.dispatchEvent(new Event("theme"));
}

theme(localStorage.getItem("theme") ?? "auto");
window.addEventListener("hashchange", () => show(true));
window.addEventListener("silent", () => linkIs(false, t("no-answer")));
window.addEventListener("logged-out", () => setTimeout(begun, AGAIN_MS));
$("skip").addEventListener("click", (event) => {
  event.preventDefault();
  $("main").focus();
});
begun();
