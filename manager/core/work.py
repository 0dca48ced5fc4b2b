"""The site while one event is worked on, and what every step of that asks of it."""

from __future__ import annotations

from collections.abc import Mapping

from manager.core.commands import Command
from manager.core.sharing import Key
from manager.core.site import Charger, House, Meter, Site, changed

FAR_MS = 1_000_000  # shares as old as this are worked out at the next chance
LARGE = 64  # chargers; a site of more is shared and raised at ticks, and cut at once as any
SILENT_MS = 12_000  # a charger speaks every 10 s at least, and at once when it gets a lease, which is every 5 s


class Work:
    """Chargers, meters and houses in copies that may change, and the commands so far."""

    def __init__(self, site: Site, now_ms: int) -> None:
        self.now = now_ms
        self.site = site
        self.commands: list[Command] = []
        self.must_share = False  # shares are to be worked out now
        self.only: str | None = None  # nothing but this charger's renewal can be due
        self.ticks = False  # this is the turn for what can wait
        self.measures = False  # a meter's reading: nothing is due but what it overloads
        self.places: dict[tuple[str, tuple[int, ...]], tuple[Key, ...]] = {}
        self.room_stale = False  # what is left for cars may have changed
        self.at_stake: tuple[str, ...] | None = None  # on these feeders alone, until the next tick
        self.take_up()

    def take_up(self) -> None:
        self.chargers: dict[str, Charger] = dict(self.site.chargers)
        self.meters: dict[str, Meter] = dict(self.site.meters)
        self.houses: dict[str, House] = dict(self.site.houses)

    def change(self, charger: Charger, fields: Mapping[str, object]) -> Charger:
        """The charger with these fields changed, also in `chargers`.

        What this decision has changed before is nobody else's yet and is written to, not copied: copying is a third
        of a decision for a thousand chargers.
        """
        if charger is self.site.chargers.get(charger.id):
            charger = self.chargers[charger.id] = changed(charger, **fields)
        else:
            charger.__dict__.update(fields)
        return charger

    @property
    def large(self) -> bool:
        """Whether what is not urgent waits for the next tick."""
        return len(self.chargers) > LARGE

    def keys(self, charger: Charger) -> tuple[Key, ...]:
        """The rooms its amperes come out of."""
        place = charger.feeder, charger.phases
        keys = self.places.get(place)
        if keys is None:
            keys = self.places[place] = tuple(
                (name, phase) for name in self.site.above(place[0]) for phase in place[1]
            )
        return keys

    def obeys(self, charger: Charger) -> bool:
        """Whether a lease sent now would reach it and be gone by."""
        return (
            charger.online
            and charger.mode == "managed"
            and charger.state != ""
            and self.now - charger.heard_ms <= SILENT_MS
        )


def plugged(charger: Charger) -> bool:
    """Whether a car is plugged in."""
    return charger.state[:1] in ("B", "C", "D")


def ready(charger: Charger) -> bool:
    """Whether its car may charge and has not had enough."""
    return plugged(charger) and charger.authorised and not charger.asleep


def usable_a(charger: Charger) -> int:
    """The most it may be offered by its own, the board's and its user's limits."""
    most = charger.max_a
    if charger.cap_a is not None:
        most = min(most, charger.cap_a)
    if charger.wants.user_max_a is not None:
        most = min(most, charger.wants.user_max_a)
    if charger.wants.rights_max_a is not None:
        most = min(most, charger.wants.rights_max_a)
    return most
