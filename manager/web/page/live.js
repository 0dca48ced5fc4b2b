// The newest state, over server-sent events, and the last hour of points for plots.

import { ask } from "/assets/ask.js";

let stream = null;
let heard = new Set();
export let state = null;
export let points = []; // {t, limit, house, total, cars: {name: drawn}}, oldest first

/** Call `listener(state)` now, if there is one, and at every change; the answer ends that. */
export function listen(listener) {
  heard.add(listener);
  if (state) listener(state);
  return () => heard.delete(listener);
}

export async function start() {
  points = (await ask("/api/recent")).points;
  stream = new EventSource("/api/live");
  stream.onmessage = (message) => {
    const said = JSON.parse(message.data);
    add(said.point);
    state = said.state;
    for (const listener of [...heard]) listener(state);
  };
  stream.onerror = () => window.dispatchEvent(new Event("silent"));
}

export function stop() {
  stream?.close();
  stream = null;
  state = null;
  heard = new Set();
}

function add(point) {
  if (!point || (points.length && point.t <= points[points.length - 1].t)) return;
  points.push(point);
  if (points.length > 4000) points.splice(0, 400);
}
