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

/** When there is a state, or it has been waited for long enough. */
export function known() {
  if (state) return Promise.resolve();
  return new Promise((resolve) => {
    const over = listen(() => {
      over();
      resolve();
    });
    setTimeout(resolve, 3000);
  });
}

/** Begin to listen; the last hour comes when it comes. */
export function start() {
  points = [];
  stream = new EventSource("/api/live");
  stream.onmessage = (message) => {
    const said = JSON.parse(message.data);
    add(said.point);
    state = said.state;
    for (const listener of [...heard]) listener(state);
  };
  stream.onerror = (event) => {
    window.dispatchEvent(new Event("silent"));
    // The browser tries again by itself, unless it was told no: the login is over.
    if (event.target.readyState === EventSource.CLOSED) window.dispatchEvent(new Event("logged-out"));
  };
  past().catch(() => {}); // the stream says by itself that nobody answers
}

async function past() {
  const before = (await ask("/api/recent")).points;
  const since = before.length ? before[before.length - 1].t : 0;
  points = [...before, ...points.filter((p) => p.t > since)];
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
