// Plots: uPlot in the page's colours, redrawn when those or the width change.

import { h } from "/assets/dom.js";
import { amps, clock, onTheWall, plain } from "/assets/words.js";

export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
export const carColour = (i) => `--car-${i % 6}`;

const two = (n) => String(n).padStart(2, "0");

function hours(_, splits, _axis, _space, step) {
  return splits.map((seconds) => {
    const d = onTheWall(seconds);
    if (step >= 86_400) return `${d.getDate()}.${d.getMonth() + 1}.`;
    return `${two(d.getHours())}:${two(d.getMinutes())}${step < 60 ? `:${two(d.getSeconds())}` : ""}`;
  });
}

/**
 * A plot that redraws itself. `make()` gives {label, lines: [{label, colour, dash, fill, bars, value}], data, unit,
 * times, least}; `summary` says in words what it shows, for those who do not see it.
 */
export class Plot {
  constructor(make, summary) {
    this.make = make;
    this.canvas = h("div", { class: "canvas", role: "img", "aria-label": summary });
    this.box = h("div", { class: "plot" }, this.canvas);
    this.sizes = new ResizeObserver(() => this.plot?.setSize(this.size()));
    this.sizes.observe(this.box);
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.redraw = () => this.draw();
    this.scheme.addEventListener("change", this.redraw);
    window.addEventListener("theme", this.redraw);
  }

  size() {
    return { width: Math.max(200, this.box.clientWidth - 16), height: 260 };
  }

  draw() {
    this.plot?.destroy();
    const made = this.make();
    const axis = {
      stroke: colour("--soft"),
      grid: { stroke: colour("--line"), width: 1 },
      ticks: { stroke: colour("--line"), width: 1 },
    };
    this.plot = new uPlot({
      ...this.size(),
      tzDate: onTheWall,
      scales: { x: { time: true, range: made.range }, y: { range: (_, low, high) => [Math.min(0, low ?? 0), Math.max(made.least ?? 10, (high ?? 0) * 1.08)] } },
      axes: [
        { ...axis, values: made.times ?? hours, space: 76, splits: made.splits },
        { ...axis, size: (_, values) => 22 + 7 * Math.max(4, ...(values ?? []).map((v) => v.length)), values: (_, v) => v.map((n) => `${plain(n)} ${made.unit ?? "A"}`) },
      ],
      series: [
        { label: made.label, value: made.when ?? ((_, s) => (s == null ? "–" : clock(s * 1000))) },
        ...made.lines.map((line) => ({
          label: line.label,
          stroke: colour(line.colour),
          width: line.width ?? 2,
          points: { show: false },
          spanGaps: false,
          value: line.value ?? ((_, v) => (v == null ? "–" : amps(v))),
          ...(line.dash && { dash: line.dash }),
          ...(line.bars && { fill: colour(line.colour), paths: uPlot.paths.bars({ size: [0.7, 60] }) }),
        })),
      ],
    }, made.data, this.canvas);
    requestAnimationFrame(() => this.newest()); // uPlot begins with an empty legend
  }

  update() {
    if (!this.plot) return;
    this.plot.setData(this.make().data);
    this.newest();
  }

  // The legend shows the newest values, unless somebody points at others.
  newest() {
    if (!this.plot || this.plot.cursor.left >= 0) return;
    const [times, , ...rest] = this.plot.data; // the first line may go on where nothing was measured
    const last = times.findLastIndex((_, i) => rest.some((values) => (values[i] ?? null) !== null));
    this.plot.setLegend({ idx: last < 0 ? times.length - 1 : last });
  }

  end() {
    this.plot?.destroy();
    this.plot = null;
    this.sizes.disconnect();
    this.scheme.removeEventListener("change", this.redraw);
    window.removeEventListener("theme", this.redraw);
  }
}
