"""`ievcc commission`: step each charging charger and compare what it offers, what it measures, and
what the main meter sees; finds meters that disagree and phases that are swapped.

`judge` is pure. The rest asks the running manager, and takes its limits back at the end.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from manager import asking
from manager.asking import SITE_FILE, Config, Url

STEP_A = (6, 10, 16, 20, 25, 32)
SETTLE_S = 8.0  # a car follows within 5 s, a PZEM shows it after 2.7 s
SAMPLES = 5
FOLLOW_S = 30.0  # until a new limit is on the pilot
TOLERANCE = 0.05
LEAST_A = 0.4  # two meters of 0.1 A, a house that moves a little


@dataclass(frozen=True)
class Point:
    """One step: what was offered, and the medians measured, A. `main` by building phase, `own` by the charger's."""

    offer_a: int
    own: tuple[float, ...]
    main: tuple[float, ...]


def judge(phases: Sequence[int], points: Sequence[Point]) -> list[str]:
    """What is wrong, in words, one line each; nothing if all agree.

    `phases`: the building's phase (from 1) on each of the charger's. Needs two points that differ by
    3 A or more on what the charger measures, or says so.
    """
    found: list[str] = []
    for p in points:
        for k, ma in enumerate(p.own):
            if ma > (p.offer_a + 0.5) * 1.1:
                found.append(
                    f"offered {p.offer_a} A, phase {k + 1} draws {ma:.1f} A: the car takes too much"
                )
    low, high = min(points, key=lambda p: max(p.own)), max(points, key=lambda p: max(p.own))
    if max(high.own) - max(low.own) < 3:
        return [
            *found,
            "the car's current did not change by 3 A: nothing can be said about phases and meters",
        ]
    rises = [b - a for a, b in zip(low.own, high.own, strict=True)]
    seen = [b - a for a, b in zip(low.main, high.main, strict=True)]
    for k, rise in enumerate(rises):
        if rise < 3:
            continue
        named = phases[k] if k < len(phases) else k + 1
        at = named - 1 if named <= len(seen) else 0
        slack = max(LEAST_A, rise * TOLERANCE)
        if abs(seen[at] - rise) <= slack:
            continue
        elsewhere = [n for n, s in enumerate(seen) if n != at and abs(s - rise) <= slack]
        if elsewhere and abs(seen[at]) <= slack:
            found.append(
                f"phase {k + 1} is named as on the building's phase {named}, but the main meter sees it on "
                f"{elsewhere[0] + 1}: set `wiring`, or swap the wires"
            )
        else:
            found.append(
                f"phase {k + 1} rose by {rise:.1f} A, the main meter's phase {named} by {seen[at]:.1f} A: "
                "a current transformer is on another wire, not closed, or the house moved; try again"
            )
    return found


def steps(max_a: int) -> list[int]:
    """The currents a charger is stepped through."""
    return [a for a in STEP_A if a < max_a] + [max_a] if max_a > STEP_A[0] else [max_a]


def _median(rows: list[list[float]]) -> tuple[float, ...]:
    return tuple(statistics.median(column) for column in zip(*rows, strict=True))


class Commissioning:
    """One run against a manager. `ask(path, body or None)` speaks to it; `pause` sleeps."""

    def __init__(
        self,
        ask: Callable[..., dict[str, Any]],
        say: Callable[[str], None],
        pause: Callable[[float], None] = time.sleep,
        settle_s: float = SETTLE_S,
    ) -> None:
        self._ask = ask
        self._say = say
        self._pause = pause
        self._settle_s = settle_s

    def _charger(self, name: str) -> dict[str, Any]:
        return next(c for c in self._ask("/api/state")["chargers"] if c["id"] == name)

    def _limit(self, name: str, amps: int | None) -> None:
        self._ask("/api/limit", {"charger": name, "limit_a": amps})

    def _follows(self, name: str, amps: int) -> bool:
        for _ in range(int(FOLLOW_S * 4)):
            if self._charger(name)["offer_a"] == amps:
                return True
            self._pause(0.25)
        return False

    def point(self, name: str, amps: int) -> Point | None:
        """Offer so much and measure; None, with the reason said, if the charger did not get it."""
        self._limit(name, amps)
        if not self._follows(name, amps):
            self._say(f"  {amps} A: not offered ({self._charger(name)['reason']})")
            return None
        self._pause(self._settle_s)
        own, main = [], []
        for _ in range(SAMPLES):
            state = self._ask("/api/state")
            own.append(next(c for c in state["chargers"] if c["id"] == name)["current_a"])
            main.append(next(m for m in state["meters"] if m["role"] == "grid")["current_a"])
            self._pause(1.0)
        point = Point(amps, _median(own), _median(main))
        measured = ", ".join(f"{a:.1f}" for a in point.own)
        self._say(
            f"  {amps} A: draws {measured} A, main meter {', '.join(f'{a:.1f}' for a in point.main)} A"
        )
        return point

    def run(self, wanted: Sequence[str]) -> bool:
        """Step each charger, the others paused meanwhile; True if nothing was found."""
        state = self._ask("/api/state")
        if not any(m["role"] == "grid" for m in state["meters"]):
            self._say("no main meter (role grid) is there: nothing to compare with")
            return False
        names = [c["id"] for c in state["chargers"]]
        good = True
        try:
            for name in wanted or names:
                if name not in names:
                    self._say(f"{name}: no such charger")
                    good = False
                    continue
                for other in names:
                    self._limit(other, None if other == name else 0)
                good = self._one(name) and good
        finally:
            for name in names:
                self._limit(name, None)
        return good

    def _one(self, name: str) -> bool:
        charger = self._charger(name)
        self._say(name)
        if charger["state"] != "C2":
            self._say(f"  skipped: no car is charging here ({charger['state']})")
            return False
        points = [p for p in (self.point(name, a) for a in steps(charger["max_a"])) if p and p.own]
        if len(points) < 2:
            self._say("  too few steps to compare")
            return False
        found = judge(charger["phases"], points)
        for words in found:
            self._say(f"  ! {words}")
        if not found:
            self._say("  offer, own meter and main meter agree")
        return not found


def commission(
    charger: Annotated[
        list[str] | None, typer.Argument(help="which; left out: every charger")
    ] = None,
    config: Config = SITE_FILE,
    url: Url = "",
) -> None:
    """Step each charging charger; compare its offer, its own meter and the main meter."""
    manager = asking.address(config, url)

    def ask(path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = asking.ask(manager + path, body)
        return answer

    if not Commissioning(ask, typer.echo).run(charger or []):
        raise SystemExit(1)
