// Loaded before a peer: its clock is `speed` times fast, and shows `at_ms` when the real one shows `real_ms`.
import { createRequire } from "node:module";

const { speed, real_ms, at_ms } = JSON.parse(process.env.HURRY);
const require = createRequire(import.meta.url);
const Real = Date;
const now = () => at_ms + (Real.now() - real_ms) * speed;

globalThis.Date = class extends Real {
  constructor(...given) {
    super(...(given.length ? given : [now()]));
  }
  static now() {
    return Math.round(now());
  }
};

// A library that took its timers before would not be hurried; so the modules' own are replaced, and this is loaded first.
const timers = require("timers");
for (const name of ["setTimeout", "setInterval"]) {
  const real = timers[name];
  timers[name] = globalThis[name] = (call, ms = 0, ...more) => real(call, ms / speed, ...more);
}
const promises = require("timers/promises");
const sleep = promises.setTimeout;
promises.setTimeout = (ms = 0, ...more) => sleep(ms / speed, ...more);
