"""The site as plain data for the disk, and back.

Kept is what must survive a restart: who is registered in which order, the settings, what the house is used to, and for
each charger the highest lease that may be in force (`kept_a`) with a number above all that were sent, and the rule of
its own if a car may be charging by it. Measurements and states are not: devices say them anew.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from manager.core import leases
from manager.core.site import (
    Charger,
    Feeder,
    Habits,
    Meter,
    Settings,
    Site,
    Wants,
    Window,
)

VERSION = 1
_METER = ("id", "order", "role", "feeder", "phases", "model", "firmware", "boot", "seq")
_CHARGER = (
    "id", "order", "counter", "feeder", "phases", "min_a", "max_a", "failsafe_a", "meter", "model", "firmware",
    "boot", "seq", "number_kept", "kept_a", "priority", "wants",
)  # fmt: skip
# As `asdict` would, but that one copies deeply, and this is written before many a lease is sent.
_SETTINGS, _WINDOW, _FEEDER, _WANTS = (
    tuple(f.name for f in fields(kind)) for kind in (Settings, Window, Feeder, Wants)
)
_FAR = 1_000_000  # ms; longer ago than anything that is still of interest


class PlainError(ValueError):
    """What was kept cannot be read. `words` say which part."""


def _named(value: object, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(value, name) for name in names}


def site_to_plain(site: Site) -> dict[str, Any]:
    """Plain data (dicts, lists, whole numbers, text) that `json` can write."""
    return {
        "version": VERSION,
        "clock_ms": site.shared_ms,
        "order": site.order,
        "settings": {
            **_named(site.settings, _SETTINGS),
            "windows": [_named(w, _WINDOW) for w in site.settings.windows],
        },
        "feeders": [_named(f, _FEEDER) for f in site.feeders.values()],
        "places": dict(site.places),
        "priorities": dict(site.priorities),
        "failsafes": dict(site.failsafes),
        "meters": [_named(m, _METER) for m in site.meters.values()],
        "chargers": [charger_to_plain(c) for c in site.chargers.values()],
        "habits": {
            feeder: {str(hour): list(counts) for hour, counts in habits.hours.items()}
            for feeder, habits in site.habits.items()
        },
        "steps": {
            feeder: {str(kind): list(steps) for kind, steps in habits.steps.items()}
            for feeder, habits in site.habits.items()
        },
        "rises": {
            feeder: {str(kind): list(rises) for kind, rises in habits.rises.items()}
            for feeder, habits in site.habits.items()
        },
    }


def charger_to_plain(charger: Charger) -> dict[str, Any]:
    """One charger's part of it."""
    own = _named(charger, ("mode", "cap_a")) if leases.own_a(charger) else {}
    return {**_named(charger, _CHARGER), "wants": _named(charger.wants, _WANTS), **own}


def with_chargers(plain: dict[str, Any], newer: list[dict[str, Any]]) -> dict[str, Any]:
    """A kept site with these chargers as they were kept later, each by itself."""
    chargers = {c["id"]: c for c in plain["chargers"]} | {c["id"]: c for c in newer}
    return {**plain, "chargers": list(chargers.values())}


def site_from_plain(plain: dict[str, Any], now_ms: int) -> Site:
    """The site as kept, at the start of a manager: every device is yet to be heard, every lease may be in force.

    PlainError if this was not written by `site_to_plain`.
    """
    try:
        if plain["version"] != VERSION:
            raise PlainError(f"kept by another version ({plain['version']})")
        settings = settings_from_plain(plain["settings"])
        same_clock = 0 <= now_ms - plain["clock_ms"] < 7 * 86_400_000
        chargers = {c["id"]: _charger(c, now_ms, settings, same_clock) for c in plain["chargers"]}
        return Site(
            settings=settings,
            feeders={f["name"]: _feeder(f) for f in plain["feeders"]},
            places=dict(plain["places"]),
            priorities=dict(plain["priorities"]),
            failsafes=dict(plain["failsafes"]),
            meters={
                m["id"]: Meter(**m, heard_ms=now_ms - _FAR, online=False, pace="?")
                for m in plain["meters"]
            },
            chargers=chargers,
            habits={
                feeder: Habits(
                    {int(h): tuple(counts) for h, counts in hours.items()},
                    steps=_by_kind(plain, "steps", feeder),
                    rises=_by_kind(plain, "rises", feeder),
                )
                for feeder, hours in plain["habits"].items()
            },
            order=plain["order"],
            started_ms=now_ms,
            shared_ms=now_ms - _FAR,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        if isinstance(e, PlainError):
            raise
        raise PlainError(f"not a kept site: {e!r}") from e


def _by_kind(plain: dict[str, Any], table: str, feeder: str) -> dict[int, tuple[int, ...]]:
    return {int(k): tuple(counts) for k, counts in plain.get(table, {}).get(feeder, {}).items()}


def settings_from_plain(plain: dict[str, Any]) -> Settings:
    """Settings from `dataclasses.asdict` of them; what is not known any more is left out."""
    known = {f.name for f in fields(Settings)}
    plain = {k: v for k, v in plain.items() if k in known}
    plain["windows"] = tuple(Window(**w) for w in plain.get("windows", ()))
    return Settings(**plain)


def _feeder(plain: dict[str, Any]) -> Feeder:
    return Feeder(**{**plain, "limit_ma": tuple(plain["limit_ma"])})


def _charger(plain: dict[str, Any], now_ms: int, settings: Settings, same_clock: bool) -> Charger:
    wants = Wants(**plain["wants"])
    if not same_clock:
        wants = replace(wants, departs_ms=None)
    charger = Charger(**{**plain, "phases": tuple(plain["phases"]), "wants": wants})
    return leases.restored(charger, now_ms, settings.ttl_ms)
