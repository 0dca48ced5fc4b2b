"""What can happen to a site. The shell decodes and checks messages, and passes them on as these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from manager.core.site import NO_MINUTE, Feeder, Settings, Wants

Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Announced:
    """A device presents itself. `topic` without the site's root: "hello/new", "Counter-1" or "Counter-1/new"."""

    topic: str
    message: Message


@dataclass(frozen=True, slots=True)
class Report:
    """A message of a device, code and all, with its boot and seq."""

    device: str
    message: Message


@dataclass(frozen=True, slots=True)
class Offline:
    """The broker says (last will) that the device is gone."""

    device: str


@dataclass(frozen=True, slots=True)
class Online:
    """The broker says that the device is there; it will announce itself."""

    device: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passes: at least once a second. `minute` of the local week (Monday 00:00 is 0) for habits and windows."""

    minute: int = NO_MINUTE
    utc_s: int = 0


@dataclass(frozen=True, slots=True)
class Configured:
    """New settings and limits, checked before; None leaves as it is."""

    settings: Settings | None = None
    feeders: Mapping[str, Feeder] | None = None
    places: Mapping[str, str] | None = None
    failsafes: Mapping[str, int] | None = None
    priorities: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wished:
    """A driver, a card or a manager asks something for a charger; None takes all wishes back."""

    device: str
    wants: Wants | None


@dataclass(frozen=True, slots=True)
class Admitted:
    """Who charges at a charger, and the limit and priority their rights give (0 is served first; None: as
    the charger's); `barred`, where they give nothing now, is the kind of reason why. May be said again whenever
    rights change; user "" takes it back. Ends as the car leaves.
    """

    device: str
    user: str
    max_a: int | None = None
    priority: int | None = None
    barred: str | None = None


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What the hours to come cost and emit, by the second UTC at which each quarter hour begins; None leaves as it is.

    `prices` in millionths of the currency per kWh, `carbon` in g CO2 per kWh.
    """

    prices: Mapping[int, int] | None = None
    carbon: Mapping[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Forget:
    """Strike a device off the list."""

    device: str


Event = (
    Announced
    | Report
    | Offline
    | Online
    | Tick
    | Configured
    | Wished
    | Admitted
    | Foreseen
    | Forget
)
