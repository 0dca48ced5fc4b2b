"""Leases on their way: cuts at once, rises as far as the law allows, renewals in time."""

from __future__ import annotations

from manager.core import leases
from manager.core.commands import Send
from manager.core.reasons import Reason
from manager.core.rooms import by_key
from manager.core.site import Charger, changed
from manager.core.work import Work
from shared import protocol

RESEND_MS = 2_000  # a cut that was not confirmed is sent again
ANCHOR_WORTH_MS = 1_500  # a renewal that would live no longer than this is not worth sending


def send(work: Work, among: list[Charger]) -> None:
    """Cuts at once; rises as far as the law allows; renewals in time."""
    now = work.now
    settings = work.site.settings
    cuts: list[Charger] = []
    rises: list[Charger] = []
    for charger in among:
        if not work.obeys(charger):
            continue
        if charger.heard_ms + settings.ttl_ms - now < ANCHOR_WORTH_MS:
            continue
        if charger.target_a > still_has(work, charger):
            rises.append(charger)
        elif charger.target_a < charger.limit_a or due(work, charger):
            cuts.append(charger)
    keep = False
    wait = False
    for charger in cuts:
        keep |= lease(work, charger, charger.target_a)
    if rises and work.only is not None and work.large and not work.must_share:
        # What everybody may draw is added up for a rise: on a large site four times a second, not at
        # every word of every charger.
        rises = []
    if rises:
        left = by_key(work.site)
        for charger in work.chargers.values():
            worst = leases.worst_a(charger, now)
            if worst:
                for key in work.keys(charger):
                    left[key] -= worst * 1000
        known = {
            name
            for name, house in work.houses.items()
            if house.resolved_ms >= 0 or house.grade == "unmeasured"
        }
        for charger in sorted(rises, key=lambda c: (c.priority, c.limit_a > 0, c.order)):
            keys = work.keys(charger)
            worst = leases.worst_a(charger, now)
            have = still_has(work, charger)
            limit = 0
            if all(k[0] in known for k in keys):
                limit = leases.raise_to(left, keys, worst, charger.target_a)
            raised = limit >= charger.min_a and limit > have
            if not raised:
                limit = have
            reason = charger.target_reason
            if limit < charger.target_a:
                wait = True
                reason = Reason("raise_waits", {"offer_a": limit, "target_a": charger.target_a})
            if reason != charger.reason:
                work.chargers[charger.id] = changed(charger, reason=reason)
            if raised:
                for key in keys:
                    left[key] -= max(0, limit - worst) * 1000
                keep |= lease(work, charger, limit)
            elif charger.sent_known and due(work, charger):
                keep |= lease(work, charger, limit)
    if len(among) == len(work.chargers) and wait != work.site.rises_wait:
        work.site = changed(work.site, rises_wait=wait)
    if keep:
        # All of the site is about to be on disk: what is there covers what may be in force now, and no more.
        for name, charger in work.chargers.items():
            kept = max((g.limit_a for g in charger.granted), default=0)
            if kept != charger.kept_a:
                work.chargers[name] = changed(charger, kept_a=kept)


def still_has(work: Work, charger: Charger) -> int:
    """What a lease may say without being a rise: the last one, unless that is over or was lost in a restart."""
    if not charger.sent_known:
        return 0
    return min(charger.limit_a, leases.worst_a(charger, work.now))


def due(work: Work, charger: Charger) -> bool:
    """Whether the lease as it stands is to be sent once more."""
    settings = work.site.settings
    unconfirmed = charger.confirmed < charger.number
    if work.now - charger.sent_ms >= (RESEND_MS if unconfirmed else settings.renew_ms):
        return True
    # The last renewal answered an old message and will not live long; there is a newer one to answer now.
    return (
        charger.until_ms - work.now < settings.ttl_ms - settings.renew_ms - 500
        and charger.heard_ms - charger.anchor_ms >= ANCHOR_WORTH_MS
    )


def lease(work: Work, charger: Charger, limit_a: int) -> bool:
    """Send one lease; whether the disk must hear of it first."""
    charger = work.chargers[charger.id]
    fields, keep = leases.with_lease(charger, limit_a, work.now, work.site.settings.ttl_ms)
    charger = work.change(charger, fields)
    work.commands.append(
        Send(
            charger.id,
            {
                "code": protocol.AVAILABLE_LOAD,
                "re_boot": charger.boot,
                "re_seq": charger.seq,
                "limit_a": limit_a,
                "ttl_ms": work.site.settings.ttl_ms,
                "lease": charger.number,
                "reason": charger.reason.kind,
            },
            keep,
        )
    )
    return keep
