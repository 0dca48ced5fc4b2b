// The page of one site: the newest state over server-sent events, the last hour from /api/recent.
"use strict";

const $ = (id) => document.getElementById(id);
const amps = (a) => `${a.toFixed(1)} A`;
const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour12: false });
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const carColour = (i) => `--car-${i % 6}`;

// Everything from a device is put in as text, never as HTML.
function element(tag, className, text) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  if (text !== undefined) e.textContent = text;
  return e;
}

let minutes = 10;
let plot = null;
let names = []; // of the chargers plotted, in order
let points = []; // {t, limit, house, total, cars: {name: drawn}}, oldest first

function columns() {
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

function draw() {
  const box = $("plot");
  if (plot) plot.destroy();
  const line = (label, variable, more) => ({
    label, stroke: colour(variable), width: 2, points: { show: false },
    value: (_, v) => (v == null ? "–" : amps(v)), ...more,
  });
  const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 },
    ticks: { stroke: colour("--line"), width: 1 } };
  const two = (n) => String(n).padStart(2, "0");
  const hours = (_, splits, _axis, _space, step) => splits.map((t) => {
    const d = new Date(t * 1000);
    const seconds = step < 60 ? `:${two(d.getSeconds())}` : "";
    return `${two(d.getHours())}:${two(d.getMinutes())}${seconds}`;
  });
  plot = new uPlot({
    width: box.clientWidth - 16, height: 260,
    scales: { x: { time: true }, y: { range: (_, low, high) => [0, Math.max(10, high * 1.08)] } },
    axes: [{ ...axis, values: hours, space: 76 }, { ...axis, size: 46, values: (_, v) => v.map((a) => `${a} A`) }],
    series: [
      { value: (_, t) => (t == null ? "–" : clock(t * 1000)) },
      line("limit", "--limit", { dash: [6, 4] }),
      line("total", "--total"),
      line("house", "--house"),
      ...names.map((n, i) => line(n, carColour(i))),
    ],
  }, columns(), box);
  showNewest();
}

// The legend shows the newest values, unless somebody points at others.
function showNewest() {
  if (plot.cursor.left < 0) plot.setLegend({ idx: plot.data[0].length - 1 });
}

function refresh() {
  if (!plot) return;
  plot.setData(columns());
  showNewest();
}

function add(point) {
  if (points.length && point.t <= points[points.length - 1].t) return;
  points.push(point);
  if (points.length > 4000) points.splice(0, 400);
}

function showNow(state) {
  const main = state.feeders[0];
  const worst = main.total_a.indexOf(Math.max(...main.total_a)); // the phase nearest its limit
  const free = main.limit_a[worst] - main.total_a[worst];
  $("name").textContent = state.name;
  document.title = `${state.name}: ${amps(main.total_a[worst])} of ${main.limit_a[worst]} A`;
  $("limit").textContent = amps(main.limit_a[worst]);
  $("house").textContent = amps(main.house_a[worst]);
  $("cars").textContent = amps(main.cars_a[worst]);
  $("free").textContent = amps(free);
  $("free").className = free < 0 ? "over" : "";
  $("known").textContent = main.known_words;
  $("known").className = main.known === "measured" ? "" : "warn";
  const parts = [["--house", main.house_a[worst]],
    ...state.chargers.map((c, i) => [carColour(i), c.drawn_a])];
  const whole = Math.max(main.limit_a[worst], main.total_a[worst], 1);
  $("bar").replaceChildren(...parts.map(([variable, a]) => {
    const part = element("span");
    part.style.width = `${Math.max(0, 100 * a / whole)}%`;
    part.style.background = `var(${variable})`;
    return part;
  }));
}

function chargerCard(c, i) {
  const card = element("li");
  card.id = `charger-${c.id}`;
  card.style.setProperty("--car", `var(${carColour(i)})`);
  const top = element("div", "top");
  const figure = element("span", "amps", `${c.offer_a} A `);
  figure.append(element("small", "", `draws ${amps(c.drawn_a)}`));
  top.append(element("b", "", c.id), figure);
  const lease = c.lease ? `, lease ${c.lease}: ${c.limit_a} A for ${(c.lease_left_ms / 1000).toFixed(0)} s` : "";
  const how = element("p", "how", `${c.state_words}, ${c.min_a}–${c.max_a} A${lease}`);
  if (!c.online) how.append(element("span", "gone", ", offline"));
  if (c.faults.length) how.append(element("span", "gone", `, fault: ${c.faults.join(", ")}`));
  card.append(top, element("p", "why", c.reason.words), how);
  return card;
}

function meterRow(m) {
  const row = element("li");
  const top = element("div", "top");
  top.append(element("b", "", m.id), element("span", "amps", m.current_a.map(amps).join(" ") || "–"));
  const how = element("p", "how", `measures ${m.role_words}, ${m.age_words}`);
  if (!m.online) how.append(element("span", "gone", ", offline"));
  row.append(top, how);
  return row;
}

function eventRow(e) {
  const row = element("li");
  row.append(element("time", "", clock(e.at_ms)), `${e.device ? `${e.device}: ` : ""}${e.words}`);
  return row;
}

function fill(list, rows, none) {
  list.replaceChildren(...(rows.length ? rows : [element("li", "none", none)]));
}

function show(state) {
  showNow(state);
  fill($("chargers"), state.chargers.map(chargerCard), "None has announced itself yet.");
  fill($("meters"), state.meters.map(meterRow), "None has announced itself yet.");
  fill($("events"), state.events.slice(0, 12).map(eventRow), "Nothing yet.");
  const ids = state.chargers.map((c) => c.id);
  if (ids.join() !== names.join()) {
    names = ids;
    draw();
  }
}

function live(yes, words) {
  $("link").dataset.live = yes ? "yes" : "no";
  $("link").textContent = words;
}

async function start() {
  const past = await fetch("/api/recent");
  points = (await past.json()).points;
  draw();
  const stream = new EventSource("/api/live");
  stream.onmessage = (message) => {
    const { state, point } = JSON.parse(message.data);
    add(point);
    show(state);
    refresh();
    live(state.broker.connected, state.broker.connected ? `live, ${state.policy}` : "no MQTT broker");
  };
  stream.onerror = () => live(false, "the manager does not answer");
}

for (const button of $("spans").children) {
  button.addEventListener("click", () => {
    minutes = Number(button.dataset.minutes);
    for (const b of $("spans").children) b.setAttribute("aria-pressed", String(b === button));
    refresh();
  });
}
new ResizeObserver(() => {
  if (plot) plot.setSize({ width: $("plot").clientWidth - 16, height: 260 });
}).observe($("plot"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
start().catch(() => live(false, "the manager does not answer"));
