"""Chargers, meters and the site as devices in Home Assistant, by its MQTT discovery.

Each entity has a retained configuration of its own under the discovery prefix: the form that every
release of Home Assistant understands. What it shows is one JSON object a device:

    ievcc/<site>/home/<device>/now          {"state": "charging", "offer_a": 16, ...}, retained
    ievcc/<site>/home/<device>/there        online or offline, retained
    ievcc/<site>/home/manager/there         the same of the manager, by its last will
    ievcc/<site>/home/<device>/set/<what>   what Home Assistant wants: limit, charging

A wish goes through the door that the page's limits go through: it can lower, or take back what was
lowered by hand, and never goes above the site file. One that the broker kept is not followed.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from ssl import SSLContext
from typing import TYPE_CHECKING, Any

from manager.integrations import HomeAssistant
from manager.mqtt import Arrival, Known, Link
from manager.refusal import Refusal
from manager.view import state

if TYPE_CHECKING:
    from manager.run import Manager

log = logging.getLogger(__name__)

EVERY_S = 1.0  # what has changed is told so often
SITE = "site"
_SITE_MOST_A = 200  # as a limit by hand
_DIAGNOSTIC = {"entity_category": "diagnostic"}


@dataclass(frozen=True, slots=True)
class Broker:
    """Where, and as whom."""

    host: str
    port: int
    username: str = ""
    password: str = ""
    tls: SSLContext | None = None


@dataclass(frozen=True, slots=True)
class Entity:
    """One entity: `key` is its value's name in the device's JSON."""

    kind: str
    key: str
    name: str
    more: Mapping[str, Any]
    set: str = ""  # the last part of the topic it is set by


def _sensor(key: str, name: str, unit: str = "", what: str = "", **more: Any) -> Entity:
    own: dict[str, Any] = {"unit_of_measurement": unit, "device_class": what}
    if unit:
        own["state_class"] = "measurement"
    return Entity("sensor", key, name, {k: v for k, v in own.items() if v} | more)


def _flag(key: str, name: str, what: str, **more: Any) -> Entity:
    own = {"device_class": what, "payload_on": "True", "payload_off": "False"}
    return Entity("binary_sensor", key, name, own | more)


def _limit(most_a: int) -> Entity:
    about = {
        "min": 0, "max": most_a, "step": 1, "mode": "slider", "unit_of_measurement": "A",
        "device_class": "current",
    }  # fmt: skip
    return Entity("number", "limit_a", "Limit by hand", about, "limit")


_SWITCH = Entity(
    "switch", "allowed", "Charging allowed",
    {"state_on": "True", "state_off": "False"}, "charging",
)  # fmt: skip


def charger_entities(charger: Mapping[str, Any]) -> list[Entity]:
    """Of one charger of `view.state`."""
    return [
        _sensor("state", "State"),
        _sensor("reason", "Reason"),
        _sensor("offer_a", "Offer", "A", "current"),
        _sensor("drawn_a", "Current", "A", "current"),
        _sensor(
            "session_wh", "Session energy", "Wh", "energy", state_class="total_increasing"
        ),
        _flag("plugged", "Car plugged in", "plug"),
        _flag("charging", "Charging", "battery_charging"),
        _flag("fault", "Fault", "problem", **_DIAGNOSTIC),
        _limit(charger["max_a"]),
        _SWITCH,
    ]  # fmt: skip


def meter_entities(meter: Mapping[str, Any]) -> list[Entity]:
    """Of one meter."""
    phases = len(meter["current_a"])
    return [
        _sensor("power_w", "Power", "W", "power"),
        *(
            _sensor(f"current_{n}_a", f"Current L{n}", "A", "current")
            for n in range(1, phases + 1)
        ),
    ]


def site_entities(phases: int) -> list[Entity]:
    """Of the building: its main feeder, phase by phase."""
    each = [
        _sensor(f"{key}_{n}_a", f"{name} L{n}", "A", "current")
        for n in range(1, phases + 1)
        for key, name in (("house", "House"), ("cars", "Cars"), ("free", "Free for cars"))
    ]
    return [*each, _limit(_SITE_MOST_A)]


def seen(now: Mapping[str, Any]) -> Iterator[tuple[str, str, bool, list[Entity], dict[str, Any]]]:
    """Each device of `view.state`: name, model, whether it is there, its entities, their values."""
    main = now["feeders"][0]
    values: dict[str, Any] = {
        "limit_a": _SITE_MOST_A if now["by_hand_a"] is None else now["by_hand_a"]
    }
    for key, of in (("house", "house_a"), ("cars", "cars_a"), ("free", "headroom_a")):
        values |= {f"{key}_{n}_a": round(a, 1) for n, a in enumerate(main[of], 1)}
    yield SITE, "IEVCC manager", True, site_entities(len(main["limit_a"])), values
    for m in now["meters"]:
        values = {f"current_{n}_a": a for n, a in enumerate(m["current_a"], 1)}
        yield (
            m["id"],
            m["model"],
            m["online"],
            meter_entities(m),
            values | {"power_w": m["power_w"]},
        )
    for c in now["chargers"]:
        by_hand = c["by_hand_a"]
        values = {
            "state": c["state_words"],
            "reason": c["reason"]["words"][:255],  # a state of Home Assistant's is no longer
            "offer_a": c["offer_a"],
            "drawn_a": round(c["drawn_a"], 1),
            "session_wh": c["session_wh"],
            "plugged": c["state"][:1] in ("B", "C", "D"),
            "charging": c["state"] in ("C2", "D2"),
            "fault": bool(c["faults"]),
            "limit_a": c["max_a"] if by_hand is None else min(by_hand, c["max_a"]),
            "allowed": by_hand != 0,
        }
        yield c["id"], c["model"], c["online"], charger_entities(c), values


class HomeLink:
    """One manager at Home Assistant's broker; `run` is one of the services beside it."""

    def __init__(self, manager: Manager, settings: HomeAssistant, broker: Broker) -> None:
        self._manager = manager
        self._prefix = settings.prefix
        self._site = manager.site.settings.name
        self._root = f"{manager.root}home/"
        self._configured: dict[str, bytes] = {}  # topic -> what was said there last
        self._told: dict[str, bytes] = {}
        self._was_a: dict[str, int] = {}  # charger -> limit by hand from before it was stopped
        self._link = Link(
            broker.host,
            broker.port,
            f"ievcc-home-{self._site}",
            [f"{self._root}+/set/+", f"{settings.prefix}/status"],
            f"{self._root}manager/there",
            self._arrived,
            self._changed,
            broker.username,
            broker.password,
            broker.tls,
        )

    def known(self) -> Known:
        """What has reached this broker by this link."""
        return self._link.known

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._link.run())
            group.create_task(self._keep_telling())

    async def _keep_telling(self) -> None:
        while True:
            if self._link.connected:
                self._tell()
            await asyncio.sleep(EVERY_S)

    def _changed(self, connected: bool) -> None:
        if connected:
            self._anew()

    def _anew(self) -> None:
        """Somebody may have forgotten everything."""
        self._told.clear()
        self._configured = dict.fromkeys(self._configured, b"")

    def _tell(self) -> None:
        wanted: dict[str, bytes] = {}
        for device, model, there, entities, values in seen(state(self._manager)):
            about = self._device(device, model)
            for entity in entities:
                place = f"ievcc_{self._site}/{device}_{entity.key}"
                topic = f"{self._prefix}/{entity.kind}/{place}/config"
                wanted[topic] = json.dumps(self._config(device, entity, about)).encode()
            self._say(f"{device}/there", b"online" if there else b"offline")
            self._say(f"{device}/now", json.dumps(values).encode())
        for topic in self._configured.keys() - wanted.keys():
            self._link.publish(topic, b"", retain=True)  # takes the entity away
        for topic, config in wanted.items():
            if self._configured.get(topic) != config:
                self._link.publish(topic, config, retain=True)
        self._configured = wanted

    def _say(self, tail: str, data: bytes) -> None:
        if self._told.get(tail) != data:
            self._told[tail] = data
            self._link.publish(self._root + tail, data, retain=True)

    def _device(self, device: str, model: str) -> dict[str, Any]:
        site = f"ievcc_{self._site}"
        about = {"identifiers": [f"{site}_{device}"], "manufacturer": "IEVCC", "model": model}
        if device == SITE:
            return about | {"name": f"IEVCC {self._site}", "sw_version": version("ievcc-manager")}
        return about | {"name": device, "via_device": f"{site}_{SITE}"}

    def _config(self, device: str, entity: Entity, about: Mapping[str, Any]) -> dict[str, Any]:
        own = f"{self._root}{device}"
        config = {
            "name": entity.name,
            "unique_id": f"ievcc_{self._site}_{device}_{entity.key}",
            "object_id": f"{self._site}_{device}_{entity.key}",
            "state_topic": f"{own}/now",
            "value_template": f"{{{{ value_json.get('{entity.key}') }}}}",
            "availability": [
                {"topic": f"{own}/there"},
                {"topic": f"{self._root}manager/there"},
            ],
            "availability_mode": "all",
            "device": about,
            "origin": {"name": "IEVCC", "sw_version": version("ievcc-manager")},
            **entity.more,
        }
        if entity.set:
            config["command_topic"] = f"{own}/set/{entity.set}"
        return config

    # What Home Assistant wants.

    def _arrived(self, arrival: Arrival) -> None:
        self._link.acknowledge(arrival)
        if arrival.topic == f"{self._prefix}/status":
            if arrival.data == b"online":
                self._anew()
            return
        if arrival.retained:
            return  # not wanted now, but once
        device, _, rest = arrival.topic.removeprefix(self._root).partition("/")
        wishes: dict[str, Callable[[str, str], str]] = {
            "set/limit": self._limit,
            "set/charging": self._charging,
        }
        wish = wishes.get(rest)
        try:
            if wish is None:
                raise Refusal(f"{rest} cannot be set")
            words = wish(device, arrival.data[:64].decode())
        except (Refusal, ValueError) as e:
            words = f"refused: {e}"
            self._told.clear()  # it may show what was not done
        known = device if device in self._manager.site.chargers else ""
        self._manager.note("home assistant", known, words)

    def _limit(self, device: str, said: str) -> str:
        charger = "" if device == SITE else device
        amps = float(said)
        if not amps.is_integer():
            raise Refusal("a limit is a whole number of amperes")
        most = _SITE_MOST_A
        if charger in self._manager.site.chargers:
            most = self._manager.site.chargers[charger].max_a
        return self._manager.limit_by_hand(charger, None if amps >= most else int(amps))

    def _charging(self, device: str, said: str) -> str:
        if device == SITE or said not in ("ON", "OFF"):
            raise Refusal("charging is ON or OFF, of a charger")
        limits = self._manager.by_hand.get("limits", {})
        if said == "OFF":
            if limits.get(device):
                self._was_a[device] = limits[device]
            return self._manager.limit_by_hand(device, 0)
        if limits.get(device) == 0:
            return self._manager.limit_by_hand(device, self._was_a.pop(device, None))
        return f"{device} may charge already"
