"""What a running manager shows Prometheus: one look at it, in base units, at every scrape.

Energies are joules (Wh times 3600), as Prometheus's conventions want; a meter's counter starts anew
where the meter does, which `rate` and `increase` reckon with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from manager.view import state
from shared import protocol

if TYPE_CHECKING:
    from manager.run import Manager

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_J_PER_WH = 3600
_LOADS = (protocol.COUNTER_LOAD, protocol.CHARGER_LOAD)

Samples = Iterable[tuple[tuple[str, ...], float]]


class Metrics:
    """Listens to what devices measure, and tells Prometheus."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._energy_wh: dict[str, int] = {}
        self._registry = CollectorRegistry()
        self._registry.register(_Site(manager, self._energy_wh))
        ProcessCollector(registry=self._registry)
        manager.listeners.append(self._heard)

    def _heard(self, device: str, message: Mapping[str, Any]) -> None:
        if message["code"] in _LOADS:
            self._energy_wh[device] = sum(message["energy_wh"])

    def text(self) -> bytes:
        """Everything, in Prometheus's text format."""
        return generate_latest(self._registry)


class _Site(Collector):
    def __init__(self, manager: Manager, energy_wh: Mapping[str, int]) -> None:
        self._manager = manager
        self._energy_wh = energy_wh

    def collect(self) -> Iterator[Metric]:
        s = state(self._manager)
        yield _gauge(
            "build_info", "Version of the manager and name of its site; always 1.",
            [((version("ievcc-manager"), s["name"], s["policy"]), 1)],
            ("version", "site", "policy"),
        )  # fmt: skip
        yield _gauge("uptime_seconds", "How long this manager has run.", _one(s["uptime_s"]))
        yield _gauge(
            "broker_connected", "1 while the manager is connected to its MQTT broker.",
            _one(s["broker"]["connected"]),
        )  # fmt: skip
        yield _gauge(
            "store_writable", "1 while readings reach the disk.", _one(s["store"] == "ok")
        )
        yield _counter("messages_taken", "Messages of devices that were taken.", _one(s["taken"]))
        yield _counter(
            "messages_refused", "Messages of devices that were not taken, by kind.",
            [((kind,), n) for kind, n in s["refused"].items()], ("kind",),
        )  # fmt: skip
        yield _counter(
            "broker_refused", "What the broker itself turned away, by kind.",
            [((kind,), s["broker"][f"{kind}_refused"]) for kind in ("messages", "connections")],
            ("kind",),
        )  # fmt: skip
        yield _counter(
            "broker_refused_bytes", "Bytes of messages the broker turned away, retained ones too.",
            _one(s["broker"]["bytes_refused"]),
        )  # fmt: skip
        yield _counter(
            "energy_joules", "What a device's own energy counter stands at, all phases together.",
            [((d,), wh * _J_PER_WH) for d, wh in self._energy_wh.items()], ("device",),
        )  # fmt: skip
        yield from _feeders(s["feeders"])
        yield from _meters(s["meters"])
        yield from _chargers(s["chargers"])
        yield from _sinks(s.get("sinks", []))


def _feeders(feeders: list[dict[str, Any]]) -> Iterator[Metric]:
    for key, words in (
        ("limit", "May flow through a feeder, each phase."),
        ("house", "Drawn by the building without the cars."),
        ("cars", "Drawn by the cars."),
        ("total", "Drawn by building and cars together."),
        ("headroom", "Left for cars."),
    ):
        samples = [
            ((f["name"], str(n)), a) for f in feeders for n, a in enumerate(f[f"{key}_a"], 1)
        ]
        yield _gauge(f"feeder_{key}_amperes", words, samples, ("feeder", "phase"))
    yield _gauge(
        "feeder_measured", "1 while the house on a feeder is measured and not reckoned with.",
        [((f["name"],), f["known"] == "measured") for f in feeders], ("feeder",),
    )  # fmt: skip


def _meters(meters: list[dict[str, Any]]) -> Iterator[Metric]:
    own = ("meter", "role")
    yield _gauge(
        "meter_online", "1 while a meter is there.",
        [((m["id"], m["role"]), m["online"]) for m in meters], own,
    )  # fmt: skip
    yield _gauge(
        "meter_power_watts", "Power at a meter, all phases together.",
        [((m["id"], m["role"]), m["power_w"]) for m in meters if m["power_w"] is not None], own,
    )  # fmt: skip
    yield _gauge(
        "meter_reading_age_seconds", "How old a meter's newest reading is.",
        [((m["id"], m["role"]), m["age_ms"] / 1000) for m in meters if m["age_ms"] is not None],
        own,
    )  # fmt: skip
    yield _gauge(
        "meter_current_amperes", "Current at a meter, each phase.",
        [
            ((m["id"], m["role"], str(n)), a)
            for m in meters
            for n, a in enumerate(m["current_a"], 1)
        ],
        (*own, "phase"),
    )  # fmt: skip


def _chargers(chargers: list[dict[str, Any]]) -> Iterator[Metric]:
    def each(key: str, by: float = 1) -> list[tuple[tuple[str, ...], float]]:
        return [((c["id"],), c[key] * by) for c in chargers]

    own = ("charger",)
    yield _gauge("charger_online", "1 while a charger is there.", each("online"), own)
    yield _gauge("charger_offer_amperes", "What a charger offers its car.", each("offer_a"), own)
    yield _gauge("charger_lease_amperes", "The newest lease's limit.", each("limit_a"), own)
    yield _gauge("charger_worst_amperes", "The most its car may be drawing.", each("worst_a"), own)
    yield _gauge("charger_drawn_amperes", "What its car draws.", each("drawn_a"), own)
    yield _gauge(
        "charger_session_energy_joules", "Taken in the session that runs.",
        each("session_wh", _J_PER_WH), own,
    )  # fmt: skip
    yield _gauge(
        "charger_faults", "Faults a charger tells of now.",
        [((c["id"],), len(c["faults"])) for c in chargers], own,
    )  # fmt: skip
    yield _gauge(
        "charger_state", "1 for the state a charger is in: A1 to F2 of IEC 61851-1.",
        [((c["id"], c["state"]), 1) for c in chargers if c["state"]], (*own, "state"),
    )  # fmt: skip


def _sinks(sinks: list[dict[str, Any]]) -> Iterator[Metric]:
    if not sinks:
        return
    own = ("sink",)
    yield _gauge(
        "sink_up", "1 while records reach this sink.",
        [((s["name"],), not s["trouble"]) for s in sinks], own,
    )  # fmt: skip
    yield _counter(
        "sink_sent", "Records that reached this sink since the manager started.",
        [((s["name"],), s["sent"]) for s in sinks], own,
    )  # fmt: skip


def _one(value: float) -> Samples:
    return [((), value)]


def _gauge(name: str, words: str, samples: Samples, labels: tuple[str, ...] = ()) -> Metric:
    family = GaugeMetricFamily(f"ievcc_{name}", words, labels=labels)
    for values, number in samples:
        family.add_metric(values, float(number))
    return family


def _counter(name: str, words: str, samples: Samples, labels: tuple[str, ...] = ()) -> Metric:
    family = CounterMetricFamily(f"ievcc_{name}", words, labels=labels)
    for values, number in samples:
        family.add_metric(values, float(number))
    return family
