"use strict";
// Draws every <div class="plot" data-plot='{"kind","labels","data"}'> with uPlot, as wide as its
// place, in the colours of the page; again when the place or the colours change. Times are those of
// data-zone, the site's, as in the tables; without one, the reader's.
const day = 86400;
const hour = 3600;
const dark = matchMedia("(prefers-color-scheme: dark)");
const colours = () => (dark.matches ? ["#5aa9e6", "#e8945a", "#7fc796", "#c792dd"] : ["#1b6ca8", "#c2622a", "#3b8a55", "#84449c"]);

const two = (n) => String(n).padStart(2, "0");

// Times as the tables write them: 2026-11-27 03:09, on an axis the day or the time.
function stamp(at) {
  const date = `${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return { year: at.getFullYear(), date, time: `${two(at.getHours())}:${two(at.getMinutes())}` };
}

function draw(place, plot) {
  const now = Date.now() / 1000;
  const style = getComputedStyle(place);
  const grid = style.getPropertyValue("--line");
  const bars = plot.kind === "bars";
  const series = plot.labels.map((label, i) => {
    const colour = colours()[i % 4];
    return {
      label,
      stroke: colour,
      width: 2,
      fill: bars ? colour + "88" : undefined,
      // No wider than a day, however few days there are.
      paths: bars ? uPlot.paths.bars({ size: [0.8, Math.max(3, (place.clientWidth - 60) / 40)] }) : undefined,
      value: (_, v) => (v === null || v === undefined ? "" : v.toFixed(2)),
    };
  });
  const zone = place.dataset.zone;
  const local = (seconds) => (zone ? uPlot.tzDate(new Date(seconds * 1000), zone) : new Date(seconds * 1000));
  const tick = (seconds) => {
    const { date, time } = stamp(local(seconds));
    return bars || time === "00:00" ? date : time;
  };
  const when = (_, seconds) => {
    if (seconds === null || seconds === undefined) return "";
    const { year, date, time } = stamp(local(seconds));
    return bars ? `${year}-${date}` : `${year}-${date} ${time}`;
  };
  const axis = () => ({ stroke: style.color, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 } });
  place.replaceChildren();
  new uPlot(
    {
      width: place.clientWidth,
      height: 240,
      tzDate: local,
      series: [{ label: "Time", value: when }, ...series],
      axes: [{ ...axis(), values: (_, splits) => splits.map(tick) }, axis()],
      scales: {
        // A building that is new shows its first hours whole.
        x: { range: bars ? [now - 31 * day, now + day] : [Math.max(now - day, Math.min(plot.data[0][0], now - hour)), now] },
        y: { range: (_, low, high) => [Math.min(0, low), Math.max(high * 1.05, 0.1)] },
      },
    },
    plot.data,
    place,
  );
}

for (const place of document.querySelectorAll(".plot")) {
  const plot = JSON.parse(place.dataset.plot);
  if (!plot.data[0].length) {
    place.textContent = place.dataset.empty || "Nothing measured yet.";
    continue;
  }
  let width = 0;
  new ResizeObserver(() => {
    if (place.clientWidth !== width) {
      width = place.clientWidth;
      draw(place, plot);
    }
  }).observe(place);
  dark.addEventListener("change", () => draw(place, plot));
}
