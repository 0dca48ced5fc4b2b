"""What the site file says of OCPP.

[ocpp]                            # other makers' chargers connect here: ws://this-host:9000/<id>
host = "0.0.0.0"
port = 9000
security_profile = 1              # 1 password, 2 and TLS, 3 TLS with a certificate of the charger's own
certificate = "central.pem"       # for 2 and 3, with key; ca is who signed the chargers' (3)
key = "central.key"
ca = "ca.pem"
profile_s = 60                    # a limit given to a charger ends by itself after so long
sample_s = 5                      # how often a charger is to measure

[[ocpp.charger]]
id = "Garage-Left"                # its charge point identity, the last part of its URL
password = "at least 16 letters"
counter = "Counter-1"             # the meter it hangs under
connectors = 1                    # more: "<id>-2", ... are the names of the others
phases = 3
wiring = [1, 2, 3]
min_a = 6
max_a = 32
feeder = "garage"
priority = 0

[ocpp.up]                         # our chargers in somebody's network
url = "wss://central.example/ocpp"
version = "1.6"                   # or "2.0.1"
each = true                       # a charge point each; false: one, with a connector each
name = "IEVCC-home"               # of the one; of the others "<name>-<charger>"
password = "..."
ca = "network-ca.pem"             # left out: the system's authorities
certificate = "ours.pem"          # security profile 3, with key
key = "ours.key"
chargers = ["Charger-1"]          # left out: all that are ours
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Listed:
    """A charger of another make that belongs to the site."""

    id: str
    password: str = field(repr=False)
    counter: str
    connectors: int = 1
    phases: int = 1
    wiring: tuple[int, ...] = (1,)
    min_a: int = 6
    max_a: int = 32
    feeder: str = ""
    priority: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Of its connectors, as the site knows them."""
        return (self.id, *(f"{self.id}-{n}" for n in range(2, self.connectors + 1)))


@dataclass(frozen=True, slots=True)
class Down:
    """The central system here. `port` 0: any free one."""

    chargers: tuple[Listed, ...]
    host: str = "127.0.0.1"
    port: int = 9000
    security_profile: int = 1
    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None
    profile_s: int = 60
    sample_s: int = 5


@dataclass(frozen=True, slots=True)
class Up:
    """The central system we are charge points of."""

    url: str
    name: str
    version: str = "1.6"
    each: bool = True
    password: str = field(default="", repr=False)
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    chargers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ocpp:
    """Both ways; None where it is not wanted."""

    down: Down | None = None
    up: Up | None = None
