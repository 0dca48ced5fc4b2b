"""The course of a charging session: what it took in each quarter hour, from the readings that came.

Energy is what the charger's own meter counted. What was taken while nobody listened is spread
evenly over that time, so that the quarter hours add up to the session whatever was lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from manager.core.tariffs import QUARTER_S, Quarter

QUARTER_MS = QUARTER_S * 1000
GAP_MS = 60_000  # longer without a reading: when the energy was taken is a guess
_LONGEST_MS = 31 * 86_400_000  # longer is a clock that was set, not a silence

Doing = Literal["charging", "idle", "waiting"]


@dataclass(frozen=True, slots=True)
class Part:
    """What one quarter hour holds. `solar_mwh` is part of the energy, in thousandths of a Wh."""

    energy_wh: int = 0
    solar_mwh: int = 0
    charging_ms: int = 0
    idle_ms: int = 0


@dataclass(frozen=True, slots=True)
class Course:
    """`parts` by the second (UTC) at which the quarter hour begins; `energy_wh` is their sum."""

    seen_ms: int  # up to here
    energy_wh: int = 0
    parts: Mapping[int, Part] = field(default_factory=dict)
    spread_wh: int = 0  # of the energy, taken when nobody listened

    def quarters(self) -> tuple[Quarter, ...]:
        """As a tariff prices them."""
        return tuple(
            Quarter(
                start,
                p.energy_wh,
                p.solar_mwh // 1000,
                p.charging_ms // 1000,
                p.idle_ms // 1000,
            )
            for start, p in sorted(self.parts.items())
        )


def _pieces(from_ms: int, to_ms: int) -> Iterator[tuple[int, int]]:
    """(beginning of the quarter hour in s, ms of it) from one time to the other."""
    while from_ms < to_ms:
        start = from_ms // QUARTER_MS * QUARTER_MS
        upto = min(to_ms, start + QUARTER_MS)
        yield start // 1000, upto - from_ms
        from_ms = upto


def seen(
    course: Course, at_ms: int, energy_wh: int, doing: Doing, solar_permille: int = 0
) -> Course:
    """The charger said at `at_ms` that its session has taken so much.

    `solar_permille` of what is new came from the roof. A time or a count before the last one said
    changes nothing.
    """
    took = max(0, energy_wh - course.energy_wh)
    passed = max(0, at_ms - course.seen_ms)
    gap = passed > GAP_MS
    if gap:
        doing = "charging" if took else "waiting"  # what nobody saw is not charged as idle
    pieces = list(_pieces(max(course.seen_ms, at_ms - _LONGEST_MS), at_ms))
    passed = sum(ms for _, ms in pieces)
    pieces = pieces or [(course.seen_ms // QUARTER_MS * QUARTER_S, 0)]
    parts = dict(course.parts)
    so_far_ms = so_far_wh = 0
    for start, ms in pieces:
        so_far_ms += ms
        upto_wh = took * so_far_ms // passed if passed else took
        wh = upto_wh - so_far_wh
        so_far_wh = upto_wh
        if not (wh or ms):
            continue
        p = parts.get(start, Part())
        parts[start] = Part(
            p.energy_wh + wh,
            p.solar_mwh + wh * solar_permille,
            p.charging_ms + (ms if doing == "charging" else 0),
            p.idle_ms + (ms if doing == "idle" else 0),
        )
    return Course(
        max(course.seen_ms, at_ms),
        course.energy_wh + took,
        parts,
        course.spread_wh + (took if gap else 0),
    )


def ended(course: Course, end_ms: int, energy_wh: int) -> Course:
    """The session is over and its meter's last word is `energy_wh`: the parts add up to it.

    If it is less than was seen (a power cut took the last minutes), the newest parts give way.
    """
    doing: Doing = "charging" if energy_wh > course.energy_wh else "waiting"
    course = seen(course, end_ms, energy_wh, doing)
    over = course.energy_wh - energy_wh
    parts = dict(course.parts)
    for start in sorted(parts, reverse=True):
        if over <= 0:
            break
        p = parts[start]
        wh = p.energy_wh - min(over, p.energy_wh)
        over -= p.energy_wh - wh
        parts[start] = replace(p, energy_wh=wh, solar_mwh=min(p.solar_mwh, wh * 1000))
    return replace(course, energy_wh=energy_wh, parts=parts)


def doing(state: str, drawn_ma: int, energy_wh: int) -> Doing:
    """What the time counts as. Idle is the car's own choice, once it has had something: current
    is offered and it takes none. A driver does not pay for waiting his turn.
    """
    if state in ("C2", "D2") and drawn_ma > 0:
        return "charging"
    if energy_wh > 0 and state in ("B2", "C2", "D2"):
        return "idle"
    return "waiting"
