"""What the manager knows of one building: its feeders, its meters, its chargers and how they are to be shared.

Everything here is a value: frozen, compared by content, never changed in place. Times are whole milliseconds of the
manager's monotonic clock, currents are mA where measured and whole A where offered, phases are numbered from 0 (the
wire and the site file count from 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeVar

from manager.core.reasons import Reason

Policy = Literal["fair", "equal", "first", "deadline", "cheapest", "green"]
POLICIES: tuple[Policy, ...] = ("fair", "equal", "first", "deadline", "cheapest", "green")
Source = Literal["grid", "solar_first", "solar_only"]
SOURCES: tuple[Source, ...] = ("grid", "solar_first", "solar_only")

ANY_A = 6_300  # the most a window may say: it limits nothing

T = TypeVar("T")

MAIN = "main"  # the feeder every other one hangs under
NO_MINUTE = -1  # nobody has told the core what time of the week it is


@dataclass(frozen=True, slots=True)
class Window:
    """From `start` to `end` (minutes of the week, Monday 00:00 is 0; may run over its end) no more than `max_a`.

    `scope` names whom it binds: "" the whole site, otherwise a charger. `source`: at these times the
    cars' energy comes from there; "" as usual.
    """

    start: int
    end: int
    max_a: int
    scope: str = ""
    source: Source | Literal[""] = ""

    def holds(self, minute: int) -> bool:
        """Whether this minute of the week (0..10079) lies within [start, end)."""
        if self.start < self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end


@dataclass(frozen=True, slots=True)
class Settings:
    """How the site is to be run; all of it may change while running.

    `update_interval_ms`: shares are worked out anew this often (0: at every event); a reading that shows an overload is
    acted on at once in any case. `worst_house_a`: the most the building itself may draw, for when nothing is measured.
    `margin_ma`: kept free for the house's next step.
    """

    name: str = "home"
    policy: Policy = "fair"
    update_interval_ms: int = 5_000
    max_counters: int = 1
    max_chargers: int = 64
    max_active: int = 0  # chargers at once, 0: no limit
    worst_house_a: int | None = None  # None: the whole limit, so that nothing is left for cars
    margin_ma: int = 0
    learned_margin: bool = False
    source: Source = "grid"
    turn_ms: int = 15 * 60_000
    min_on_ms: int = 5 * 60_000
    min_off_ms: int = 60_000
    ttl_ms: int = 15_000
    renew_ms: int = 5_000
    meter_silent_ms: int = 3_000
    meter_lost_ms: int = 60_000
    windows: tuple[Window, ...] = ()


@dataclass(frozen=True, slots=True)
class Feeder:
    """A cable with a limit on each of its phases; all that hangs under it hangs under its parent too."""

    name: str
    limit_ma: tuple[int, ...]
    parent: str = ""
    worst_house_ma: int | None = None  # None: the site's

    @property
    def phases(self) -> int:
        return len(self.limit_ma)


@dataclass(frozen=True, slots=True)
class Reading:
    """Signed mA per phase as they were at `at_ms`, give or take the measuring circuit's own lag."""

    at_ms: int
    current_ma: tuple[int, ...]


@dataclass(frozen=True)
class Meter:
    """An energy meter (the thesis' counter). `role` house: the building without the cars; grid and feeder: everything
    on the cable; solar: production.
    """

    id: str
    order: int
    role: str
    feeder: str
    phases: int = 1
    model: str = ""
    firmware: str = ""
    boot: int = 0
    seq: int = 0
    heard_ms: int = 0
    online: bool = True
    state: str = ""
    readings: tuple[Reading, ...] = ()  # the last few seconds, oldest first
    power_w: tuple[int, ...] = ()
    pace: str = (
        ""  # how often it was told to report: see `calm`; "" not told since it announced itself
    )


class Granted(NamedTuple):
    """A lease that may still be, or may until lately have been, what a charger goes by.

    The car may lawfully be drawing `limit_a` because of it until `ends_ms`, its time to follow included.
    """

    boot: int
    number: int
    limit_a: int
    ends_ms: int


@dataclass(frozen=True, slots=True)
class Wants:
    """What the driver asked for, and whose rights hold. `departs_ms` on the manager's clock; energy in Wh.

    `user_max_a`: what the driver wants to stay below; `rights_max_a` and `priority`: what the user's
    or the card's rights say (None: no limit; the charger's own priority); `barred`: the kind of reason
    for which they give nothing now, "" if they do. All ends as the car leaves.
    """

    wanted_wh: int | None = None
    departs_ms: int | None = None
    user_max_a: int | None = None
    user: str = ""
    rights_max_a: int | None = None
    priority: int | None = None
    barred: str = ""


@dataclass(frozen=True)
class Charger:
    """A charger as last heard of, the leases it may hold, and what it was last offered and why."""

    id: str
    order: int
    counter: str
    feeder: str
    phases: tuple[int, ...] = (0,)  # the building's phase on each of its own
    min_a: int = 6
    max_a: int = 32
    failsafe_a: int = 0
    meter: bool = True
    model: str = ""
    firmware: str = ""
    # As heard: `boot`, `seq` and `heard_ms` together are the newest message a lease can answer.
    boot: int = 0
    seq: int = 0
    heard_ms: int = 0
    online: bool = True
    state: str = ""  # A1..F2, "" before the first status
    contactor: bool = False
    contactor_ms: int = -1_000_000  # since when
    mode: str = "managed"
    cap_a: int | None = None
    authorised: bool = True
    faults: tuple[str, ...] = ()
    offer_a: int = 0  # what it says its pilot shows
    readings: tuple[Reading, ...] = ()  # own meter, per phase of the charger, oldest first
    session_wh: int = 0
    # Leases.
    number: int = 0
    number_kept: int = 0  # numbers up to here are spoken for on disk
    boot_kept: int = -1  # no lease answering a later boot was sent that the disk does not know of
    kept_a: int = 0  # no lease above this was sent that the disk does not know of
    limit_a: int = 0  # of the newest lease
    sent_known: bool = True  # False after a restart: it may have been less than `limit_a`
    sent_ms: int = -1_000_000
    until_ms: int = -1_000_000  # the newest lease is over by then
    anchor_ms: int = -1_000_000  # arrival of the message the newest lease answers
    confirmed: int = 0  # highest number the charger said it goes by
    confirmed_ms: int = 0
    granted: tuple[Granted, ...] = ()
    loads_since: int = 0  # readings of its own meter since it last confirmed
    drew_above_ma: int = 0  # most its own meter showed since it was last told more or less
    # Sharing.
    priority: int = 0  # lower is served first
    wants: Wants = field(default_factory=Wants)
    asked_ms: int = 0  # car ready since
    urgent: bool = False  # has little time to lose, and had since
    asleep: bool = False  # offered current, but the car does not take any
    idle_ms: int = -1  # offered without drawing since, -1: draws
    slept_ms: int = -1  # asleep with nothing offered since, -1: not so
    waiting_ms: int = -1  # ready but on standby since, -1: not waiting
    on_ms: int = -1  # offered current since, -1: not offered
    off_ms: int = -1_000_000  # last stopped
    low_ms: int = -1  # draws clearly less than offered since, -1: does not
    low_peak_ma: int = 0  # most it drew since then
    target_a: int = 0
    worst_a: int = 0
    was_a: int = 0  # worst_a was this high until lately ...
    was_until_ms: int = -1_000_000  # ... and a reading from before this time may still show it
    target_reason: Reason = field(default_factory=Reason)  # of `target_a`
    reason: Reason = field(default_factory=Reason)  # of what it is offered on the way there


@dataclass(frozen=True)
class House:
    """What the building without the cars is taken to draw on one feeder, mA per phase (negative: it
    feeds in), and how that is known.

    `resolved_ms`: time of the newest reading from which it could be told apart from the cars; -1: none yet.
    `grade`: measured, silent (learned quantile), lost (worst house) or unmeasured.
    """

    current_ma: tuple[int, ...]
    resolved_ms: int = -1
    read_ms: int = -1
    grade: str = "unmeasured"
    margin_ma: int = 0
    peaks: tuple[tuple[int, tuple[int, ...]], ...] = ()  # (begin of a minute, most drawn in it)


@dataclass(frozen=True, slots=True)
class Habits:
    """What the house does at this hour of the week: for each hour (0..167) how long it drew how many whole A.

    `hours` maps hour -> (seconds at 0 A, seconds at 1 A, ...) of the highest phase, old weeks fading.
    """

    hours: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    since_ms: int = -1  # the last reading counted
    last_ma: int | None = None  # what it showed
    # How often it rose by so many half A from one second to the next, for each hour of the day
    # (0..23), and of a day of the weekend (24..47).
    steps: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    rises: Mapping[int, tuple[int, ...]] = field(default_factory=dict)  # see `laxity`


@dataclass(frozen=True)
class Site:
    """One building. `decide` turns one of these into the next; nothing else does."""

    settings: Settings = field(default_factory=Settings)
    feeders: Mapping[str, Feeder] = field(default_factory=lambda: {MAIN: Feeder(MAIN, (30_000,))})
    meters: Mapping[str, Meter] = field(default_factory=dict)
    chargers: Mapping[str, Charger] = field(default_factory=dict)
    places: Mapping[str, str] = field(
        default_factory=dict
    )  # device -> feeder, as the site file says
    priorities: Mapping[str, int] = field(default_factory=dict)
    failsafes: Mapping[str, int] = field(default_factory=dict)  # listed charger -> A, kept for it
    houses: Mapping[str, House] = field(default_factory=dict)
    habits: Mapping[str, Habits] = field(default_factory=dict)
    order: int = 0  # of the newest registration
    started_ms: int = -1_000_000  # when this was read from the disk: a manager began to lead it
    shared_ms: int = -1_000_000  # when shares were last worked out
    minute: int = NO_MINUTE  # of the week, local time, as the last tick said
    utc_s: int = 0
    prices: Mapping[int, int] = field(
        default_factory=dict
    )  # quarter hour (s UTC) -> millionths/kWh
    carbon: Mapping[int, int] = field(default_factory=dict)  # quarter hour (s UTC) -> g CO2/kWh
    rises_wait: bool = False  # a lease is to be raised as soon as the law allows
    headroom_ma: Mapping[str, tuple[int, ...]] = field(
        default_factory=dict
    )  # for cars, per feeder and phase

    @property
    def source(self) -> Source:
        """Where the cars' energy comes from now: a window's, otherwise the settings'."""
        for window in self.settings.windows:
            if window.source and self.minute >= 0 and window.holds(self.minute):
                return window.source
        return self.settings.source

    def above(self, feeder: str) -> tuple[str, ...]:
        """This feeder and all it hangs under, up to the main one."""
        chain = []
        while feeder:
            chain.append(feeder)
            feeder = self.feeders[feeder].parent
        return tuple(chain)


def changed(value: T, **fields: object) -> T:
    """`dataclasses.replace` for the frozen classes above, twenty times as fast: a site of a
    thousand chargers changes thousands of them a second.
    """
    new = object.__new__(type(value))
    mine = new.__dict__
    mine.update(value.__dict__)
    mine.update(fields)
    if len(mine) != len(value.__dict__):
        raise TypeError(f"{type(value).__name__} has no {set(mine) - set(value.__dict__)}")
    return new


def site(limit_a: float = 30, phases: int = 1, **settings: object) -> Site:
    """A site with a single feeder; keywords are those of `Settings`."""
    limit = round(limit_a * 1000)
    return Site(
        settings=Settings(**settings),  # type: ignore[arg-type]
        feeders={MAIN: Feeder(MAIN, (limit,) * phases)},
    )
