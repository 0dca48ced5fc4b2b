"""What happened in a simulated scenario: lines for the chart, a list of events, and the summary.

The record is told of every change as it happens and adds up in between. Currents are constant from
one change to the next, so energies, times above the limit and the breaker's memory are exact, not
sampled.
"""

from __future__ import annotations

import csv
import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manager.core.breaker import Account, Overload
from simulator.scenario import VOLTS, Scenario


@dataclass(slots=True)
class Line:
    """A quantity that keeps its value until it changes: times in ms, and values from then on."""

    times_ms: list[int] = field(default_factory=list)
    values: list[int] = field(default_factory=list)

    def put(self, at_ms: int, value: int) -> None:
        """The value from `at_ms` on."""
        if self.times_ms and self.times_ms[-1] == at_ms:
            self.values[-1] = value
        elif not self.values or self.values[-1] != value:
            self.times_ms.append(at_ms)
            self.values.append(value)

    def at(self, at_ms: int) -> int:
        """The value at this time; 0 before the first."""
        place = bisect_right(self.times_ms, at_ms) - 1
        return self.values[place] if place >= 0 else 0


@dataclass(slots=True)
class Bay:
    """The books of one charger."""

    offer: Line = field(default_factory=Line)  # A on the pilot
    drawn: Line = field(default_factory=Line)  # mA, the largest of its phases
    settled_ms: int = 0
    amps: tuple[int, ...] = ()  # mA on each of the building's phases, now
    wants: bool = False  # a car is there and wants energy
    energy_mas: float = 0.0  # mA s over all phases
    wanting_ms: int = 0
    waiting_ms: int = 0  # of that, without an offer
    wait_ms: int = 0  # the wait that is going on
    longest_wait_ms: int = 0
    starts: int = 0  # times the contactor closed
    visits: int = 0
    wanted_wh: int = 0

    def settle(self, now_ms: int) -> None:
        """Adds up the time since the last change."""
        dt_ms = now_ms - self.settled_ms
        self.settled_ms = now_ms
        self.energy_mas += sum(self.amps) * dt_ms / 1000
        if not self.wants:
            self.wait_ms = 0
            return
        self.wanting_ms += dt_ms
        if self.offer.values and self.offer.values[-1] > 0:
            self.wait_ms = 0
            return
        self.waiting_ms += dt_ms
        self.wait_ms += dt_ms
        self.longest_wait_ms = max(self.longest_wait_ms, self.wait_ms)

    @property
    def energy_wh(self) -> float:
        """Energy its cars have had."""
        return self.energy_mas * VOLTS / 3_600_000


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of events.csv."""

    at_ms: int
    who: str
    what: str
    value: str = ""
    why: str = ""


class Record:
    """Collects a run of `scenario`. The breaker has one pole for each phase; all open together."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        phases = scenario.phases
        self.now_ms = 0
        self.limit = Line([0], [scenario.limit_a])
        self.house = [Line([0], [0]) for _ in range(phases)]
        self.total = [Line([0], [0]) for _ in range(phases)]
        self.sun = [Line([0], [0]) for _ in range(phases)]
        self.bays = {c.name: Bay() for c in scenario.chargers}
        self.happenings = [
            Happening(m.at_ms, "moment", m.label, "", m.text) for m in scenario.marks
        ]
        self.accounts = [Account(scenario.breaker, scenario.limit_a * 1000) for _ in range(phases)]
        self.tripped_ms: int | None = None
        self.messages = 0
        self.message_bytes = 0
        self.lost = 0
        self._house_ma = [0] * phases
        self._cars_ma = [0] * phases
        self._house_mas = 0.0
        self._sun_ma = [0] * phases
        self._sun_mas = 0.0
        self._bought_mas = 0.0

    def told(self, at_ms: int, who: str, what: str, value: object = "", why: str = "") -> None:
        """Something to list in events.csv."""
        self.happenings.append(Happening(at_ms, who, what, str(value), why))

    def house_draws(self, at_ms: int, amps_ma: Sequence[int]) -> None:
        """The building's own current on each phase, from now on."""
        if list(amps_ma) != self._house_ma:
            self._until(at_ms)
            self._house_ma = list(amps_ma)
            self._lines(at_ms)

    def sun_gives(self, at_ms: int, amps_ma: Sequence[int]) -> None:
        """What the roof feeds in on each phase, from now on."""
        if list(amps_ma) != self._sun_ma:
            self._until(at_ms)
            self._sun_ma = list(amps_ma)
            for line, ma in zip(self.sun, amps_ma, strict=True):
                line.put(at_ms, ma)
            self._lines(at_ms)

    def car_draws(self, at_ms: int, charger: str, amps_ma: tuple[int, ...]) -> None:
        """What this charger's car draws on each of the building's phases, from now on."""
        bay = self.bays[charger]
        if amps_ma == bay.amps:
            return
        self._until(at_ms)
        bay.settle(at_ms)
        bay.amps = amps_ma
        bay.drawn.put(at_ms, max(amps_ma))
        self._cars_ma = [
            sum(b.amps[p] for b in self.bays.values() if b.amps)
            for p in range(self.scenario.phases)
        ]
        self._lines(at_ms)

    def offers(self, at_ms: int, charger: str, offer_a: int, why: str = "") -> None:
        """What the pilot offers from now on."""
        bay = self.bays[charger]
        if not bay.offer.values or bay.offer.values[-1] != offer_a:
            bay.settle(at_ms)
            bay.offer.put(at_ms, offer_a)
            self.told(at_ms, charger, "offer_a", offer_a, why)

    def wants(self, at_ms: int, charger: str, wants: bool) -> None:
        """Whether a car stands there that wants energy."""
        bay = self.bays[charger]
        if bay.wants != wants:
            bay.settle(at_ms)
            bay.wants = wants

    def closed(self, at_ms: int, charger: str, closed: bool) -> None:
        """The contactor closed or opened."""
        self.bays[charger].starts += closed
        self.told(at_ms, charger, "contactor", "closed" if closed else "open")

    def limited(self, at_ms: int, limit_a: int) -> None:
        """Another limit, from now on."""
        self._until(at_ms)
        self.limit.put(at_ms, limit_a)
        self.accounts = [a.limited(limit_a * 1000) for a in self.accounts]

    def finish(self, at_ms: int) -> None:
        """The run is over."""
        self._until(at_ms)
        for bay in self.bays.values():
            bay.settle(at_ms)

    def _lines(self, at_ms: int) -> None:
        for p, (house, cars) in enumerate(zip(self._house_ma, self._cars_ma, strict=True)):
            self.house[p].put(at_ms, house)
            self.total[p].put(at_ms, house + cars - self._sun_ma[p])

    def _until(self, at_ms: int) -> None:
        dt_ms = at_ms - self.now_ms
        if dt_ms <= 0:
            return
        begin_ms, self.now_ms = self.now_ms, at_ms
        self._house_mas += sum(self._house_ma) * dt_ms / 1000
        for p, account in enumerate(self.accounts):
            # Through the main cable goes what the sun does not give, or what nobody uses of it.
            net_ma = self._house_ma[p] + self._cars_ma[p] - self._sun_ma[p]
            cars_ma = max(0, min(self._cars_ma[p], net_ma))
            total_ma = abs(net_ma)
            self._sun_mas += self._sun_ma[p] * dt_ms / 1000
            self._bought_mas += max(0, net_ma) * dt_ms / 1000
            left_s = account.breaker.seconds_left(total_ma)
            self.accounts[p] = account.after(total_ma - cars_ma, cars_ma, dt_ms)
            if self.tripped_ms is None and self.accounts[p].breaker.tripped:
                self.tripped_ms = begin_ms + round(left_s * 1000)
                self.told(self.tripped_ms, "breaker", "tripped", total_ma, f"phase {p + 1}")

    @property
    def overloads(self) -> list[Overload]:
        """Every stretch of time above the limit, on any phase, in order of time."""
        return sorted((o for a in self.accounts for o in a.closed()), key=lambda o: o.begin_ms)

    def summary(self) -> dict[str, Any]:
        """What summary.json holds."""
        s = self.scenario
        overloads = self.overloads
        wanting = {n: b for n, b in self.bays.items() if b.wanting_ms}
        shares = [b.energy_wh / b.wanting_ms * 3_600_000 for b in wanting.values()]
        cars_kwh = sum(b.energy_wh for b in self.bays.values()) / 1000
        wanted_kwh = sum(b.wanted_wh for b in self.bays.values()) / 1000
        return {
            "scenario": s.name,
            "title": s.title,
            "policy": s.policy,
            "limit_a": s.limit_a,
            "duration_s": s.duration_ms / 1000,
            "energy_kwh": {
                "house": round(self._house_mas * VOLTS / 3.6e9, 3),
                "cars": round(cars_kwh, 3),
                "wanted": round(wanted_kwh, 3) if wanted_kwh else None,
                "sun": round(self._sun_mas * VOLTS / 3.6e9, 3),
                "bought": round(self._bought_mas * VOLTS / 3.6e9, 3),
            },
            "excess": {
                "count": len(overloads),
                "seconds": round(sum(o.seconds for o in overloads), 1),
                "longest_s": round(max((o.seconds for o in overloads), default=0.0), 1),
                "ampere_seconds": round(sum(o.excess_mas for o in overloads) / 1000, 1),
                "peak_a": round(max((o.peak_ma for o in overloads), default=0) / 1000, 2),
                "cars_seconds": round(sum(o.cars_ms for o in overloads) / 1000, 1),
                "cars_longest_s": round(max((o.cars_ms for o in overloads), default=0) / 1000, 1),
                "cars_ampere_seconds": round(sum(o.cars_mas for o in overloads) / 1000, 1),
            },
            "trip_budget_used": round(max((o.budget for o in overloads), default=0.0), 4),
            "tripped_s": None if self.tripped_ms is None else self.tripped_ms / 1000,
            "starts": sum(b.starts for b in self.bays.values()),
            "waiting_s": round(sum(b.waiting_ms for b in self.bays.values()) / 1000, 1),
            "longest_wait_s": round(
                max((b.longest_wait_ms for b in self.bays.values()), default=0) / 1000, 1
            ),
            "jain_fairness": round(jain(shares), 4),
            "messages": {
                "sent": self.messages,
                "lost": self.lost,
                "bytes": self.message_bytes,
            },
            "chargers": {
                name: {
                    "energy_kwh": round(bay.energy_wh / 1000, 3),
                    "visits": bay.visits,
                    "starts": bay.starts,
                    "wanting_s": round(bay.wanting_ms / 1000, 1),
                    "waiting_s": round(bay.waiting_ms / 1000, 1),
                    "longest_wait_s": round(bay.longest_wait_ms / 1000, 1),
                }
                for name, bay in self.bays.items()
            },
        }

    def write(self, folder: Path) -> None:
        """events.csv and summary.json, the same bytes for the same run."""
        with (folder / "events.csv").open("w", newline="", encoding="utf-8") as f:
            rows = csv.writer(f, lineterminator="\n")
            rows.writerow(("time_s", "who", "what", "value", "why"))
            for h in sorted(self.happenings, key=lambda h: h.at_ms):
                rows.writerow((f"{h.at_ms / 1000:.3f}", h.who, h.what, h.value, h.why))
        text = json.dumps(self.summary(), indent=1)
        (folder / "summary.json").write_text(text + "\n", encoding="utf-8")


def jain(shares: Sequence[float]) -> float:
    """Jain's fairness index: 1 when all have the same, 1/n when one has everything (1 for
    nobody).
    """
    squares = sum(v * v for v in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 1.0
