"""The chart of a simulated scenario, as SVG and PNG: the same run gives the same bytes.

Few chargers: above, the building (home load, total load, the limit, the moments of the scenario);
below, each charger's offer and what its car draws. Many chargers: the loads stacked above, and
below one row a bay, coloured by the current it draws.
"""

from __future__ import annotations

import datetime as dt
import importlib
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.scenario_record import Line, Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MANY = 6  # chargers, from which on each gets a row instead of lines
_POINTS = 6000  # more than this a chart cannot show: the extremes of each stretch are kept

_HOME = "#6b7280"
_TOTAL = "#111827"
_LIMIT = "#c81e1e"
_SUN = "#e69f00"
# Told apart by colour-blind readers too (Okabe and Ito).
_CHARGERS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#7c3aed", "#56b4e9")


def draw(record: Record, folder: Path, stem: str = "chart") -> list[Path]:
    """Writes STEM.svg and STEM.png into the folder and returns their paths."""
    # Loaded here: matplotlib takes a second, which nobody should wait for who draws nothing.
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    style: Any = {
        "svg.hashsalt": "ievcc",  # names of clip paths would be random otherwise
        "svg.fonttype": "path",
        "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": "#9ca3af",
        "axes.labelcolor": "#374151",
        "xtick.color": "#374151",
        "ytick.color": "#374151",
        "axes.grid": True,
        "axes.grid.axis": "y",
        "grid.color": "#e5e7eb",
        "grid.linewidth": 0.8,
        "legend.frameon": False,
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(11, 6.4), dpi=130, layout="constrained")
        if len(record.bays) >= MANY:
            _garage(figure, record)
        else:
            _house(figure, record)
        svg, png = folder / f"{stem}.svg", folder / f"{stem}.png"
        figure.savefig(svg, metadata={"Date": None, "Creator": None})
        figure.savefig(png, metadata={"Software": None})
    return [svg, png]


def _clock(record: Record) -> tuple[Callable[[int], Any], Callable[[Axes], None]]:
    """How a time in ms becomes a place on the axis, and how the axis is labelled."""
    from matplotlib import ticker  # noqa: PLC0415

    dates: Any = importlib.import_module("matplotlib.dates")  # has no types

    scenario = record.scenario
    if scenario.start is not None:
        start = scenario.start
        days = scenario.duration_ms > 2 * 86_400_000

        def label_dates(axes: Axes) -> None:
            if days:
                axes.xaxis.set_major_locator(dates.DayLocator())
                axes.xaxis.set_major_formatter(dates.DateFormatter("%a %d %b"))
                axes.xaxis.set_minor_locator(dates.HourLocator(byhour=(6, 12, 18)))
            else:
                locator = dates.AutoDateLocator(minticks=6, maxticks=14)
                axes.xaxis.set_major_locator(locator)
                short = scenario.duration_ms < 3_600_000
                axes.xaxis.set_major_formatter(
                    dates.DateFormatter("%H:%M:%S" if short else "%H:%M")
                )

        return (lambda ms: start + dt.timedelta(milliseconds=ms)), label_dates

    hours = scenario.duration_ms >= 2 * 3_600_000

    def label_seconds(axes: Axes) -> None:
        def written(value: float, _: int) -> str:
            whole = round(value)
            if hours:
                return f"{whole // 3600}:{whole // 60 % 60:02d}"
            return f"{whole // 60}:{whole % 60:02d}"

        steps = [1, 2, 3, 6] if hours else [1, 3, 6]
        base = 3600 if hours else 10
        while scenario.duration_ms / 1000 / (base * steps[0]) > 14:
            steps = steps[1:] if len(steps) > 1 else [steps[0] * 2]
        axes.xaxis.set_major_locator(ticker.MultipleLocator(base * steps[0]))
        axes.xaxis.set_major_formatter(ticker.FuncFormatter(written))
        axes.set_xlabel("time, h:min" if hours else "time, min:s")

    return (lambda ms: ms / 1000), label_seconds


def _points(line: Line, end_ms: int, scale: float = 1.0) -> tuple[list[int], list[float]]:
    """The line as times and values, thinned to what a chart can show, extremes kept."""
    times, values = line.times_ms, line.values
    if not times:
        return [0, end_ms], [0.0, 0.0]
    if len(times) > _POINTS:
        width = max(1, len(times) // (_POINTS // 2))
        keep: list[int] = []
        for begin in range(0, len(times), width):
            stretch = range(begin, min(begin + width, len(times)))
            low = min(stretch, key=values.__getitem__)
            high = max(stretch, key=values.__getitem__)
            keep += sorted({low, high})
        times, values = [times[i] for i in keep], [values[i] for i in keep]
    return [*times, end_ms], [*(v * scale for v in values), values[-1] * scale]


def _step(axes: Axes, record: Record, line: Line, place: Callable[[int], Any], **how: Any) -> None:
    scale = how.pop("scale", 0.001)
    times, values = _points(line, record.scenario.duration_ms, scale)
    axes.plot([place(t) for t in times], values, drawstyle="steps-post", **how)


def _house(figure: Figure, record: Record) -> None:
    s = record.scenario
    place, label = _clock(record)
    count = len(record.bays)
    # One row a charger: lines of chargers that have the same would hide each other. So with phases.
    building = 1.1 * max(2, count) / (1 if s.phases == 1 else 2)
    axes_all = figure.subplots(
        s.phases + count, 1, sharex=True, height_ratios=[building] * s.phases + [1.0] * count
    )
    above, rows = list(axes_all[: s.phases]), list(axes_all[s.phases :])
    top = max(*(max(t.values) / 1000 for t in record.total), *record.limit.values)
    for p, axes in enumerate(above):
        _step(axes, record, record.house[p], place, color=_HOME, lw=1.3, label="Home load")
        _step(axes, record, record.total[p], place, color=_TOTAL, lw=1.6, label="Total load")
        _step(axes, record, record.limit, place, scale=1.0, color=_LIMIT, lw=1.3, ls=(0, (6, 3)),
              label=f"Limit {s.limit_a} A")  # fmt: skip
        _over(axes, record, p, place)
        if s.solar:
            _step(axes, record, record.sun[p], place, color=_SUN, lw=1.3, label="Sun")
        low = min(record.total[p].values) / 1000
        axes.set_ylim(low * 1.15 if low < 0 else 0, top * 1.15)
        axes.set_ylabel("current, A" if s.phases == 1 else f"L{p + 1}, A")
    most = max((max(b.offer.values, default=0) for b in record.bays.values()), default=0)
    for n, (axes, (name, bay)) in enumerate(zip(rows, record.bays.items(), strict=True)):
        colour = _CHARGERS[n % len(_CHARGERS)]
        times, values = _points(bay.drawn, s.duration_ms, 0.001)
        axes.fill_between([place(t) for t in times], values, step="post", color=colour, alpha=0.35,
                          lw=0, label=f"{name}: drawn")  # fmt: skip
        _step(axes, record, bay.offer, place, scale=1.0, color=colour, lw=1.5, label="offered")
        axes.set_ylim(0, max(8.0, most * 1.45))
        _plateaus(axes, bay.offer, s.duration_ms, place, colour)
        axes.set_ylabel("A")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.08), fontsize=8)
    _marks(above[0], [*above[1:], *rows], record, place)
    above[0].set_title(s.title, loc="left", fontsize=12, pad=26 if s.marks else 8)
    above[0].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
    above[0].set_xlim(place(0), place(s.duration_ms))
    label(rows[-1])


def _plateaus(
    axes: Axes, line: Line, end_ms: int, place: Callable[[int], Any], colour: str
) -> None:
    """Writes an offer's amperes above each stretch that is wide enough for them."""
    ends = [*line.times_ms, end_ms][1:]
    for begin, end, value in zip(line.times_ms, ends, line.values, strict=True):
        if value and (end - begin) * 40 >= end_ms:
            axes.annotate(
                str(value), (place((begin + end) // 2), value), xytext=(0, 2),
                textcoords="offset points", ha="center", va="bottom", fontsize=7.5, color=colour,
            )  # fmt: skip


def _over(axes: Axes, record: Record, phase: int, place: Callable[[int], Any]) -> None:
    """Shades what is above the limit."""
    total, limit = record.total[phase], record.limit
    times = sorted({*total.times_ms, *limit.times_ms, record.scenario.duration_ms})
    x: list[Any] = []
    low: list[float] = []
    high: list[float] = []
    for begin, end in pairwise(times):
        edge, value = float(limit.at(begin)), total.at(begin) / 1000
        x += [place(begin), place(end)]
        low += [edge, edge]
        high += [max(edge, value)] * 2
    axes.fill_between(x, low, high, color=_LIMIT, alpha=0.25, lw=0, label="above the limit")


def _marks(above: Axes, rows: Sequence[Axes], record: Record, place: Callable[[int], Any]) -> None:
    """Thin lines at the scenario's moments; labels in two rows where they would overlap."""
    gap_ms = record.scenario.duration_ms / 48
    last = [-1e18, -1e18]
    for mark in record.scenario.marks:
        for axes in (above, *rows):
            axes.axvline(place(mark.at_ms), color="#9ca3af", lw=0.7, zorder=0)
        row = 0 if mark.at_ms - last[0] >= gap_ms else 1
        last[row] = mark.at_ms
        above.annotate(
            mark.label, (place(mark.at_ms), 1.0), xycoords=("data", "axes fraction"),
            xytext=(0, 2 + 10 * row), textcoords="offset points", ha="center", va="bottom",
            fontsize=8, color="#374151",
        )  # fmt: skip


def _garage(figure: Figure, record: Record) -> None:
    import numpy as np  # noqa: PLC0415
    from matplotlib.colors import LinearSegmentedColormap  # noqa: PLC0415
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    s = record.scenario
    place, label = _clock(record)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1))
    bins = min(2000, max(200, s.duration_ms // 60_000))
    edges = [round(i * s.duration_ms / bins) for i in range(bins + 1)]
    width_s = s.duration_ms / bins / 1000
    # The busiest phase is the one the limit is about.
    phase = max(range(s.phases), key=lambda p: max(record.total[p].values))
    house = np.array(_means(record.house[phase], edges)) / 1000
    total = np.array(_means(record.total[phase], edges)) / 1000
    peaks = np.array(_peaks(record.total[phase], edges)) / 1000
    at = [place(t) for t in edges[:-1]]
    above.fill_between(at, 0, house, step="post", color="#9ca3af", lw=0, label="Home load")
    above.fill_between(at, house, total, step="post", color="#0072b2", lw=0, alpha=0.75,
                       label="Cars")  # fmt: skip
    words = f"Total, highest in {width_s / 60:.0f} min" if width_s >= 60 else "Total, highest"
    above.plot(at, peaks, drawstyle="steps-post", color=_TOTAL, lw=0.5, alpha=0.7, label=words)
    _step(above, record, record.limit, place, scale=1.0, color=_LIMIT, lw=1.3, ls=(0, (6, 3)),
          label=f"Limit {s.limit_a} A")  # fmt: skip
    above.set_ylim(0, max(*peaks, *record.limit.values) * 1.25)
    above.set_axisbelow(True)
    above.set_ylabel("current, A" + (f" (L{phase + 1})" if s.phases > 1 else ""))
    above.legend(loc="upper left", ncols=4, fontsize=8)
    above.set_title(s.title, loc="left", fontsize=12, pad=26 if s.marks else 8)
    rows = np.array([_means(b.drawn, edges) for b in record.bays.values()]) / 1000
    colours = LinearSegmentedColormap.from_list(
        "amps", ["#f3f4f6", "#93c5fd", "#0072b2", "#082f49"]
    )
    y = np.arange(len(rows) + 1) + 0.5
    x = np.array([place(t) for t in edges])
    mesh = below.pcolormesh(x, y, rows, cmap=colours, vmin=0, vmax=max(6.0, float(rows.max())),
                            rasterized=True)  # fmt: skip
    below.set_ylim(len(rows) + 0.5, 0.5)
    below.set_ylabel("bay")
    below.yaxis.set_major_locator(MaxNLocator(integer=True))
    below.grid(visible=False)
    figure.colorbar(mesh, ax=below, label="car's current, A", pad=0.01)
    _marks(above, [below], record, place)
    below.set_xlim(place(0), place(s.duration_ms))
    label(below)


def _means(line: Line, edges: list[int]) -> list[float]:
    """The line's mean between each two edges."""
    out = [0.0] * (len(edges) - 1)
    if not line.times_ms:
        return out
    times = [*line.times_ms, edges[-1]]
    bin_at = 0
    for (begin, end), value in zip(pairwise(times), line.values, strict=True):
        at = begin
        while at < end:
            while edges[bin_at + 1] <= at:
                bin_at += 1
            stop = min(end, edges[bin_at + 1])
            out[bin_at] += value * (stop - at)
            at = stop
    return [v / (b - a) for v, a, b in zip(out, edges[:-1], edges[1:], strict=True)]


def _peaks(line: Line, edges: list[int]) -> list[float]:
    """The line's highest value between each two edges."""
    out = [float(line.at(edge)) for edge in edges[:-1]]
    bin_at = 0
    for at, value in zip(line.times_ms, line.values, strict=True):
        while bin_at + 2 < len(edges) and edges[bin_at + 1] <= at:
            bin_at += 1
        out[bin_at] = max(out[bin_at], float(value))
    return out
