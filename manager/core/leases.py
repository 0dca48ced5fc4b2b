"""The lease law, stated once.

A lease lets a charger offer so many amperes for so many milliseconds, and has a number. It answers one message of the
charger, and its life is counted from the moment the charger sent that one. So a lease that answers a message which
arrived here at `a` is over at `a + ttl` at the latest, however long the network holds it back.

`worst_a` of a charger is the most its car may lawfully be drawing, now and until we send it something else:

1. every lease that may be in force counts, delivered or not, from the moment it is sent;
2. it counts until it is over and the car has had its time to follow, 5 s by IEC 61851-1 and one more for the charger;
3. a lower lease takes the place of the ones before it only when the charger has confirmed it and the car has had its
   time to follow; or at once, if the contactor was open as it confirmed; or as soon as the charger's own meter,
   having shown more than the new limit, shows no more than it;
4. a charger heard with a higher boot number has forgotten its leases: they count only for the time to follow;
5. the failsafe current counts always: a lease can run out, by a partition, before those given to others do;
6. a charger that goes by its own rule counts at all it says it may take, whatever its leases, over restarts of its
   own and of the manager's; and once it is led again, or takes less, for a lease's life still, for its car has yet
   to follow.

**Law: no lease is raised unless, with it, the sum of `worst_a` over all chargers on each phase of each feeder stays
within that feeder's headroom.** Lowering needs no leave.

What survives a restart of the manager: for each charger the highest limit, a number above every one sent and the boot
they answered, on disk before the lease is sent. After a restart that limit counts for a whole life of a lease. And
what a car may draw by its charger's own rule, on disk when it is heard.
"""

from __future__ import annotations

from typing import Any

from manager.core.site import Charger, Granted, changed

FOLLOW_MS = (
    6_000  # IEC 61851-1: a car follows its pilot within 5 s; and 1 s for the charger's own loop
)
_HIGHEST = 1 << 30  # a lease a second for 34 years
FIRST_NUMBER_BLOCK = 1_000  # lease numbers are set aside on disk in blocks, not one by one


def worst_a(charger: Charger, now_ms: int) -> int:
    """The most the car on this charger may lawfully be drawing, now or later, if it is sent nothing more. Whole A."""
    worst = charger.failsafe_a
    if charger.mode != "managed":
        worst = max(worst, own_a(charger))
    for lease in charger.granted:
        if lease.limit_a > worst and lease.ends_ms > now_ms:
            worst = lease.limit_a
    return worst


OWN_RULE = "own_rule"  # the note that `own_a` has changed: the disk is to hear of it


def own_a(charger: Charger) -> int:
    """What a car may be drawing that is charged by the charger's own rule; 0 for one that goes by leases.

    One that has not said how it is since it, or the manager, started again may have a car.
    """
    if charger.mode == "managed" or charger.state[:1] not in ("", "B", "C", "D"):
        return 0
    return charger.max_a if charger.cap_a is None else min(charger.max_a, charger.cap_a)


def led_again(charger: Charger, had_a: int, now_ms: int, ttl_ms: int) -> Charger:
    """The charger after it gave up its own rule, by which its car may have drawn `had_a`, or takes less by it."""
    if had_a == 0:
        return charger
    was = Granted(charger.boot, charger.number, had_a, now_ms + ttl_ms + FOLLOW_MS)
    return changed(charger, granted=(*charger.granted, was))


def known_worst_a(charger: Charger, now_ms: int) -> int:
    """The same without what an earlier manager may have granted: others wait for that, but are not cut for it."""
    worst = max(charger.failsafe_a, own_a(charger))
    for lease in charger.granted:
        if lease.number and lease.limit_a > worst and lease.ends_ms > now_ms:
            worst = lease.limit_a
    return worst


def with_lease(
    charger: Charger, limit_a: int, now_ms: int, ttl_ms: int
) -> tuple[dict[str, Any], bool]:
    """What changes of the charger with one more lease under way, answering its newest message; and whether the site
    must be kept on disk before the lease is sent. The caller has asked the law.
    """
    number = charger.number + 1
    ends = charger.heard_ms + ttl_ms + FOLLOW_MS
    keep = (
        number > charger.number_kept
        or limit_a > charger.kept_a
        or charger.boot != charger.boot_kept
    )
    kept_number = (
        number + FIRST_NUMBER_BLOCK if number > charger.number_kept else charger.number_kept
    )
    granted = (*charger.granted, Granted(charger.boot, number, limit_a, ends))
    return {
        "number": number,
        "number_kept": kept_number,
        "boot_kept": charger.boot,
        "kept_a": max(charger.kept_a, limit_a),
        "limit_a": limit_a,
        "sent_known": True,
        "sent_ms": now_ms,
        "until_ms": charger.heard_ms + ttl_ms,
        "anchor_ms": charger.heard_ms,
        "granted": _pruned(granted, now_ms),
    }, keep


def _pruned(granted: tuple[Granted, ...], now_ms: int) -> tuple[Granted, ...]:
    # A lease says nothing new beside one as high that lives as long and is as hard to supersede. What is left is a
    # staircase with at most one step for each limit sent in the last 21 s.
    newest = granted[-1]
    for g in granted:
        if g.limit_a > newest.limit_a or g.ends_ms > newest.ends_ms or g.boot > newest.boot:
            break
    else:
        return (newest,)
    if len(granted) == 2 and granted[0].limit_a > newest.limit_a and newest.ends_ms > now_ms:
        return granted if granted[0].ends_ms > now_ms else (newest,)  # a cut, most of the time
    kept: list[Granted] = []
    for one in sorted(granted, key=lambda g: (-g.limit_a, -g.number)):
        if one.ends_ms <= now_ms:
            continue
        for other in kept:
            if (
                other.ends_ms >= one.ends_ms
                and other.number >= one.number
                and other.boot >= one.boot
            ):
                break
        else:
            kept.append(one)
    return tuple(kept)


def heard(charger: Charger, boot: int, seq: int, now_ms: int) -> Charger:
    """The charger after any message of its: the next lease can answer this one, and a new boot ends old leases."""
    if (boot, seq) <= (charger.boot, charger.seq):
        return charger  # an older one, overtaken: it proves nothing that is not known
    granted = charger.granted
    confirmed = charger.confirmed
    if boot > charger.boot:
        over = now_ms + FOLLOW_MS
        granted = tuple(
            g._replace(ends_ms=min(g.ends_ms, over)) if g.boot < boot else g for g in granted
        )
        confirmed = 0
    return changed(
        charger,
        boot=boot,
        seq=seq,
        heard_ms=now_ms,
        granted=granted,
        confirmed=confirmed,
        online=True,
    )


def confirmed(charger: Charger, boot: int, number: int, contactor: bool, now_ms: int) -> Charger:
    """The charger after it said, in this boot, that `number` is the newest lease it goes by (0: none so far)."""
    over = now_ms if not contactor else now_ms + FOLLOW_MS
    granted = tuple(
        g._replace(ends_ms=min(g.ends_ms, over))
        if g.boot < boot or (g.boot == boot and g.number < number)
        else g
        for g in charger.granted
    )
    newer = boot == charger.boot and number > charger.confirmed
    if newer:
        charger = changed(charger, confirmed=number, confirmed_ms=now_ms)
    return changed(
        charger,
        granted=tuple(g for g in granted if g.ends_ms > now_ms),
        # A number nobody can outbid was never a manager's; the charger must start again to be led.
        number=max(charger.number, number) if number < _HIGHEST else charger.number,
        drew_above_ma=0 if newer else charger.drew_above_ma,
        loads_since=0 if newer else charger.loads_since,
    )


def drop_seen(charger: Charger, drawn_ma: int, now_ms: int) -> Charger:
    """The charger after its own meter showed `drawn_ma` (highest phase).

    If it was seen, after it confirmed its limit, to draw more than that and now no longer does, the
    car has followed; what was superseded is over. A car that happens to draw little proves nothing:
    it may still climb to the old limit within its time to follow. Nor does what the meter, late as
    it is, shows of the time before.
    """
    peak = charger.drew_above_ma
    loads = charger.loads_since + 1
    # The network may hold a reading back, so time here proves nothing alone: a charger sends one a
    # second at most, and this many after its confirmation its meter shows nothing older than that.
    if loads > METER_LAG_LOADS and now_ms - charger.confirmed_ms > METER_LAG_MS:
        peak = max(peak, drawn_ma)
    if charger.confirmed and charger.confirmed == charger.number:
        limit_ma = charger.limit_a * 1000
        if drawn_ma <= limit_ma + _SEEN_MA < peak:
            return changed(
                charger,
                granted=tuple(
                    g
                    for g in charger.granted
                    if g.boot == charger.boot and g.number >= charger.confirmed
                ),
                drew_above_ma=drawn_ma,
                loads_since=loads,
            )
    return changed(charger, drew_above_ma=peak, loads_since=loads)


METER_LAG_LOADS = 3
METER_LAG_MS = 2_650  # PZEM-004T v3: a step is shown wholly by then
_SEEN_MA = 300  # the meter's and the car's inaccuracy: a car offered 12 A may draw a little above


def unknown(charger: Charger, now_ms: int, ttl_ms: int) -> Charger:
    """A charger the site has no record of: it may hold a lease of a manager that lost its memory."""
    lease = Granted(charger.boot, 0, charger.max_a, now_ms + ttl_ms + FOLLOW_MS)
    return changed(charger, granted=(lease,))


def restored(charger: Charger, now_ms: int, ttl_ms: int) -> Charger:
    """The charger as the disk has it, at the start of a manager: its highest lease may have been sent a moment ago."""
    granted: tuple[Granted, ...] = ()
    if charger.kept_a:
        ends = now_ms + ttl_ms + FOLLOW_MS
        granted = (Granted(charger.boot, charger.number_kept, charger.kept_a, ends),)
    return changed(
        charger,
        number=charger.number_kept,
        boot_kept=charger.boot,
        granted=granted,
        limit_a=charger.kept_a,
        sent_known=False,
        online=False,
        heard_ms=now_ms - 1_000_000,
        sent_ms=now_ms - 1_000_000,
        until_ms=now_ms - 1_000_000,
        anchor_ms=now_ms - 1_000_000,
    )


def may_raise(
    room_ma: dict[tuple[str, int], int],
    keys: tuple[tuple[str, int], ...],
    worst: int,
    limit_a: int,
) -> bool:
    """The law for one lease: whether every (feeder, phase) in `keys` has room for it.

    `room_ma` is headroom less the sum of `worst_a`, whole site, before this lease; `worst` is this charger's.
    """
    more = max(0, limit_a - worst) * 1000
    return all(room_ma[key] >= more for key in keys)


def raise_to(
    room_ma: dict[tuple[str, int], int],
    keys: tuple[tuple[str, int], ...],
    worst: int,
    wanted_a: int,
) -> int:
    """The most, up to `wanted_a`, that `may_raise` allows; 0 if a sum is above its headroom already."""
    room = min(room_ma[key] for key in keys)
    if room < 0:
        return 0
    return min(wanted_a, worst + room // 1000)
