"""The site file: one building in TOML that a person can read, checked before anything starts.

    [site]
    name = "home"                 # letters, digits, - and _
    limit_a = 30                  # per phase; a list for different ones
    phases = 1
    policy = "fair"               # fair, equal, first, deadline, cheapest, green
    update_interval_s = 5         # 0: at every event
    worst_house_a = 24            # the most the building draws when nobody can tell; left out: all of it
    open = false                  # true lets devices in that are not listed below
    timezone = "Europe/Lisbon"

    [broker]                      # host, port, username, password; for TLS ca, certificate, key
    [web]                         # host, port; for HTTPS certificate, key
    [breaker]                     # what sits on the main cable: kind mcb (curve, rated_a, ...), icp, linky, bands
    [store]                       # path; decisions: a folder to record every decision in
    [retention]                   # days: seconds_days 7, minutes_days 90, quarters_days 3650, notes_days 400; 0: ever

    [ocpp]                        # other makers' chargers, and our chargers in others' networks: see docs/ocpp.md

    [bills]                       # who sends them, as printed
    name = "Condominium, Rua do Sol 7"
    address = ["1200-001 Lisboa"]
    tax_number = "PT 501 234 567"
    language = "en"               # or pt

    [fog]                         # left out: nothing leaves the building
    url = "kafka://fog.example:9093"   # or https://fog.example/intake
    key = "..."                   # the site's own, 32 bytes in hex; with password, from the fog
    password = "..."
    ca = "fog-ca.pem"
    cloud = "https://cloud.example/api/v1"   # left out: no cards and wishes from there

    [metrics]                     # Prometheus: token, to read /metrics from another computer
    [influxdb]                    # url, database, username and password or token, ca
    [emoncms]                     # url, key, node, ca
    [home_assistant]              # prefix; for a broker of its own host, port, username, password, ca
    [[notify]]                    # who is told: name, url, about, user, again_s, language: docs/integrations.md

    [[feeder]]                    # a cable with a limit of its own
    name = "garage"
    limit_a = 20
    parent = "main"

    [[device]]                    # meters and chargers that belong here
    id = "Charger-1"
    key = "00112233445566778899aabbccddeeff"
    feeder = "garage"
    priority = 0                  # lower is served first
    failsafe_a = 0                # what it goes to by itself when it hears nothing

    [[window]]                    # at these times no more than this
    days = ["mon", "tue"]
    start = "18:00"
    end = "21:00"
    max_a = 16                    # or source = "solar_only": where energy comes from then
    charger = "Charger-1"         # left out: the whole site

    [energy]
    area = "PT"                   # day-ahead prices to go by under policy "cheapest"
    fetch = "omie"                # get those prices each day from where OMIE publishes them
    source_url = "https://..."    # a provider that says where energy comes from: grid, ...

`load` and `parse` give a `SiteFile` or raise `SiteFileError`, which says what is wrong, on which line.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from manager.core.breaker import Breaker, BreakerError, named
from manager.core.site import ANY_A, MAIN, POLICIES, SOURCES, Feeder, Settings, Site, Window
from manager.integrations import (
    SUBJECTS,
    Emoncms,
    HomeAssistant,
    InfluxDb,
    Integrations,
    Subject,
    Told,
)
from manager.ocpp import settings as ocpp
from manager.ocpp.settings import Ocpp
from manager.retention import Retention
from manager.translated import LANGUAGES
from shared.protocol import is_device_name

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WEEK = 7 * 1440


class SiteFileError(ValueError):
    """A site that cannot be. `where` is the place in the file ("device[2].key"), `line` its line, 0 if not known."""

    def __init__(self, where: str, why: str, line: int = 0) -> None:
        place = f"line {line}: {where}" if line else where
        super().__init__(f"{place}: {why}" if place else why)
        self.where = where
        self.line = line


@dataclass(frozen=True, slots=True)
class Listed:
    """A device that belongs to the site. `key` b"": unsigned."""

    id: str
    key: bytes = b""
    feeder: str = ""
    priority: int = 0
    failsafe_a: int = 0


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker is; port 0: the manager starts one of its own.

    `ca`: the broker must prove itself to it, and the link is TLS; `certificate`, `private_key`: the
    manager's own proof. Paths are beside the site file.
    """

    host: str = "localhost"
    port: int = 1883
    username: str = ""
    password: str = field(default="", repr=False)
    ca: Path | None = None
    certificate: Path | None = None
    private_key: Path | None = None


@dataclass(frozen=True, slots=True)
class Web:
    """Where the page is served; with a certificate and its key, beside the site file, over HTTPS."""

    host: str = "localhost"
    port: int = 8080
    certificate: Path | None = None
    private_key: Path | None = None


@dataclass(frozen=True, slots=True)
class Bills:
    """Who sends the bills, and in which language."""

    name: str = ""
    address: tuple[str, ...] = ()
    tax_number: str = ""
    language: str = "en"


@dataclass(frozen=True, slots=True)
class Fog:
    """Where records go, and as whom; `cloud` is the API cards and wishes come from, "" for none.

    `ca` None: the system's authorities.
    """

    url: str
    key: bytes = field(repr=False)
    password: str = field(default="", repr=False)
    ca: Path | None = None
    cloud: str = ""


@dataclass(frozen=True, slots=True)
class SiteFile:
    """A checked site file. `site` is the site before anything has happened."""

    site: Site
    broker: Broker = field(default_factory=Broker)
    web: Web = field(default_factory=Web)
    store: Path = Path("ievcc.db")
    devices: Mapping[str, Listed] = field(default_factory=dict)
    open: bool = False
    timezone: str = ""
    fog: Fog | None = None
    breaker: Breaker | None = None
    ocpp: Ocpp = field(default_factory=Ocpp)
    decisions: Path | None = None  # folder of the record of decisions
    retention: Retention = field(default_factory=Retention)
    bills: Bills = field(default_factory=Bills)
    price_area: str = ""  # of day-ahead prices
    source_url: str = ""  # where the provider says where energy comes from
    integrations: Integrations = field(default_factory=Integrations)
    fetch: str = ""  # day-ahead prices: "omie", or an address with {year}, {month} and {day}


class _Table:
    def __init__(self, raw: object, where: str, text: str) -> None:
        self.where = where
        self.text = text
        if not isinstance(raw, dict):
            raise self.error("", "must be a table")
        self.raw: dict[str, Any] = raw
        self.asked: set[str] = set()

    def error(self, key: str, why: str) -> SiteFileError:
        where = f"{self.where}.{key}" if self.where and key else self.where or key
        return SiteFileError(where, why, _line(self.text, self.where, key))

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return self.raw.get(key, default)

    def whole(self, key: str, default: int | None, low: int, high: int) -> int:
        value = self.get(key, default)
        if value is None:
            raise self.error(key, "is missing")
        if type(value) is not int or not low <= value <= high:
            raise self.error(key, f"{value!r} is not a whole number within {low}..{high}")
        return value

    def number(self, key: str, default: float | None, low: float, high: float) -> float:
        value = self.get(key, default)
        if value is None:
            raise self.error(key, "is missing")
        if type(value) not in (int, float) or not low <= value <= high:
            raise self.error(key, f"{value!r} is not a number within {low:g}..{high:g}")
        return float(value)

    def word(self, key: str, default: str | None, among: tuple[str, ...] = ()) -> str:
        value = self.get(key, default)
        if value is None:
            raise self.error(key, "is missing")
        if not isinstance(value, str) or (among and value not in among):
            raise self.error(
                key, f"{value!r} is not {'one of ' + ', '.join(among) if among else 'text'}"
            )
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self.get(key, default)
        if type(value) is not bool:
            raise self.error(key, f"{value!r} is not true or false")
        return value

    def table(self, key: str) -> _Table:
        return _Table(self.get(key, {}), f"{self.where}.{key}" if self.where else key, self.text)

    def tables(self, key: str) -> list[_Table]:
        value = self.get(key, [])
        if not isinstance(value, list):
            raise self.error(key, f"must be a list of tables: write [[{key}]]")
        return [_Table(one, f"{key}[{n}]", self.text) for n, one in enumerate(value, 1)]

    def done(self) -> None:
        for key in self.raw:
            if key not in self.asked:
                raise self.error(
                    key, f"is not known here (known: {', '.join(sorted(self.asked))})"
                )


def _line(text: str, where: str, key: str) -> int:
    """The line of this key of this table, as well as it can be told from the text; 0 if it cannot."""
    name, _, rest = where.partition("[")
    wanted = int(rest.rstrip("]")) if rest else 1
    header = re.compile(rf"\s*\[\[?\s*{re.escape(name)}\s*\]\]?\s*(#.*)?$") if name else None
    inside = header is None
    seen = found = 0
    for number, line in enumerate(text.splitlines(), 1):
        if header is not None and header.match(line):
            seen += 1
            inside = seen == wanted
            found = number if inside else found
        elif re.match(r"\s*\[", line):
            inside = False
        elif inside and key and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
            return number
    return found


def load(path: str | Path) -> SiteFile:
    """The site in this file. SiteFileError says what cannot be, and where."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise SiteFileError("", f"{path}: cannot be read ({e})") from e
    return parse(text)


def parse(text: str) -> SiteFile:
    """The site in this text. SiteFileError says what cannot be, and where."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise SiteFileError("", f"not TOML: {e}") from e
    top = _Table(raw, "", text)
    table = top.table("site")
    phases = table.whole("phases", 1, 1, 3)
    feeders = {MAIN: Feeder(MAIN, _limit(table, phases))}
    for t in top.tables("feeder"):
        one = _feeder(t, feeders, phases)
        feeders[one.name] = one
    devices: dict[str, Listed] = {}
    for t in top.tables("device"):
        listed = _device(t, feeders, devices)
        devices[listed.id] = listed
    opened = table.flag("open", default=False)
    windows = _windows(top.tables("window"), devices, opened)
    settings = _settings(table, windows)
    timezone = table.word("timezone", "")
    if timezone:
        try:
            ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError) as e:
            raise table.error("timezone", f"{timezone!r} is not a time zone") from e
    table.done()
    t = top.table("broker")
    broker = Broker(
        t.word("host", "localhost"),
        t.whole("port", 1883, 0, 65535),
        t.word("username", ""),
        t.word("password", ""),
        *(Path(p) if (p := t.word(key, "")) else None for key in ("ca", "certificate", "key")),
    )
    if (broker.certificate is None) != (broker.private_key is None):
        raise t.error("certificate", "and key go together")
    if broker.certificate and not broker.ca:
        raise t.error("ca", "is missing: whom the broker has to prove itself to")
    t.done()
    t = top.table("web")
    web = Web(
        t.word("host", "localhost"),
        t.whole("port", 8080, 0, 65535),
        *(Path(p) if (p := t.word(key, "")) else None for key in ("certificate", "key")),
    )
    if (web.certificate is None) != (web.private_key is None):
        raise t.error("certificate", "and key go together")
    t.done()
    t = top.table("store")
    store = Path(t.word("path", "ievcc.db"))
    kept = t.word("decisions", "")
    decisions = Path(kept) if kept else None
    t.done()
    retention = _retention(top.table("retention"))
    fog = _fog(top) if "fog" in raw else None
    bills = _bills(top.table("bills"))
    t = top.table("energy")
    price_area = t.word("area", "")
    source_url = t.word("source_url", "")
    if source_url and not source_url.startswith(("https://", "http://")):
        raise t.error("source_url", f"{source_url!r} is not https://host/path")
    fetch = t.word("fetch", "")
    places = ("{year}", "{month}", "{day}")
    if fetch not in ("", "omie") and not (
        fetch.startswith(("https://", "http://")) and all(p in fetch for p in places)
    ):
        raise t.error("fetch", f"{fetch!r} is not omie or an address with {' '.join(places)}")
    t.done()
    breaker = _breaker(top.table("breaker"), min(feeders[MAIN].limit_ma) / 1000)
    both = _ocpp(top.table("ocpp"), feeders, devices, settings.name) if "ocpp" in raw else Ocpp()
    others = both.down.chargers if both.down else ()
    integrations = _integrations(top)
    top.done()
    site = Site(
        settings=settings,
        feeders=feeders,
        places={d.id: d.feeder for d in devices.values() if d.feeder}
        | {name: c.feeder for c in others if c.feeder for name in c.names},
        priorities={d.id: d.priority for d in devices.values()}
        | {name: c.priority for c in others for name in c.names},
        failsafes={d.id: d.failsafe_a for d in devices.values() if d.failsafe_a},
    )
    check_failsafes(site, {d.id: (d.feeder or MAIN, d.failsafe_a) for d in devices.values()}, text)
    return SiteFile(
        site, broker, web, store, devices, opened, timezone, fog, breaker, both, decisions,
        retention, bills, price_area, source_url, integrations, fetch,
    )  # fmt: skip


def _ocpp(
    t: _Table, feeders: Mapping[str, Feeder], devices: Mapping[str, Listed], site: str
) -> Ocpp:
    """Both ways of OCPP; `manager.ocpp.settings` says what each key is."""
    profile = t.whole("security_profile", 1, 1, 3)
    certificate, key, ca = (t.word(k, "") for k in ("certificate", "key", "ca"))
    if profile > 1 and not (certificate and key):
        raise t.error("certificate", f"security profile {profile} needs certificate and key")
    if profile == 3 and not ca:
        raise t.error("ca", "security profile 3 needs ca: who signed the chargers' certificates")
    host = t.word("host", "127.0.0.1")
    port = t.whole("port", 9000, 0, 65535)
    lasts = t.whole("profile_s", 60, 10, 3600)
    sample = t.whole("sample_s", 5, 1, 300)
    chargers: dict[str, ocpp.Listed] = {}
    taken = set(devices)
    for n, raw in enumerate(t.tables("charger"), 1):
        one = _Table(raw.raw, f"ocpp.charger[{n}]", t.text)
        listed = _other(one, feeders, profile)
        if any(name in taken or not is_device_name(name) for name in listed.names):
            raise one.error(
                "id", f"{listed.id}: no name for a device (24 letters, digits, - and _), or taken"
            )
        taken.update(listed.names)
        chargers[listed.id] = listed
    up = _up(t.table("up"), site) if "up" in t.raw else None
    t.done()
    down = ocpp.Down(
        tuple(chargers.values()),
        host,
        port,
        profile,
        _path(certificate),
        _path(key),
        _path(ca),
        lasts,
        sample,
    )
    return Ocpp(down if chargers else None, up)


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def _other(t: _Table, feeders: Mapping[str, Feeder], profile: int) -> ocpp.Listed:
    name = t.word("id", None)
    password = t.word("password", "")
    if profile < 3 and not 16 <= len(password) <= 40:
        raise t.error("password", "has 16 to 40 letters, by OCPP's security profiles")
    phases = t.whole("phases", 1, 1, 3)
    wiring = t.get("wiring", list(range(1, phases + 1)))
    if not isinstance(wiring, list) or len(wiring) != phases or not set(wiring) <= {1, 2, 3}:
        raise t.error(
            "wiring", f"{wiring!r} does not name a phase of the building for each of {phases}"
        )
    feeder = t.word("feeder", "")
    if feeder and feeder not in feeders:
        raise t.error("feeder", f"no feeder {feeder}")
    low = t.whole("min_a", 6, 6, 80)
    listed = ocpp.Listed(
        name,
        password,
        t.word("counter", None),
        t.whole("connectors", 1, 1, 8),
        phases,
        tuple(wiring),
        low,
        t.whole("max_a", 32, low, 80),
        feeder,
        t.whole("priority", 0, 0, 100),
    )
    t.done()
    return listed


def _up(t: _Table, site: str) -> ocpp.Up:
    url = t.word("url", None)
    if not url.startswith(("ws://", "wss://")):
        raise t.error("url", f"{url!r} is not ws://host/path or wss://host/path")
    certificate, key, ca = (t.word(k, "") for k in ("certificate", "key", "ca"))
    if bool(certificate) != bool(key):
        raise t.error("key", "a certificate and its key go together")
    chargers = t.get("chargers", [])
    if not isinstance(chargers, list) or not all(is_device_name(c) for c in chargers):
        raise t.error("chargers", "is not a list of devices")
    up = ocpp.Up(
        url.rstrip("/"),
        t.word("name", f"IEVCC-{site}"),
        t.word("version", "1.6", ("1.6", "2.0.1")),
        t.flag("each", default=True),
        t.word("password", ""),
        _path(ca),
        _path(certificate),
        _path(key),
        tuple(chargers),
    )
    t.done()
    return up


def _bills(t: _Table) -> Bills:
    address = t.get("address", [])
    if not isinstance(address, list) or not all(isinstance(line, str) for line in address):
        raise t.error("address", f"{address!r} is not a list of lines")
    bills = Bills(
        t.word("name", ""),
        tuple(address),
        t.word("tax_number", ""),
        t.word("language", "en", LANGUAGES),
    )
    t.done()
    return bills


def _retention(t: _Table) -> Retention:
    usual = Retention()
    names = ("seconds_days", "minutes_days", "quarters_days", "notes_days")
    days = {name: t.whole(name, getattr(usual, name), 0, 36_500) for name in names}
    for fine, coarse in pairwise(names[:3]):
        if days[coarse] and not 0 < days[fine] <= days[coarse]:
            raise t.error(coarse, f"is less than {fine}")
    t.done()
    return Retention(**days)


def _fog(top: _Table) -> Fog:
    t = top.table("fog")
    url = t.word("url", None)
    if not url.startswith(("kafka://", "https://", "http://")):
        raise t.error("url", f"{url!r} is not kafka://host:port or https://host/path")
    try:
        key = bytes.fromhex(t.word("key", None))
    except ValueError as e:
        raise t.error("key", "is not hex") from e
    if len(key) != 32:
        raise t.error("key", f"has {len(key)} bytes; the fog gives 32")
    ca = t.word("ca", "")
    cloud = t.word("cloud", "")
    if cloud and not cloud.startswith(("https://", "http://")):
        raise t.error("cloud", f"{cloud!r} is not https://host/api/v1")
    fog = Fog(url, key, t.word("password", ""), Path(ca) if ca else None, cloud)
    t.done()
    return fog


def _integrations(top: _Table) -> Integrations:
    t = top.table("metrics")
    token = t.word("token", "")
    if token and len(token) < 16:
        raise t.error("token", "is too easy to guess: at least 16 characters")
    t.done()
    influxdb = emoncms = home = None
    if "influxdb" in top.raw:
        t = top.table("influxdb")
        influxdb = InfluxDb(
            _address(t),
            t.word("database", "ievcc"),
            t.word("username", ""),
            t.word("password", ""),
            t.word("token", ""),
            _path(t.word("ca", "")),
        )
        if influxdb.token and influxdb.username:
            raise t.error("token", "or username and password, not both")
        t.done()
    if "emoncms" in top.raw:
        t = top.table("emoncms")
        emoncms = Emoncms(
            _address(t), t.word("key", None), t.word("node", ""), _path(t.word("ca", ""))
        )
        if not re.fullmatch(r"[0-9A-Fa-f]{32}", emoncms.key):
            raise t.error("key", "is not emoncms's write key: 32 hexadecimal digits")
        if not re.fullmatch(r"[\w .-]*", emoncms.node, re.ASCII):
            raise t.error("node", f"{emoncms.node!r}: letters, digits, spaces and _ - . only")
        t.done()
    if "home_assistant" in top.raw:
        t = top.table("home_assistant")
        home = HomeAssistant(
            t.word("prefix", "homeassistant"),
            t.word("host", ""),
            t.whole("port", 1883, 1, 65535),
            t.word("username", ""),
            t.word("password", ""),
            _path(t.word("ca", "")),
        )
        if not re.fullmatch(r"[\w/-]+", home.prefix, re.ASCII):
            raise t.error("prefix", f"{home.prefix!r} is not the beginning of a topic")
        t.done()
    told: dict[str, Told] = {}
    for t in top.tables("notify"):
        one = _told(t)
        if one.name in told:
            raise t.error("name", f"{one.name} is there twice")
        told[one.name] = one
    return Integrations(token, influxdb, emoncms, home, tuple(told.values()))


def _address(t: _Table) -> str:
    url = t.word("url", None)
    if not re.fullmatch(r"https?://[^/?#@]+(/[^?#@]*)?", url):
        # With @ it would hold a password: that has a key of its own, and is not shown.
        raise t.error("url", "is not http://host:port or https://host/path")
    return url.rstrip("/")


def _told(t: _Table) -> Told:
    url = t.word("url", None)
    if not re.match(r"[a-z][a-z0-9+]*://.", url):
        raise t.error("url", "is no address for messages: mailto://, ntfy://, json://...")
    about = t.get("about", list(SUBJECTS))
    if not isinstance(about, list) or not about or any(a not in SUBJECTS for a in about):
        raise t.error("about", f"{about!r} is not a list of {', '.join(SUBJECTS)}")
    chosen: tuple[Subject, ...] = tuple(s for s in SUBJECTS if s in about)
    name = t.word("name", None)
    user, again_s = t.word("user", ""), t.whole("again_s", 900, 0, 86_400)
    one = Told(name, url, chosen, user, again_s, t.word("language", "en", ("en", "pt")))
    t.done()
    return one


def _breaker(t: _Table, limit_a: float) -> Breaker | None:
    """What the table says; where there is none, a C curve of the limit's rating, if one is made."""
    try:
        return named(t.raw, limit_a)
    except BreakerError as e:
        if not t.raw:
            return None
        raise t.error(e.field, str(e).removeprefix(f"{e.field}: ")) from e


def check_failsafes(site: Site, failsafes: Mapping[str, tuple[str, int]], text: str = "") -> None:
    """SiteFileError, with the sum, if the failsafe currents and the worst house exceed a feeder.

    `failsafes`: charger -> (feeder, A). Failsafes are taken to be on the same phase: nobody knows yet.
    """
    for name, feeder in site.feeders.items():
        under = {c: a for c, (f, a) in failsafes.items() if a and name in site.above(f)}
        if not under:
            continue
        worst = site.settings.worst_house_a
        limit = min(feeder.limit_ma) // 1000
        if feeder.worst_house_ma is not None:
            house = feeder.worst_house_ma // 1000
        elif feeder.parent:
            house = 0
        else:
            house = limit if worst is None else worst
        total = sum(under.values()) + house
        if total > limit:
            parts = " + ".join(f"{a} A ({c})" for c, a in under.items())
            raise SiteFileError(
                "device",
                f"when no charger hears the manager, feeder {name} carries {parts} + {house} A (the house at worst)"
                f" = {total} A, and its limit is {limit} A; lower failsafe_a or worst_house_a",
                _line(text, "device", "failsafe_a"),
            )


def _limit(table: _Table, phases: int) -> tuple[int, ...]:
    value = table.get("limit_a")
    values = value if isinstance(value, list) else [value] * phases
    if value is None:
        raise table.error("limit_a", "is missing: the current of the contract, in A per phase")
    if len(values) != phases:
        raise table.error("limit_a", f"{len(values)} limits for {phases} phases")
    for one in values:
        if type(one) not in (int, float) or not 1 <= one <= 6300:
            raise table.error("limit_a", f"{one!r} is not a number within 1..6300")
    return tuple(round(one * 1000) for one in values)


def _settings(t: _Table, windows: tuple[Window, ...]) -> Settings:
    name = t.word("name", "home")
    if not is_device_name(name):
        raise t.error("name", f"{name!r}: letters, digits, - and _, at most 24")
    margin = t.get("margin_a", 0)
    learned = margin == "learned"
    worst = t.get("worst_house_a")
    ttl = round(t.number("ttl_s", 15, 6, 600) * 1000)
    renew = round(t.number("renew_s", 5, 1, 200) * 1000)
    if renew * 2 > ttl:
        raise t.error(
            "renew_s",
            f"a lease of {ttl / 1000:g} s must be renewed at least twice within its life",
        )
    silent = round(t.number("meter_silent_s", 3, 1, 600) * 1000)
    lost = round(t.number("meter_lost_s", 60, 1, 3600) * 1000)
    if lost < silent:
        raise t.error("meter_lost_s", "must not be shorter than meter_silent_s")
    return Settings(
        name=name,
        policy=t.word("policy", "fair", POLICIES),  # type: ignore[arg-type]
        update_interval_ms=round(t.number("update_interval_s", 5, 0, 3600) * 1000),
        max_counters=t.whole("max_counters", 1, 1, 1000),
        max_chargers=t.whole("max_chargers", 64, 1, 10_000),
        max_active=t.whole("max_active", 0, 0, 10_000),
        worst_house_a=None if worst is None else t.whole("worst_house_a", None, 0, 6300),
        margin_ma=0 if learned else round(t.number("margin_a", 0, 0, 1000) * 1000),
        learned_margin=learned,
        source=t.word("source", "grid", SOURCES),  # type: ignore[arg-type]
        turn_ms=round(t.number("turn_min", 15, 1, 1440) * 60_000),
        min_on_ms=round(t.number("min_on_s", 300, 0, 86_400) * 1000),
        min_off_ms=round(t.number("min_off_s", 60, 0, 86_400) * 1000),
        ttl_ms=ttl,
        renew_ms=renew,
        meter_silent_ms=silent,
        meter_lost_ms=lost,
        windows=windows,
    )


def _feeder(t: _Table, feeders: Mapping[str, Feeder], phases: int) -> Feeder:
    name = t.word("name", None)
    if name in feeders:
        raise t.error("name", f"feeder {name} is there twice")
    parent = t.word("parent", MAIN)
    if parent not in feeders:
        raise t.error("parent", f"no feeder {parent} before this one")
    limit = _limit(t, phases)
    over = [a / 1000 for a, b in zip(limit, feeders[parent].limit_ma, strict=True) if a > b]
    if over:
        most = max(feeders[parent].limit_ma) / 1000
        raise t.error(
            "limit_a",
            f"{over[0]:g} A is more than {parent}, which it hangs under, has ({most:g} A)",
        )
    worst = t.get("worst_house_a")
    worst_ma = None if worst is None else t.whole("worst_house_a", None, 0, 6300) * 1000
    t.done()
    return Feeder(name, limit, parent, worst_ma)


def _device(t: _Table, feeders: Mapping[str, Feeder], devices: Mapping[str, Listed]) -> Listed:
    name = t.word("id", None)
    if not is_device_name(name):
        raise t.error("id", f"{name!r}: letters, digits, - and _, at most 24")
    if name in devices:
        raise t.error("id", f"{name} is there twice")
    key = t.word("key", "")
    try:
        raw = bytes.fromhex(key)
    except ValueError as e:
        raise t.error("key", "is not hexadecimal") from e
    if raw and len(raw) < 16:
        raise t.error("key", f"{len(raw)} bytes are too few for a key: at least 16")
    feeder = t.word("feeder", "")
    if feeder and feeder not in feeders:
        raise t.error("feeder", f"no feeder {feeder}")
    priority = t.whole("priority", 0, 0, 100)
    failsafe = t.whole("failsafe_a", 0, 0, 80)
    if 0 < failsafe < 6:
        raise t.error("failsafe_a", f"{failsafe} A cannot be offered: 0, or 6 and more")
    t.done()
    return Listed(name, raw, feeder, priority, failsafe)


def _clock(t: _Table, key: str) -> int:
    text = t.word(key, None)
    match = re.fullmatch(r"(\d{1,2}):(\d\d)", text)
    minute = int(match[1]) * 60 + int(match[2]) if match else -1
    if not match or int(match[2]) > 59 or minute > 1440:
        raise t.error(key, f"{text!r} is not a time of day: HH:MM")
    return minute


def _windows(
    tables: list[_Table], devices: Mapping[str, Listed], opened: bool
) -> tuple[Window, ...]:
    windows: list[Window] = []
    taken: dict[tuple[str, int], str] = {}  # (charger, minute of the week) -> where it was said
    for t in tables:
        days = t.get("days", list(DAYS))
        if not isinstance(days, list) or not days or any(d not in DAYS for d in days):
            raise t.error("days", f"{days!r} is not a list of {', '.join(DAYS)}")
        start, end = _clock(t, "start"), _clock(t, "end")
        if start == end:
            raise t.error("end", "the window ends as it begins")
        source = t.word("source", "", (*SOURCES, ""))
        max_a = t.whole("max_a", ANY_A if source else None, 0, ANY_A)
        scope = t.word("charger", "")
        if source and (scope or max_a != ANY_A):
            raise t.error("source", "stands alone: write limits as windows of their own")
        if scope and not opened and scope not in devices:
            raise t.error("charger", f"no device {scope} is listed")
        t.done()
        for day in days:
            first = DAYS.index(day) * 1440 + start
            length = end - start if end > start else 1440 - start + end
            for minute in range(first, first + length):
                key = f"source {scope}" if source else scope, minute % WEEK
                if key in taken:
                    at = f"{DAYS[minute % WEEK // 1440]} {minute % 1440 // 60:02d}:{minute % 60:02d}"
                    raise t.error("start", f"overlaps {taken[key]} at {at}")
                taken[key] = t.where
            windows.append(Window(first % WEEK, (first + length) % WEEK, max_a, scope, source))  # type: ignore[arg-type]
    return tuple(windows)
