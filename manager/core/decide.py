"""`decide`: one event, one next site, and what to send. The only door into the core.

    site, commands = decide(site, event, now_ms)

Contract
- Pure: the same site, event and time give the same result. No clock, no randomness, no I/O. The site passed in is
  unchanged. Chargers and meters keep the order in which they registered.
- `now_ms` is a monotonic clock in whole milliseconds and never goes back between calls.
- Events are those of `manager.core.events`. Messages are plain dicts as `shared.protocol` decodes them, with code, boot
  and seq, their signature and freshness already checked; the core checks sense, not form. `Announced` is for what comes
  on "hello/new" and "<counter>/new"; `Report` for everything on "<device>/up", also from devices the core does not know
  (it then asks them, by a reply with result UNKNOWN_DEVICE, to announce themselves).
- `Tick` at least once a second (every 250 ms keeps rises prompt): leases are renewed, readings grow old, turns end.
- Commands are to be done in order. `Send` with `keep_first`: put `plain.site_to_plain(site)` on disk before publishing.
  A message that cannot be published now is thrown away, never queued: the next tick sends a newer one.
- `Send.message` holds code and all fields but boot and seq; re_boot and re_seq are set.
- For CLI, page and MQTT, each charger in `site.chargers` carries `limit_a` (newest lease), `offer_a` (what its pilot
  shows), `target_a` (its share), `worst_a` (what it is counted at) and `reason`; `site.houses[feeder]` what the house
  draws and how that is known (`grade`); `site.headroom_ma[feeder]` what is left for cars, per phase.
- At start: `plain.site_from_plain(data, now_ms)` if there is a file, otherwise a `Site` as the site file says; then
  `Configured` for what the site file has changed since.
"""

from __future__ import annotations

from manager.core import calm, configuring, heard, leases, registration, rooms, sending, shares
from manager.core.commands import Command, Note
from manager.core.events import (
    Admitted,
    Announced,
    Configured,
    Event,
    Foreseen,
    Forget,
    Offline,
    Online,
    Report,
    Tick,
    Wished,
)
from manager.core.site import Site, changed
from manager.core.work import FAR_MS, Work

SHARE_MS = 1_000
START_MS = 6_000  # a meter is read every second or two; leases live longer


def decide(site: Site, event: Event, now_ms: int) -> tuple[Site, list[Command]]:
    """The site after `event`, and the commands that follow from it; see the module's contract."""
    work = Work(site, now_ms)
    match event:
        case Report():
            heard.report(work, event.device, event.message)
        case Tick():
            _tick(work, event)
        case Announced():
            heard.announced(work, event.topic, event.message)
        case Offline() | Online():
            heard.presence(work, event.device, isinstance(event, Online))
        case Configured():
            configuring.configured(work, event)
        case Wished():
            configuring.wished(work, event)
        case Admitted():
            configuring.admitted(work, event)
        case Foreseen():
            configuring.foreseen(work, event)
        case Forget():
            work.site, why = registration.forget(work.site, event.device, now_ms)
            work.take_up()
            work.must_share = True
            work.commands.append(Note("stays" if why else "forgotten", event.device, why))
    return _done(work)


def _tick(work: Work, event: Tick) -> None:
    work.ticks = True
    work.site = changed(work.site, minute=event.minute, utc_s=event.utc_s)
    heard.measure(work, *dict.fromkeys(m.feeder for m in work.meters.values()))
    work.room_stale = True
    # What changes with time alone, turns and rests, can wait a second; what is heard is acted on then.
    if work.now - work.site.shared_ms >= max(SHARE_MS, work.site.settings.update_interval_ms):
        work.must_share = True


def _done(work: Work) -> tuple[Site, list[Command]]:
    if work.must_share or (work.only is None and work.at_stake is None):
        calm.pace(work)
    rooms.left_for_cars(work)
    if not _begins(work):
        _led(work)
    return (
        changed(work.site, chargers=work.chargers, meters=work.meters, houses=work.houses),
        work.commands,
    )


def _begins(work: Work) -> bool:
    """Whether a manager has only just started and has yet to hear its meters and charging cars.

    Until then it says nothing: leases of a moment ago go on, and a car is not stopped for the time
    it takes a meter to speak. What a car of which nothing was heard draws would pass for the house's.
    """
    if work.now - work.site.started_ms >= START_MS:
        return False
    houses = work.houses
    return any(
        m.role != "solar" and (m.feeder not in houses or houses[m.feeder].read_ms < 0)
        for m in work.meters.values()
    ) or any(
        c.heard_ms < work.site.started_ms or (c.meter and not c.readings)
        for c in work.chargers.values()
        if leases.worst_a(c, work.now) > 0
    )


def _led(work: Work) -> None:
    large = work.large
    if work.now - work.site.shared_ms >= FAR_MS:
        work.must_share = True  # a charger without a share yet is not one whose share is nothing
    only = work.only
    if only is not None:
        among = [work.chargers[only]]
    elif large and work.measures:
        among = []  # what is due is sent at the next tick
    else:
        among = list(work.chargers.values())
    overload = (only is None or work.room_stale) and rooms.overloaded(work)
    if large and work.must_share and not overload and not work.ticks:
        # A thousand may come back at once after a power cut: they are shared among four times a
        # second, not a thousand times over.
        work.must_share = False
        work.site = changed(work.site, shared_ms=work.now - FAR_MS)
    if work.must_share or overload:
        shares.share(work, rooms.by_key(work.site))
        work.site = changed(work.site, shared_ms=work.now)
        among = list(work.chargers.values())
    elif work.site.rises_wait and not (large and not work.ticks):
        among = list(work.chargers.values())
    sending.send(work, among)
    for one in among:
        charger = work.chargers[one.id]
        worst = leases.worst_a(charger, work.now)
        if worst == charger.worst_a:
            continue
        fallen: dict[str, int] = {}
        if worst < charger.worst_a:
            lately = charger.was_a if work.now < charger.was_until_ms else 0
            fallen = {"was_a": max(lately, charger.worst_a), "was_until_ms": work.now + 4_000}
        work.change(charger, {"worst_a": worst, **fallen})
