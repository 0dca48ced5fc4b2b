"""What the site file says of the programs beside: Prometheus, InfluxDB, emoncms, Home Assistant, and
who is told of what. Left out of the file, none of it exists.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Subject = Literal["fault", "offline", "full", "overload", "cards"]
SUBJECTS: tuple[Subject, ...] = ("fault", "offline", "full", "overload", "cards")


@dataclass(frozen=True, slots=True)
class InfluxDb:
    """Where readings, offers and sessions are written by `POST /write`; the database must exist.

    With `token` as InfluxDB 2 and 3 want it, else with username and password, else without either.
    """

    url: str
    database: str = "ievcc"
    username: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Emoncms:
    """An emoncms (its address with path) and its write key; `node` begins the name of each node."""

    url: str
    key: str = field(repr=False)
    node: str = ""
    ca: Path | None = None


@dataclass(frozen=True, slots=True)
class HomeAssistant:
    """Whose discovery topics to fill: at the manager's own broker, or with `host` at another one."""

    prefix: str = "homeassistant"
    host: str = ""
    port: int = 1883
    username: str = ""
    password: str = field(default="", repr=False)
    ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """Somebody who is told. `url` as Apprise writes it; `user`: only of this user's own cars.

    The same about the same device again after `again_s` at the earliest; in `language`, en or pt.
    """

    name: str
    url: str = field(repr=False)
    about: tuple[Subject, ...] = SUBJECTS
    user: str = ""
    again_s: int = 900
    language: str = "en"


@dataclass(frozen=True, slots=True)
class Integrations:
    """All of it. `metrics_token`: with it /metrics may be read from elsewhere, "" for nobody."""

    metrics_token: str = field(default="", repr=False)
    influxdb: InfluxDb | None = None
    emoncms: Emoncms | None = None
    home_assistant: HomeAssistant | None = None
    told: tuple[Told, ...] = ()
