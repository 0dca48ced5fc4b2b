"""What a benchmark hands back, and how it is printed.

A piece of the bench is a module in this folder with

    TITLE = "what it measures"
    def measure(small: bool) -> list[Row]: ...

`small` asks for a slice that takes seconds, for the tests. A piece that cannot run here raises
`UnavailableError` in words.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


class UnavailableError(RuntimeError):
    """A piece that cannot run on this machine; the words say what is missing."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line: what, the median, the 99th percentile (None where there is no such thing), the
    unit, and a remark.
    """

    what: str
    median: float
    p99: float | None = None
    unit: str = ""
    note: str = ""


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which `percent` of the values lie, by linear interpolation; ValueError if
    there are none.
    """
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def summed_up(what: str, values: Sequence[float], unit: str, note: str = "") -> Row:
    """Median and 99th percentile of these values."""
    return Row(what, statistics.median(values), percentile(values, 99), unit, note)


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}"
    return (
        f"{value:,.1f}"
        if abs(value) >= 100
        else f"{value:.3g}"
        if abs(value) < 10
        else f"{value:.1f}"
    )


def as_text(title: str, rows: Sequence[Row]) -> str:
    """A table for the terminal, columns aligned."""
    head = ("", "median", "p99", "", "")
    cells = [head] + [(r.what, _figure(r.median), _figure(r.p99), r.unit, r.note) for r in rows]
    wide = [max(len(c[i]) for c in cells) for i in range(5)]
    lines = [title, "-" * len(title)]
    for what, median, p99, unit, note in cells:
        line = (
            f"{what:<{wide[0]}}  {median:>{wide[1]}}  {p99:>{wide[2]}}  {unit:<{wide[3]}}  {note}"
        )
        lines.append(line.rstrip())
    return "\n".join(lines)
