// Logging in.

import { ask, me, Refused } from "/assets/ask.js";
import { field, h } from "/assets/dom.js";
import { anew } from "/assets/page.js";
import { t } from "/assets/words.js";

export function show(main) {
  if (me.words) {
    main.append(h("p", {}, t("login.no-account")), h("pre", { class: "command", tabindex: "0" }, "ievcc accounts add NAME --role administrator"));
    return;
  }
  const name = h("input", { name: "name", autocomplete: "username", required: true, autocapitalize: "none", maxlength: "64" });
  const password = h("input", { name: "password", type: "password", autocomplete: "current-password", required: true, maxlength: "200" });
  const passwordField = field(t("login.password"), password);
  main.append(h("form", {
    class: "card narrow",
    onsubmit: async (event) => {
      event.preventDefault();
      try {
        await ask("/api/login", { name: name.value, password: password.value });
      } catch (e) {
        if (!(e instanceof Refused)) throw e;
        passwordField.complain(e.status === 401 ? t("login.wrong") : e.message || t("no-answer"));
        password.select();
        return;
      }
      await anew();
    },
  }, field(t("login.name"), name), passwordField, h("button", { class: "main" }, t("login.do"))));
  name.focus();
}
