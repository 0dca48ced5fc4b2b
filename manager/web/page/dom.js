// Elements. What comes from a device or a person is put in as text, never as HTML.

export const $ = (id) => document.getElementById(id);

/** An element: `on…` are listeners, `class`, `aria-…` and the rest attributes; children text or elements. */
export function h(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) e.addEventListener(name.slice(2), value);
    else if (name === "value") e.value = value;
    else e.setAttribute(name, value === true ? "" : value);
  }
  e.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return e;
}

/** The words of an element, changed only if they differ: a reader is not told the same again. */
export function say(e, words) {
  if (e.textContent !== words) e.textContent = words;
}

const SVG = "http://www.w3.org/2000/svg";

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

let numbered = 0;

/** A label with its input, select or textarea, and a place for what is wrong with it. */
export function field(label, input, hint) {
  input.id ||= `field-${numbered += 1}`;
  const wrong = h("p", { class: "wrong", id: `${input.id}-wrong` });
  const told = hint ? h("p", { class: "hint", id: `${input.id}-hint` }, hint) : null;
  input.setAttribute("aria-describedby", `${told ? `${told.id} ` : ""}${wrong.id}`);
  const box = h("div", { class: "field" }, h("label", { for: input.id }, label), input, told, wrong);
  box.complain = (words) => {
    say(wrong, words ?? "");
    if (words) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
  };
  return box;
}

export function select(options, chosen, attributes) {
  const e = h("select", attributes, options.map(([value, words]) => h("option", { value }, words)));
  e.value = chosen;
  return e;
}

/**
 * A table. Columns: [heading, (row) => cell, class]. Where it is too wide it scrolls by itself, and one of many
 * columns shows each row as a block on a phone; the roles say that it is a table then too.
 */
export function table(caption, columns, rows, none) {
  if (!rows.length) return h("p", { class: "none" }, none);
  const head = columns.map(([heading, , kind]) => h("th", { scope: "col", role: "columnheader", class: kind }, heading));
  const body = rows.map((row) => h("tr", { role: "row" }, columns.map(([heading, cell, kind], i) => (
    i ? h("td", { role: "cell", class: kind, "data-label": heading }, cell(row))
      : h("th", { scope: "row", role: "rowheader", class: kind }, cell(row))))));
  return h("div", { class: "wide", tabindex: "0", role: "group", "aria-label": caption },
    h("table", { role: "table", class: columns.length > 5 ? "many" : null }, h("caption", { class: "unseen" }, caption),
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head)), h("tbody", { role: "rowgroup" }, body)));
}

/** Buttons of which one is pressed; `chosen` is called with its value. */
export function choice(label, options, value, chosen) {
  const buttons = options.map(([v, words]) => h("button", {
    type: "button",
    "aria-pressed": String(v === value),
    onclick: (event) => {
      for (const b of buttons) b.setAttribute("aria-pressed", String(b === event.currentTarget));
      chosen(v);
    },
  }, words));
  return h("div", { class: "choice", role: "group", "aria-label": label }, buttons);
}
