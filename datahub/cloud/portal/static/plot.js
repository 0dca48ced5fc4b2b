"use strict";
// Draws every <div class="plot" data-plot='{"kind","labels","data"}'> with uPlot.
const day = 86400;
const now = Date.now() / 1000;
const colours = ["#1b6ca8", "#d1783a"];
for (const place of document.querySelectorAll(".plot")) {
  const plot = JSON.parse(place.dataset.plot);
  if (!plot.data[0].length) {
    place.textContent = "Nothing measured yet.";
    continue;
  }
  const series = plot.labels.map((label, i) => ({
    label,
    stroke: colours[i],
    width: 2,
    fill: plot.kind === "bars" ? colours[i] + "88" : undefined,
    paths: plot.kind === "bars" ? uPlot.paths.bars({ size: [0.8, 40] }) : undefined,
    value: (_, v) => (v === null || v === undefined ? "" : v.toFixed(2)),
  }));
  new uPlot(
    {
      width: Math.min(place.clientWidth, 1000),
      height: 240,
      series: [{}, ...series],
      scales: plot.kind === "bars" ? { x: { range: [now - 31 * day, now + day] } } : {},
    },
    plot.data,
    place,
  );
}
