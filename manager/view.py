"""What people and programs are shown of a running manager: one plain dict.

For the page, the command line and whoever asks /api/state. Currents in A, times in ms, everything
already in words too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from manager.core import laxity
from manager.core.headroom import drawn_ma
from manager.core.site import Charger, House, Meter, Site
from manager.history import feeder_now

if TYPE_CHECKING:
    from manager.run import Manager

_STATES = {
    "": "not heard of yet",
    "A1": "no car",
    "A2": "no car",
    "B1": "car plugged in, nothing offered",
    "B2": "car plugged in",
    "C1": "car ready, nothing offered",
    "C2": "charging",
    "D1": "car ready (ventilation), nothing offered",
    "D2": "charging (ventilation)",
    "E1": "control pilot shorted",
    "E2": "control pilot shorted",
    "F1": "out of service",
    "F2": "out of service",
}
_KNOWN = {
    "measured": "house measured",
    "silent": "the meter is silent: reckoning with what the house seldom exceeds at this hour",
    "lost": "the meter is lost: reckoning with the most the house may draw",
    "unmeasured": "no meter: reckoning with the most the house may draw",
}
_ROLES = {
    "house": "the house without the cars",
    "grid": "house and cars together",
    "solar": "what the sun gives",
    "feeder": "one cable with all on it",
}


def state(manager: Manager) -> dict[str, Any]:
    """Everything, as JSON can carry it."""
    site, now_ms = manager.site, manager.clock.now_ms()
    return {
        "at_ms": manager.clock.utc_ms(),
        "name": site.settings.name,
        "timezone": manager.clock.timezone,
        "policy": site.settings.policy,
        "update_interval_ms": site.settings.update_interval_ms,
        "by_hand_a": manager.by_hand.get("limits", {}).get(""),
        "uptime_s": (now_ms - manager.started_ms) // 1000,
        "boot": manager.boot,
        "broker": {
            "connected": manager.link.connected,
            "host": manager.link.host,
            "port": manager.link.port,
            "messages_refused": manager.turned_away.messages,
            "bytes_refused": manager.turned_away.octets,
            "connections_refused": manager.turned_away.connections,
        },
        "store": manager.store.trouble or "ok",
        "taken": manager.taken,
        "refused": dict(manager.refused),
        "solar_w": _solar_w(site),
        "feeders": [_feeder(site, name) for name in site.feeders],
        "meters": [_meter(m, now_ms, manager) for m in site.meters.values()],
        "chargers": [_charger(c, now_ms, manager) for c in site.chargers.values()],
        "events": [event_words(e) for e in list(manager.events)[::-1][:30]],
        **{name: show() for name, show in manager.more.items()},
    }


def _solar_w(site: Site) -> int | None:
    powers = [sum(m.power_w) for m in site.meters.values() if m.role == "solar" and m.power_w]
    return sum(abs(w) for w in powers) if powers else None


def event_words(event: dict[str, Any]) -> dict[str, Any]:
    """An event with a charger's state in words, and the state itself as `code`."""
    if event["kind"] == "state":
        words = _STATES.get(event["words"], event["words"])
        return {**event, "words": words, "code": event["words"]}
    return {**event, "code": ""}


def _feeder(site: Site, name: str) -> dict[str, Any]:
    feeder = site.feeders[name]
    house = site.houses.get(name) or House((0,) * feeder.phases)
    left = site.headroom_ma.get(name, ())
    return {
        "name": name,
        "parent": feeder.parent,
        **feeder_now(site, name, house),
        "headroom_a": [ma / 1000 for ma in left],
        "margin_a": house.margin_ma / 1000,
        "known": house.grade,
        "known_words": _KNOWN.get(house.grade, house.grade) + _kept_free(house),
    }


def _kept_free(house: House) -> str:
    return f"; {house.margin_ma / 1000:g} A kept free for its next step" if house.margin_ma else ""


def _refused(manager: Manager, device: str) -> dict[str, int]:
    peer = manager.peers.get(device)
    return dict(peer.refused) if peer else {}


def _meter(meter: Meter, now_ms: int, manager: Manager) -> dict[str, Any]:
    newest = meter.readings[-1] if meter.readings else None
    age_ms = now_ms - newest.at_ms if newest else None
    return {
        "id": meter.id,
        "kind": "meter",
        "role": meter.role,
        "role_words": _ROLES.get(meter.role, meter.role),
        "feeder": meter.feeder,
        "online": meter.online,
        "state": meter.state,
        "model": meter.model,
        "firmware": meter.firmware,
        "current_a": [ma / 1000 for ma in newest.current_ma] if newest else [],
        "power_w": sum(meter.power_w) if meter.power_w else None,
        "age_ms": age_ms,
        "age_words": "no reading yet" if age_ms is None else f"{age_ms / 1000:.1f} s ago",
        "boot": meter.boot,
        "refused": _refused(manager, meter.id),
    }


def _wish(charger: Charger, now_ms: int, manager: Manager) -> dict[str, Any] | None:
    wants = charger.wants
    if wants.wanted_wh is None and wants.departs_ms is None and wants.user_max_a is None:
        return None
    utc_ms = manager.clock.utc_ms()
    left_wh = laxity.still_wanted_wh(charger)
    drawn = sum(charger.readings[-1].current_ma) * laxity.VOLTS // 1000 if charger.readings else 0
    ready_ms = None
    if left_wh == 0:
        ready_ms = utc_ms
    elif left_wh is not None and drawn > 0:
        ready_ms = utc_ms + round(left_wh * 3_600_000 / drawn)
    leaves_ms = None if wants.departs_ms is None else utc_ms + wants.departs_ms - now_ms
    return {
        "wh": wants.wanted_wh,
        "left_wh": None if left_wh is None else round(left_wh),
        "leaves_ms": leaves_ms,
        "max_a": wants.user_max_a,
        "ready_ms": ready_ms,
    }


def _charger(charger: Charger, now_ms: int, manager: Manager) -> dict[str, Any]:
    newest = charger.readings[-1] if charger.readings else None
    return {
        "id": charger.id,
        "kind": "charger",
        "order": charger.order,
        "counter": charger.counter,
        "feeder": charger.feeder,
        "phases": [p + 1 for p in charger.phases],
        "min_a": charger.min_a,
        "max_a": charger.max_a,
        "failsafe_a": charger.failsafe_a,
        "online": charger.online,
        "heard_ms_ago": now_ms - charger.heard_ms,
        "state": charger.state,
        "state_words": _STATES.get(charger.state, charger.state),
        "mode": charger.mode,
        "faults": list(charger.faults),
        "offer_a": charger.offer_a,
        "limit_a": charger.limit_a,
        "target_a": charger.target_a,
        "worst_a": charger.worst_a,
        "drawn_a": drawn_ma(charger) / 1000,
        "current_a": [ma / 1000 for ma in newest.current_ma] if newest else [],
        "session_wh": charger.session_wh,
        "user": charger.wants.user,
        "wish": _wish(charger, now_ms, manager),
        "lease": charger.number,
        "lease_left_ms": max(0, charger.until_ms - now_ms),
        "priority": charger.priority,
        "by_hand_a": manager.by_hand.get("limits", {}).get(charger.id),
        "reason": charger.reason.plain(),
        "model": charger.model,
        "firmware": charger.firmware,
        "boot": charger.boot,
        "refused": _refused(manager, charger.id),
    }
