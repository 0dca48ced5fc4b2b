"""Charging profiles: how a central system limits a charger. Stacking and composite schedule. Pure.

By OCPP 1.6 section 3.13 and 2.0.1 part 2 section K: within one purpose the highest stack level that
has something to say now wins; a transaction's own profile stands in place of the default; the whole
station's maximum and a grid's constraint cap everything. A profile here only ever lowers what the
site gives, for nothing in this module knows how much that is.

Times are milliseconds since 1970, limits A or W as they came; watts are of all phases together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from manager.ocpp.quirks import number, utc_ms

Payload = dict[str, Any]
STACK_MAX = 8
PERIODS_MAX = 24
INSTALLED_MAX = 20
VOLTS = 230  # when nobody has measured: the nominal voltage the standard's examples use
_REPEAT_MS = {"Daily": 86_400_000, "Weekly": 7 * 86_400_000}
_PURPOSES = {
    "ChargePointMaxProfile": "max",
    "ChargingStationMaxProfile": "max",
    "ChargingStationExternalConstraints": "external",
    "TxDefaultProfile": "default",
    "TxProfile": "transaction",
}


class ProfileError(ValueError):
    """A profile that cannot be; says why."""


@dataclass(frozen=True, slots=True)
class Period:
    """From `start_s` after its schedule's start on, `limit` A or W over so many phases."""

    start_s: int
    limit: float
    phases: int = 3


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile as installed. `connector` 0: the whole charge point. `transaction` "": any."""

    id: int
    connector: int
    purpose: str
    stack: int
    kind: str
    unit: str
    periods: tuple[Period, ...]
    transaction: str = ""
    repeat_ms: int = 0
    start_ms: int | None = None
    duration_s: int | None = None
    from_ms: int | None = None
    to_ms: int | None = None


def parsed(raw: Payload, connector: int, transaction: str = "") -> Profile:
    """A profile of either version from its JSON. `transaction`: the one running there, "" for none.

    ProfileError for what the schema lets through and the standard does not.
    """
    purpose = _PURPOSES.get(str(raw.get("chargingProfilePurpose")), "")
    if not purpose:
        raise ProfileError(f"no purpose {raw.get('chargingProfilePurpose')!r}")
    schedule = raw.get("chargingSchedule")
    if isinstance(schedule, list):
        schedule = schedule[0] if schedule else None
    if not isinstance(schedule, dict):
        raise ProfileError("no schedule")
    stack = int(raw["stackLevel"])
    if not 0 <= stack <= STACK_MAX:
        raise ProfileError(f"stack level {stack} is not within 0..{STACK_MAX}")
    kind = str(raw["chargingProfileKind"])
    repeat = _REPEAT_MS.get(str(raw.get("recurrencyKind")), 0)
    start = _time(schedule, "startSchedule")
    if kind == "Recurring" and (not repeat or start is None):
        raise ProfileError("a recurring profile says how often and from when on")
    if kind == "Absolute" and start is None:
        # The standard lets it out; then it counts from when it begins to be valid.
        start = _time(raw, "validFrom")
    whose = str(raw.get("transactionId", "") or "")
    if purpose == "transaction":
        if not transaction or connector == 0:
            raise ProfileError("no transaction runs there")
        if whose and whose != transaction:
            raise ProfileError(f"transaction {whose} does not run there")
        whose = transaction
    elif purpose == "max" and connector:
        raise ProfileError("the maximum is of the whole charge point: connector 0")
    periods = tuple(_period(p) for p in schedule.get("chargingSchedulePeriod", ()))
    if not 1 <= len(periods) <= PERIODS_MAX:
        raise ProfileError(f"{len(periods)} periods are not within 1..{PERIODS_MAX}")
    if periods[0].start_s != 0 or any(a.start_s >= b.start_s for a, b in pairwise(periods)):
        raise ProfileError("periods begin at 0 and follow one another")
    since, until = _time(raw, "validFrom"), _time(raw, "validTo")
    if since is not None and until is not None and since >= until:
        raise ProfileError("validTo is not after validFrom")
    duration = schedule.get("duration")
    if duration is not None and int(duration) < 0:
        raise ProfileError("a duration below 0")
    return Profile(
        id=int(raw["chargingProfileId"] if "chargingProfileId" in raw else raw["id"]),
        connector=connector,
        purpose=purpose,
        stack=stack,
        kind=kind,
        unit=str(schedule["chargingRateUnit"]),
        periods=periods,
        transaction=whose if purpose == "transaction" else "",
        repeat_ms=repeat if kind == "Recurring" else 0,
        start_ms=start,
        duration_s=None if duration is None else int(duration),
        from_ms=since,
        to_ms=until,
    )


def _time(raw: Payload, key: str) -> int | None:
    if raw.get(key) is None:
        return None
    ms = utc_ms(raw[key])
    if ms is None:
        raise ProfileError(f"{key} is no time: {str(raw[key])[:40]!r}")
    return ms


def _period(raw: Payload) -> Period:
    limit = number(raw.get("limit"))
    if limit is None or limit < 0:
        raise ProfileError("a limit below 0")
    phases = int(raw.get("numberPhases", 3))
    if not 1 <= phases <= 3:
        raise ProfileError(f"{phases} phases")
    return Period(int(raw["startPeriod"]), limit, phases)


def installed(profiles: Sequence[Profile], new: Profile) -> tuple[Profile, ...]:
    """With one more; the one of the same id, or of the same place in the stack, goes for it.

    ProfileError if there are too many.
    """
    kept = tuple(
        p
        for p in profiles
        if p.id != new.id
        and (p.purpose, p.stack, p.connector, p.transaction)
        != (new.purpose, new.stack, new.connector, new.transaction)
    )
    if len(kept) >= INSTALLED_MAX:
        raise ProfileError(f"{INSTALLED_MAX} profiles are installed already")
    return (*kept, new)


def cleared(
    profiles: Sequence[Profile],
    number: int | None = None,
    connector: int | None = None,
    purpose: str | None = None,
    stack: int | None = None,
) -> tuple[Profile, ...]:
    """Without those that meet every criterion given; a number alone decides."""
    short = None if purpose is None else _PURPOSES.get(purpose, purpose)
    return tuple(
        p
        for p in profiles
        if not (
            p.id == number
            if number is not None
            else (
                (connector is None or p.connector == connector)
                and (short is None or p.purpose == short)
                and (stack is None or p.stack == stack)
            )
        )
    )


def ended(profiles: Sequence[Profile], transaction: str) -> tuple[Profile, ...]:
    """Without those of a transaction that is over."""
    return tuple(p for p in profiles if not p.transaction or p.transaction != transaction)


@dataclass(frozen=True, slots=True)
class Place:
    """What a schedule is worked out for: a connector, the transaction there and its wiring."""

    connector: int
    transaction: str = ""
    began_ms: int | None = None
    phases: int = 3
    volts: float = VOLTS


def limit_a(profiles: Iterable[Profile], place: Place, at_ms: int) -> float | None:
    """What all profiles together allow at this moment, A per phase; None: they do not limit it."""
    found: dict[str, tuple[tuple[int, int], float]] = {}
    for profile in profiles:
        if profile.connector not in (0, place.connector):
            continue
        if profile.purpose == "transaction" and profile.transaction != place.transaction:
            continue
        amps = _says(profile, place, at_ms)
        if amps is None:
            continue
        # The connector's own goes before the station's of the same level.
        rank = profile.stack, profile.connector
        if profile.purpose not in found or rank > found[profile.purpose][0]:
            found[profile.purpose] = rank, amps
    limits = [found[p][1] for p in ("max", "external") if p in found]
    for purpose in ("transaction", "default"):
        if purpose in found:
            limits.append(found[purpose][1])
            break
    return min(limits, default=None)


def _begin(profile: Profile, place: Place, at_ms: int) -> int | None:
    """When the run of its schedule that is on at this moment began."""
    if profile.kind == "Relative":
        # Counted from the transaction's start; without one, a maximum counts as just begun.
        return place.began_ms if place.began_ms is not None else at_ms
    if profile.start_ms is None:
        return place.began_ms if place.began_ms is not None else at_ms
    if profile.start_ms > at_ms:
        return None
    if profile.repeat_ms:
        return at_ms - (at_ms - profile.start_ms) % profile.repeat_ms
    return profile.start_ms


def _says(profile: Profile, place: Place, at_ms: int) -> float | None:
    if profile.from_ms is not None and at_ms < profile.from_ms:
        return None
    if profile.to_ms is not None and at_ms >= profile.to_ms:
        return None
    begin = _begin(profile, place, at_ms)
    if begin is None:
        return None
    since_s = (at_ms - begin) / 1000
    if profile.duration_s is not None and since_s >= profile.duration_s:
        return None
    now = max((p for p in profile.periods if p.start_s <= since_s), key=lambda p: p.start_s)
    if profile.unit == "A":
        return now.limit
    return now.limit / (place.volts * min(now.phases, place.phases))


def _edges(profile: Profile, place: Place, from_ms: int, to_ms: int) -> set[int]:
    edges = {ms for ms in (profile.from_ms, profile.to_ms, profile.start_ms) if ms is not None}
    begin = _begin(profile, place, from_ms)
    begins = [begin if begin is not None else profile.start_ms]
    if profile.repeat_ms and begins[0] is not None:
        while (last := begins[-1]) is not None and last + profile.repeat_ms < to_ms:
            begins.append(last + profile.repeat_ms)
    for one in begins:
        if one is None:
            continue
        edges.add(one)
        edges |= {one + p.start_s * 1000 for p in profile.periods}
        if profile.duration_s is not None:
            edges.add(one + profile.duration_s * 1000)
    return {ms for ms in edges if from_ms < ms < to_ms}


def composite(
    profiles: Sequence[Profile], place: Place, from_ms: int, seconds: int
) -> tuple[tuple[int, float | None], ...]:
    """The schedule all of them make together: (seconds after `from_ms`, A per phase or None)."""
    to_ms = from_ms + seconds * 1000
    edges = {from_ms}
    for profile in profiles:
        edges |= _edges(profile, place, from_ms, to_ms)
    steps: list[tuple[int, float | None]] = []
    for ms in sorted(edges):
        amps = limit_a(profiles, place, ms)
        if not steps or steps[-1][1] != amps:
            steps.append((-(-(ms - from_ms) // 1000), amps))
    return tuple(steps)
