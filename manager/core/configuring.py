"""What people set and ask for, taken into the site."""

from __future__ import annotations

from dataclasses import replace

from manager.core.events import Admitted, Configured, Foreseen, Wished
from manager.core.site import MAIN, Wants, changed
from manager.core.work import Work


def configured(work: Work, event: Configured) -> None:
    """New settings and limits, all at once."""
    site = work.site
    feeders = event.feeders or site.feeders
    places = site.places if event.places is None else event.places
    work.site = changed(
        site,
        settings=event.settings or site.settings,
        feeders=feeders,
        places={device: feeder for device, feeder in places.items() if feeder in feeders},
        failsafes=site.failsafes if event.failsafes is None else event.failsafes,
        priorities={**site.priorities, **event.priorities},
    )
    for name in event.priorities:
        if name in work.chargers:
            served_as(work, name)
    settle(work)
    work.must_share = True


def settle(work: Work) -> None:
    """Put every device where the feeders as they are now have a place for it."""
    work.places.clear()
    feeders = work.site.feeders
    for name, charger in work.chargers.items():
        feeder = work.site.places.get(name, charger.feeder)
        feeder = feeder if feeder in feeders else MAIN
        phases = tuple(p for p in charger.phases if p < feeders[feeder].phases) or (0,)
        if (feeder, phases) != (charger.feeder, charger.phases):
            work.chargers[name] = changed(charger, feeder=feeder, phases=phases)
    for name, meter in work.meters.items():
        feeder = work.site.places.get(name, meter.feeder)
        feeder = feeder if feeder in feeders else MAIN
        if feeder != meter.feeder:
            work.meters[name] = changed(meter, feeder=feeder)
    work.houses = {
        name: house
        for name, house in work.houses.items()
        if name in feeders and len(house.current_ma) == feeders[name].phases
    }


def wished(work: Work, event: Wished) -> None:
    """A wish for one charger, or none any more."""
    if event.device in work.chargers:
        charger = work.chargers[event.device]
        old, new = charger.wants, event.wants or Wants()
        wants = replace(
            new,
            user=old.user or new.user,
            rights_max_a=old.rights_max_a,
            priority=old.priority,
            barred=old.barred,
        )
        work.chargers[event.device] = changed(charger, wants=wants, asleep=False, idle_ms=-1)
        work.must_share = True


def admitted(work: Work, event: Admitted) -> None:
    """Who charges here, with which rights."""
    charger = work.chargers.get(event.device)
    if charger is None:
        return
    wants = replace(
        charger.wants,
        user=event.user,
        rights_max_a=event.max_a,
        priority=event.priority,
        barred=event.barred or "",
    )
    if not event.user:
        wants = replace(wants, rights_max_a=None, priority=None, barred="")
    if wants != charger.wants:
        work.chargers[event.device] = changed(charger, wants=wants)
        served_as(work, event.device)
        work.must_share = True


def foreseen(work: Work, event: Foreseen) -> None:
    """What the hours to come cost and emit."""
    site = work.site
    work.site = changed(
        site,
        prices=site.prices if event.prices is None else event.prices,
        carbon=site.carbon if event.carbon is None else event.carbon,
    )
    work.must_share = True


def served_as(work: Work, name: str) -> None:
    """Give a charger its class: that of who charges there, otherwise its own."""
    charger = work.chargers[name]
    own = charger.wants.priority
    priority = work.site.priorities.get(name, 0) if own is None else own
    if priority != charger.priority:
        work.chargers[name] = changed(charger, priority=priority)
