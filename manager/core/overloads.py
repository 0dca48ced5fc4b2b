"""Watches a building's main cable: every overload, and how much of the breaker's trip budget it
used.

    watch = Watch.on(breaker, site)
    watch, notes = watch.seen(site, now_ms)     # at every reading of the main meter

What flows is taken from the newest readings: the main meter's, and the chargers' own for what the
cars draw. Whoever reads the notes learns what the breaker has gone through, before it trips.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from manager.core.breaker import Account, Breaker, Overload
from manager.core.commands import Note
from manager.core.headroom import drawn_ma
from manager.core.site import MAIN, Site

LONGEST_GAP_MS = 10_000  # after that nobody knows what flowed: the breaker is taken to have rested


@dataclass(frozen=True, slots=True)
class Watch:
    """The accounts of the main cable's phases, and what flowed at the last reading."""

    accounts: tuple[Account, ...]
    at_ms: int = -1
    flowed: tuple[tuple[int, int], ...] = ()  # house and cars, mA, of each phase

    @classmethod
    def on(cls, breaker: Breaker, site: Site) -> Watch:
        """A watch on this site's main cable, where this breaker sits; one pole for each phase."""
        return cls(tuple(Account(breaker, ma) for ma in site.feeders[MAIN].limit_ma))

    def seen(self, site: Site, now_ms: int) -> tuple[Watch, tuple[Note, ...]]:
        """The watch after another reading, and a note for each overload that has ended."""
        accounts = self.accounts
        if self.at_ms >= 0:
            gap_ms = now_ms - self.at_ms
            known_ms = min(gap_ms, LONGEST_GAP_MS)
            accounts = tuple(
                account.after(house, cars, known_ms).after(0, 0, gap_ms - known_ms)
                for account, (house, cars) in zip(accounts, self.flowed, strict=True)
            )
        notes: list[Note] = []
        kept: list[Account] = []
        limits = site.feeders[MAIN].limit_ma
        for phase, (account, limit_ma) in enumerate(zip(accounts, limits, strict=True)):
            after = account if account.limit_ma == limit_ma else account.limited(limit_ma)
            notes += [self._note(one, phase, account.limit_ma) for one in after.overloads]
            kept.append(replace(after, overloads=()))
        return Watch(tuple(kept), now_ms, flows(site)), tuple(notes)

    @property
    def used(self) -> float:
        """Share of the trip budget that is gone now, of the phase where most is."""
        return max(account.breaker.used for account in self.accounts)

    def _note(self, overload: Overload, phase: int, limit_ma: int) -> Note:
        percent = round(overload.budget * 100, 1)
        peak_a, seconds = overload.peak_ma / 1000, round(overload.seconds, 1)
        where = f" on L{phase + 1}" if len(self.accounts) > 1 else ""
        words = (
            f"{seconds:g} s above {limit_ma / 1000:g} A{where}, {peak_a:.1f} A at most:"
            f" {percent:g} % of the breaker's trip budget"
        )
        return Note(
            "overload",
            "",
            words,
            {
                "phase": phase + 1,
                "seconds": seconds,
                "peak_ma": overload.peak_ma,
                "excess_mas": round(overload.excess_mas),
                "cars_mas": round(overload.cars_mas),
                "budget_pct": percent,
            },
        )


def flows(site: Site) -> tuple[tuple[int, int], ...]:
    """House and cars on each phase of the main cable, mA, by the newest readings."""
    phases = len(site.feeders[MAIN].limit_ma)
    cars = [0] * phases
    for charger in site.chargers.values():
        drawn = drawn_ma(charger) if charger.contactor else 0
        for phase in charger.phases:
            cars[phase] += drawn
    measured = [0] * phases
    whole = False
    for meter in site.meters.values():
        if meter.feeder != MAIN or not meter.readings or meter.role == "solar":
            continue
        whole = whole or meter.role in ("grid", "feeder")
        for phase, ma in enumerate(meter.readings[-1].current_ma[:phases]):
            measured[phase] += max(0, ma)
    if not whole:
        return tuple(zip(measured, cars, strict=True))
    return tuple(
        (max(0, total - own), min(total, own)) for total, own in zip(measured, cars, strict=True)
    )
