"""What devices say, taken into the site: announcements, readings, states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from manager.core import headroom, laxity, leases, registration
from manager.core.commands import Note, Send
from manager.core.site import Charger, Habits, Meter, Reading, Wants, changed
from manager.core.work import FAR_MS, Work, plugged, ready, usable_a
from shared import protocol

DRAWS_MA = 1_000  # no charger takes that for itself
GIVE_BACK_MA = (
    1_500  # drawing less than offered by this much gives the difference to others, in time
)


def announced(work: Work, topic: str, message: Mapping[str, Any]) -> None:
    """A device presents itself; it is told what became of it."""
    work.site, result, words = registration.announce(work.site, topic, message, work.now)
    work.take_up()
    work.places.clear()
    name = str(message.get("id", ""))
    # It may come back with other phases or another limit.
    if work.large and name in work.chargers:
        # A thousand may come back at once: they are shared among at the next tick, and until then
        # what they may be drawing counts.
        work.site = changed(work.site, shared_ms=work.now - FAR_MS)
        work.only = name
    else:
        work.must_share = True
    reply(work, name, message, result, words)
    if name in work.meters:
        work.meters[name] = changed(work.meters[name], pace="")
    charger = work.chargers.get(name)
    if result == protocol.OK and charger is not None and not charger.meter:
        above = work.site.above(charger.feeder)
        if any(m.role in ("grid", "feeder") and m.feeder in above for m in work.meters.values()):
            unmeasured = "no meter of its own: it is taken to draw what it is offered"
            work.commands.append(Note("unmeasured", name, unmeasured))
    work.commands.append(Note("announced" if result == protocol.OK else "refused", name, words))


def reply(work: Work, device: str, message: Mapping[str, Any], result: int, words: str) -> None:
    """Answer one message of a device: a result code of the wire and words."""
    work.commands.append(
        Send(
            device,
            {
                "code": protocol.REPLY,
                "re_boot": message.get("boot", 0),
                "re_seq": message.get("seq", 0),
                "result": result,
                "words": words,
            },
        )
    )


def presence(work: Work, device: str, online: bool) -> None:
    """The broker says that a device is there, or gone."""
    # Being there again is not being heard: only a message can be answered by a lease.
    if device in work.chargers:
        charger = work.chargers[device]
        if not online and charger.online:
            work.commands.append(Note("offline", device, "gone, says the broker"))
            work.chargers[device] = changed(charger, online=False)
            work.must_share = True
    elif device in work.meters and work.meters[device].online != online:
        work.meters[device] = changed(work.meters[device], online=online)
        work.commands.append(Note("online" if online else "offline", device, ""))


def report(work: Work, device: str, message: Mapping[str, Any]) -> None:
    """Any message of a device that has announced itself."""
    if device in work.meters:
        meter_report(work, work.meters[device], message)
    elif device in work.chargers:
        charger_report(work, work.chargers[device], message)
    else:
        reply(work, device, message, protocol.UNKNOWN_DEVICE, "Unknown device: announce yourself")


def meter_report(work: Work, meter: Meter, message: Mapping[str, Any]) -> None:
    """A reading or a state of a meter; one that was overtaken is dropped."""
    boot, seq = message["boot"], message["seq"]
    if (boot, seq) <= (meter.boot, meter.seq):
        return
    meter = changed(meter, boot=boot, seq=seq, heard_ms=work.now, online=True)
    code = message["code"]
    if code == protocol.COUNTER_LOAD:
        at = work.now - message["age_ms"]
        signed = tuple(
            -ma if w < 0 else ma
            for ma, w in zip(message["current_ma"], message["power_w"], strict=False)
        )
        meter = changed(
            meter,
            readings=headroom.remembered(meter.readings, Reading(at, signed), work.now),
            power_w=tuple(message["power_w"]),
        )
        work.meters[meter.id] = meter
        measure(work, meter.feeder)
        learn(work, meter.feeder)
        work.room_stale = work.measures = True
        work.must_share = work.site.settings.update_interval_ms == 0
        if work.large and not work.must_share and work.site.headroom_ma:
            # A hundred meters' readings are a hundred a second: each is held against its own
            # feeders; what time alone changes on the others is seen at the next tick.
            work.at_stake = work.site.above(meter.feeder)
    elif code == protocol.COUNTER_STATUS:
        if meter.state != message["state"]:
            work.commands.append(Note("meter_state", meter.id, message["state"]))
        meter = changed(meter, state=message["state"])
    elif code == protocol.DEL_COUNTER:
        meter = changed(meter, online=False)
        work.commands.append(Note("leaves", meter.id, message["reason"]))
    work.meters[meter.id] = meter


def measure(work: Work, *feeders: str) -> None:
    """Work out anew what the house draws on these feeders and on those above them."""
    for name in dict.fromkeys(n for feeder in feeders for n in work.site.above(feeder)):
        work.houses[name] = headroom.measured(
            work.site, name, work.meters.values(), work.chargers, work.now
        )


def learn(work: Work, feeder: str) -> None:
    """Add what the house draws now to its minutes' peaks and to its habits."""
    house = work.houses[feeder]
    peaks = laxity.with_peak(house.peaks, house.current_ma, work.now)
    habits = work.site.habits.get(feeder, Habits())
    if peaks is not house.peaks:
        work.houses[feeder] = changed(house, peaks=peaks)
        if house.peaks and peaks[-1][0] != house.peaks[-1][0]:
            most = [(at, max(ma)) for at, ma in peaks[-4:]]
            rises = laxity.learned_rises(habits.rises, most, work.site.minute)
            habits = replace(habits, rises=rises)
    habits = headroom.learned(
        habits,
        work.site.minute,
        max(work.houses[feeder].current_ma),
        work.now,
    )
    if habits is not work.site.habits.get(feeder):
        work.site = changed(work.site, habits={**work.site.habits, feeder: habits})


def charger_report(work: Work, charger: Charger, message: Mapping[str, Any]) -> None:
    """A message of a charger: each can be answered by the next lease."""
    boot, seq = message["boot"], message["seq"]
    if (boot, seq) <= (charger.boot, charger.seq):
        return
    rebooted = boot > charger.boot
    first = charger.state == ""
    charger = leases.heard(charger, boot, seq, work.now)
    code = message["code"]
    if code == protocol.CHARGER_STATUS:
        number = message["lease"]
        if first and number == 0 and charger.number == 0:
            charger = changed(
                charger, granted=()
            )  # no manager ever gave it anything since its start
        charger = status(
            work,
            leases.confirmed(charger, boot, number, bool(message["contactor"]), work.now),
            message,
        )
    elif code == protocol.CHARGER_LOAD:
        charger = load(work, charger, message)
    elif code == protocol.DEL_CHARGER:
        charger = changed(charger, online=False)
        work.commands.append(Note("leaves", charger.id, message["reason"]))
        work.must_share = True
    elif code == protocol.FAULT:
        work.commands.append(
            Note(
                "fault",
                charger.id,
                message["fault"] if message["active"] else f"{message['fault']} is over",
                {"active": message["active"]},
            )
        )
    if rebooted:
        work.commands.append(Note("restarted", charger.id, "", {"boot": boot}))
    work.chargers[charger.id] = charger
    work.only = charger.id


def status(work: Work, charger: Charger, message: Mapping[str, Any]) -> Charger:
    """The charger as it says it is; a change that concerns others has all shared anew."""
    before = plugged(charger), ready(charger)
    state = message["state"]
    if state[0] == "F" and not message["faults"] and charger.state:
        # A self-test or a car being woken up: over in seconds. To take the lease away for it
        # would end it, and begin it anew with the next lease.
        state = charger.state
    closed = bool(message["contactor"])
    moved = state[0] != charger.state[:1]
    now = changed(
        charger,
        state=state,
        contactor=closed,
        contactor_ms=charger.contactor_ms if closed == charger.contactor else work.now,
        mode=message["mode"],
        cap_a=message.get("cap_a"),
        authorised=bool(message.get("authorised", 1)),
        faults=tuple(message["faults"]),
        offer_a=message["offer_a"],
    )
    now = by_own_rule(work, charger, now)
    if moved:
        if state[0] in "CD":
            now = changed(now, asleep=False, idle_ms=-1)
        elif state == "B2" and charger.state[:1] in ("C", "D"):
            # It has had enough, for it was still offered current; C again wakes it.
            now = changed(now, asleep=True, low_ms=-1)
        elif state[0] == "A":
            now = changed(now, asleep=False, idle_ms=-1, low_ms=-1, urgent=False)
            if charger.state:  # what its driver wanted goes with the car
                own = work.site.priorities.get(charger.id, 0)
                now = changed(now, wants=Wants(), priority=own)
        work.commands.append(Note("state", charger.id, state))
    if ready(now) and not before[1]:
        now = changed(now, asked_ms=work.now)
    if (
        (plugged(now), ready(now)) != before
        or moved
        or now.mode != charger.mode
        or now.cap_a != charger.cap_a
    ):
        work.must_share = True
    return now


def by_own_rule(work: Work, before: Charger, charger: Charger) -> Charger:
    """The charger after what its car may draw by its own rule has changed, or not."""
    had_a, own_a = leases.own_a(before), leases.own_a(charger)
    if own_a == had_a:
        return charger
    words = (
        f"may take up to {own_a} A by its own rule" if own_a else "takes nothing by its own rule"
    )
    work.commands.append(Note(leases.OWN_RULE, charger.id, words, {"own_a": own_a}))
    if own_a < had_a and plugged(charger):
        return leases.led_again(charger, had_a, work.now, work.site.settings.ttl_ms)
    return charger


def load(work: Work, charger: Charger, message: Mapping[str, Any]) -> Charger:
    """A reading of the charger's own meter."""
    current = tuple(
        -ma if w < 0 else ma
        for ma, w in zip(message["current_ma"], message["power_w"], strict=False)
    )
    reading = Reading(work.now - message["age_ms"], current)
    drawn = max(current)
    charger = leases.drop_seen(charger, drawn, work.now)
    if not charger.state and drawn >= DRAWS_MA:
        # After a manager's start its state may be ten seconds off; that it charges is plain.
        charger = changed(charger, state="C2", contactor=True)
        work.must_share = True
    low_ms, peak = charger.low_ms, charger.low_peak_ma
    if charger.limit_a and drawn < charger.limit_a * 1000 - GIVE_BACK_MA:
        low_ms, peak = (work.now, drawn) if low_ms < 0 else (low_ms, max(peak, drawn))
    elif drawn >= min(charger.limit_a * 1000 - 500, usable_a(charger) * 1000 - 500):
        low_ms, peak = -1, 0
    else:
        peak = max(peak, drawn)
    return changed(
        charger,
        readings=headroom.remembered(charger.readings, reading, work.now),
        session_wh=message.get("session_wh", charger.session_wh),
        low_ms=low_ms,
        low_peak_ma=peak,
    )
