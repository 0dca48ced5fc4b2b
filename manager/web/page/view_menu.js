// The rest of the views on a phone, and what one sets for oneself: language, colours, password.

import { ask, may, me, Refused } from "/assets/ask.js";
import { choice, field, h, icon, select } from "/assets/dom.js";
import { anew, tell, theme, tried } from "/assets/page.js";
import { choose, language, languages, t } from "/assets/words.js";

const MORE = [["people", "tenant"], ["devices", "operator"], ["events", "operator"], ["settings", "administrator"]];

export function show(main) {
  const more = MORE.filter(([, role]) => may(role));
  main.append(h("ul", { class: "menu" }, more.map(([name]) => h("li", {},
    h("a", { href: `#${name}` }, icon(name), t(`view.${name}`))))));

  const speech = select(languages, language, {
    onchange: async (event) => {
      choose(event.target.value);
      await anew();
    },
  });
  const themes = ["auto", "light", "dark"].map((name) => [name, t(`theme.${name}`)]);
  main.append(h("section", { class: "card", "aria-labelledby": "mine" },
    h("h2", { id: "mine" }, t("menu.mine")),
    field(t("menu.language"), speech),
    h("p", { class: "label" }, t("menu.theme")),
    choice(t("menu.theme"), themes, localStorage.getItem("theme") ?? "auto", theme)));

  if (me.login && me.name) main.append(account());
  main.append(h("p", {}, h("a", { href: "/api" }, t("menu.api"))));
}

function account() {
  const old = h("input", { type: "password", autocomplete: "current-password", required: true, maxlength: "200" });
  const fresh = h("input", { type: "password", autocomplete: "new-password", required: true, minlength: "10", maxlength: "200" });
  const freshField = field(t("menu.new-password"), fresh, t("menu.new-password-hint"));
  return h("section", { class: "card", "aria-labelledby": "account" },
    h("h2", { id: "account" }, `${me.name} (${t(`role.${me.role}`)})`),
    h("button", {
      type: "button",
      onclick: async () => {
        await tried(() => ask("/api/logout", {}));
        location.hash = "";
        await anew();
      },
    }, t("menu.log-out")),
    h("form", {
      onsubmit: async (event) => {
        event.preventDefault();
        try {
          await ask("/api/password", { old: old.value, new: fresh.value });
        } catch (e) {
          if (!(e instanceof Refused)) throw e;
          freshField.complain(e.message || t("no-answer"));
          return;
        }
        await anew();
        tell(t("menu.password-changed"));
      },
    }, h("h3", {}, t("menu.password")), field(t("menu.old-password"), old), freshField,
    h("button", {}, t("menu.change-password"))));
}
