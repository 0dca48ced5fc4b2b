"use strict";
// Draws every <div class="plot" data-plot='{"kind","labels","data"}'> with uPlot, as wide as its
// place, in the colours of the page; again when the place or the colours change.
const day = 86400;
const dark = matchMedia("(prefers-color-scheme: dark)");
const colours = () => (dark.matches ? ["#5aa9e6", "#e8945a", "#7fc796", "#c792dd"] : ["#1b6ca8", "#c2622a", "#3b8a55", "#84449c"]);

function draw(place, plot) {
  const now = Date.now() / 1000;
  const style = getComputedStyle(place);
  const grid = style.getPropertyValue("--line");
  const series = plot.labels.map((label, i) => {
    const colour = colours()[i % 4];
    const bars = plot.kind === "bars";
    return {
      label,
      stroke: colour,
      width: 2,
      fill: bars ? colour + "88" : undefined,
      paths: bars ? uPlot.paths.bars({ size: [0.8, 40] }) : undefined,
      value: (_, v) => (v === null || v === undefined ? "" : v.toFixed(2)),
    };
  });
  const axis = () => ({ stroke: style.color, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 } });
  place.replaceChildren();
  new uPlot(
    {
      width: place.clientWidth,
      height: 240,
      series: [{}, ...series],
      axes: [axis(), axis()],
      scales: {
        x: { range: plot.kind === "bars" ? [now - 31 * day, now + day] : [now - day, now] },
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
    place.textContent = "Nothing measured yet.";
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
