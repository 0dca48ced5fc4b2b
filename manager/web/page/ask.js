// The manager's API: what is asked, and who asks.

import { sentence, t } from "/assets/words.js";

export class Refused extends Error {
  constructor(words, status, where) {
    super(words);
    this.status = status;
    this.where = where ?? "";
  }
}

export const me = { name: "", role: "", user: null, csrf: "", login: false, words: "" };

/**
 * The answer as JSON, its words in the language of the page. Without a body it is read, with one it is changed.
 * Refused says why not, in that language too; no words are the manager's that did not answer.
 */
export async function ask(path, body, method = body === undefined ? "GET" : "POST", type = "application/json") {
  const options = { method, headers: {} };
  if (method !== "GET" && me.csrf) options.headers["X-CSRF-Token"] = me.csrf;
  if (body !== undefined) {
    options.headers["Content-Type"] = type;
    options.body = type === "application/json" ? JSON.stringify(body) : body;
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Refused("", 0);
  }
  const said = await answer.json().catch(() => ({}));
  if (said.words) said.words = sentence(said.words);
  if (answer.ok) return said;
  if (answer.status === 401 && me.role) window.dispatchEvent(new Event("logged-out"));
  throw new Refused(said.words ?? t("went-wrong", { status: answer.status }), answer.status, said.where);
}

export async function whoAmI() {
  Object.assign(me, await ask("/api/me"));
}

const ROLES = ["", "tenant", "operator", "administrator"];
export const may = (role) => ROLES.indexOf(me.role) >= ROLES.indexOf(role);
