"""Who belongs to the site: announcements, in the thesis' words, and leaving."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manager.core import leases
from manager.core.headroom import worst_house_ma
from manager.core.site import MAIN, Charger, Meter, Site, changed
from shared import protocol

BAD_CODE = "Invalid Message: message code"
BAD_TOPIC = "Invalid Message: message topic"
COUNTERS_FULL = "Max registered counters achieved"
CHARGERS_FULL = "Max registered chargers achieved"
NAME_TAKEN = "Name in use by a running device: {id}"
BAD_FAILSAFE = "Failsafe {failsafe} A: {total} A at worst on feeder {feeder}, above its limit"
BAD_PHASES = "Phases {wiring} do not exist on feeder {feeder}"

# A device that was heard this lately is running, so another boot under its name is another board. A board that restarts
# is silent for longer, or the broker has said that it is gone.
_ALIVE_MS = {protocol.NEW_COUNTER: 2_500, protocol.NEW_CHARGER: 6_000}


def announce(
    site: Site, topic: str, message: Mapping[str, Any], now_ms: int
) -> tuple[Site, int, str]:
    """The site after this announcement, the result code of the reply, and its words.

    `topic` is relative to the site's root. A known device that comes back keeps its place in the order.
    """
    code = message.get("code")
    if code not in (protocol.NEW_COUNTER, protocol.NEW_CHARGER):
        return site, protocol.BAD_CODE, BAD_CODE
    name = str(message["id"])
    known = site.meters.get(name) or site.chargers.get(name)
    if code == protocol.NEW_COUNTER:
        if topic != protocol.HELLO:
            return site, protocol.BAD_TOPIC, BAD_TOPIC
        if name in site.chargers:
            return site, protocol.REFUSED, NAME_TAKEN.format(id=name)
    else:
        counter = str(message.get("counter", ""))
        place = topic.removesuffix("/new")
        if place not in (counter, "hello") or counter not in site.meters:
            return site, protocol.BAD_TOPIC, BAD_TOPIC
        if name in site.meters:
            return site, protocol.REFUSED, NAME_TAKEN.format(id=name)
    boot = int(message.get("boot", 0))
    if known and known.online and boot != known.boot and now_ms - known.heard_ms < _ALIVE_MS[code]:
        return site, protocol.REFUSED, NAME_TAKEN.format(id=name)
    if code == protocol.NEW_COUNTER:
        return _counter(site, name, message, now_ms)
    return _charger(site, name, message, now_ms)


def _counter(
    site: Site, name: str, message: Mapping[str, Any], now_ms: int
) -> tuple[Site, int, str]:
    old = site.meters.get(name)
    if old is None and len(site.meters) >= site.settings.max_counters:
        return site, protocol.FULL, COUNTERS_FULL
    order = old.order if old else site.order + 1
    meter = Meter(
        id=name,
        order=order,
        role=message.get("role", "house"),
        feeder=_place(site, name),
        phases=message.get("phases", 1),
        model=message.get("model", ""),
        firmware=message.get("firmware", ""),
        boot=int(message.get("boot", 0)),
        seq=int(message.get("seq", 0)),
        heard_ms=now_ms,
        readings=old.readings if old else (),
    )
    site = changed(site, meters={**site.meters, name: meter}, order=max(site.order, order))
    return site, protocol.OK, f"Counter registered: {name}"


def _charger(
    site: Site, name: str, message: Mapping[str, Any], now_ms: int
) -> tuple[Site, int, str]:
    old = site.chargers.get(name)
    if old is None and len(site.chargers) >= site.settings.max_chargers:
        return site, protocol.FULL, CHARGERS_FULL
    order = old.order if old else site.order + 1
    counter = str(message["counter"])
    feeder = site.places.get(name) or site.meters[counter].feeder
    wiring = message.get("wiring") or list(range(1, int(message.get("phases", 1)) + 1))
    if len(set(wiring)) < len(wiring) or not all(
        1 <= p <= site.feeders[feeder].phases for p in wiring
    ):
        return site, protocol.REFUSED, BAD_PHASES.format(wiring=wiring, feeder=feeder)
    failsafe = int(message.get("failsafe_a", 0))
    total = _at_worst_a(site, name, feeder, failsafe) if failsafe else 0
    if total:
        return (
            site,
            protocol.REFUSED,
            BAD_FAILSAFE.format(failsafe=failsafe, total=total, feeder=feeder),
        )
    boot = int(message.get("boot", 0))
    if old is None:
        charger = Charger(id=name, order=order, counter=counter, feeder=feeder, boot=boot)
        charger = changed(charger, max_a=int(message.get("max_a", 32)), online=True)
        charger = leases.unknown(charger, now_ms, site.settings.ttl_ms)
    else:
        charger = old
    # A lower boot number: its memory was erased. Leases for its other life stay counted to their natural end.
    if old is not None and boot < old.boot:
        charger = changed(charger, boot=boot, seq=-1)
    charger = leases.heard(charger, boot, int(message.get("seq", 0)), now_ms)
    if old is not None and boot != old.boot:
        # Started anew: what it said before no longer holds, its status follows.
        charger = changed(
            charger, state="", contactor=False, contactor_ms=now_ms, readings=(), faults=()
        )
    charger = changed(
        charger,
        counter=counter,
        feeder=feeder,
        phases=tuple(p - 1 for p in wiring),
        min_a=int(message.get("min_a", 6)),
        max_a=int(message.get("max_a", 32)),
        failsafe_a=int(message.get("failsafe_a", 0)),
        meter=bool(message.get("meter", 1)),
        model=message.get("model", ""),
        firmware=message.get("firmware", ""),
        priority=site.priorities.get(name, 0)
        if charger.wants.priority is None
        else charger.wants.priority,
        heard_ms=now_ms,
        online=True,
    )
    site = changed(site, chargers={**site.chargers, name: charger}, order=max(site.order, order))
    return site, protocol.OK, f"Charger registered: {name}"


def _at_worst_a(site: Site, name: str, feeder: str, failsafe: int) -> int:
    """A at worst on the first feeder that all failsafes and the house exceed; 0 if none is exceeded."""
    failsafes = dict(site.failsafes) | {c.id: c.failsafe_a for c in site.chargers.values()}
    failsafes[name] = failsafe
    places = dict(site.places) | {c.id: c.feeder for c in site.chargers.values()} | {name: feeder}
    for here in site.above(feeder):
        under = sum(a for d, a in failsafes.items() if here in site.above(places.get(d, MAIN)))
        total = under + worst_house_ma(site, here) // 1000
        if total * 1000 > min(site.feeders[here].limit_ma):
            return total
    return 0


def _place(site: Site, name: str) -> str:
    return site.places.get(name, MAIN)


def forget(site: Site, name: str, now_ms: int) -> tuple[Site, str]:
    """The site without this device, and "", or why it stays: a meter with chargers under it, or a
    charger whose lease is not over yet.
    """
    if name in site.meters and any(c.counter == name for c in site.chargers.values()):
        return site, "chargers hang under it"
    charger = site.chargers.get(name)
    if charger is not None and any(g.limit_a and g.ends_ms > now_ms for g in charger.granted):
        return site, "it may still be charging: take its current away and wait for half a minute"
    meters = {k: v for k, v in site.meters.items() if k != name}
    chargers = {k: v for k, v in site.chargers.items() if k != name}
    return changed(site, meters=meters, chargers=chargers), ""


def new_message(
    site: Site, topic: str, code: int | str, device: str, now_ms: int = 0, **more: object
) -> tuple[Site, str]:
    """The thesis' own call: a device named `device` sends `code` ("0x001" or 1) on `topic`; the answer in words.

    Fields the thesis does not give are taken as usual: a meter of the house, a charger of 6 to 32 A on one phase.
    """
    number = int(code, 16) if isinstance(code, str) else code
    usual: dict[str, object] = {"code": number, "id": device, "boot": 1, "seq": 1}
    if number == protocol.NEW_CHARGER:
        usual |= {
            "counter": topic.removesuffix("/new"),
            "min_a": 6,
            "max_a": 32,
            "phases": 1,
            "wiring": [1],
        }
    elif number == protocol.NEW_COUNTER:
        usual |= {"role": "house", "phases": 1}
    site, _, words = announce(site, topic, usual | more, now_ms)
    return site, words
