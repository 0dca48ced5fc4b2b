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

from collections.abc import Mapping
from math import ceil
from typing import Any

from manager.core import explain, headroom, laxity, leases, registration, sharing
from manager.core.commands import Command, Note, Send
from manager.core.events import (
    Announced,
    Configured,
    Event,
    Forget,
    Offline,
    Online,
    Report,
    Tick,
    Wished,
)
from manager.core.reasons import Reason
from manager.core.site import MAIN, Charger, Habits, House, Meter, Reading, Site, Wants, changed
from shared import protocol

SILENT_MS = 12_000  # a charger speaks every 10 s at least, and at once when it gets a lease, which is every 5 s
ASLEEP_MS = 60_000  # offered current for so long without taking any
GIVE_BACK_MS = 60_000  # drawing less than offered for so long gives the difference to others
GIVE_BACK_MA = 1_500  # less by this much
RESEND_MS = 2_000  # a cut that was not confirmed is sent again
ANCHOR_WORTH_MS = 1_500  # a renewal that would live no longer than this is not worth sending

Key = tuple[str, int]


def decide(site: Site, event: Event, now_ms: int) -> tuple[Site, list[Command]]:
    """The site after `event`, and the commands that follow from it; see the module's contract."""
    work = _Work(site, now_ms)
    match event:
        case Report():
            work.report(event.device, event.message)
        case Tick():
            work.tick(event)
        case Announced():
            work.announced(event.topic, event.message)
        case Offline() | Online():
            work.presence(event.device, isinstance(event, Online))
        case Configured():
            work.configured(event)
        case Wished():
            work.wished(event)
        case Forget():
            work.site, why = registration.forget(work.site, event.device, now_ms)
            work.take_up()
            work.must_share = True
            work.commands.append(Note("stays" if why else "forgotten", event.device, why))
    return work.done()


class _Work:
    """The site while one event is worked on: chargers and meters in copies that may change."""

    def __init__(self, site: Site, now_ms: int) -> None:
        self.now = now_ms
        self.site = site
        self.commands: list[Command] = []
        self.must_share = False  # shares are to be worked out now
        self.only: str | None = None  # nothing but this charger's renewal can be due
        self.places: dict[tuple[str, tuple[int, ...]], tuple[Key, ...]] = {}
        self.room_stale = False  # what is left for cars may have changed
        self.take_up()

    def take_up(self) -> None:
        self.chargers: dict[str, Charger] = dict(self.site.chargers)
        self.meters: dict[str, Meter] = dict(self.site.meters)
        self.houses: dict[str, House] = dict(self.site.houses)

    # --- events --------------------------------------------------------------------------------

    def announced(self, topic: str, message: Mapping[str, Any]) -> None:
        self.site, result, words = registration.announce(self.site, topic, message, self.now)
        self.take_up()
        self.places.clear()
        self.must_share = True  # it may come back with other phases or another limit
        name = str(message.get("id", ""))
        self.reply(name, message, result, words)
        charger = self.chargers.get(name)
        if result == protocol.OK and charger is not None and not charger.meter:
            above = self.site.above(charger.feeder)
            if any(
                m.role in ("grid", "feeder") and m.feeder in above for m in self.meters.values()
            ):
                unmeasured = "no meter of its own: it is taken to draw what it is offered"
                self.commands.append(Note("unmeasured", name, unmeasured))
        self.commands.append(
            Note("announced" if result == protocol.OK else "refused", name, words)
        )

    def reply(self, device: str, message: Mapping[str, Any], result: int, words: str) -> None:
        self.commands.append(
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

    def presence(self, device: str, online: bool) -> None:
        # Being there again is not being heard: only a message can be answered by a lease.
        if device in self.chargers:
            charger = self.chargers[device]
            if not online and charger.online:
                self.commands.append(Note("offline", device, "gone, says the broker"))
                self.chargers[device] = changed(charger, online=False)
                self.must_share = True
        elif device in self.meters and self.meters[device].online != online:
            self.meters[device] = changed(self.meters[device], online=online)
            self.commands.append(Note("online" if online else "offline", device, ""))

    def configured(self, event: Configured) -> None:
        site = self.site
        feeders = event.feeders or site.feeders
        places = site.places if event.places is None else event.places
        self.site = changed(
            site,
            settings=event.settings or site.settings,
            feeders=feeders,
            places={device: feeder for device, feeder in places.items() if feeder in feeders},
            failsafes=site.failsafes if event.failsafes is None else event.failsafes,
            priorities={**site.priorities, **event.priorities},
        )
        for name, priority in event.priorities.items():
            if name in self.chargers:
                self.chargers[name] = changed(self.chargers[name], priority=priority)
        self.settle()
        self.must_share = True

    def settle(self) -> None:
        """Put every device where the feeders as they are now have a place for it."""
        self.places.clear()
        feeders = self.site.feeders
        for name, charger in self.chargers.items():
            feeder = self.site.places.get(name, charger.feeder)
            feeder = feeder if feeder in feeders else MAIN
            phases = tuple(p for p in charger.phases if p < feeders[feeder].phases) or (0,)
            if (feeder, phases) != (charger.feeder, charger.phases):
                self.chargers[name] = changed(charger, feeder=feeder, phases=phases)
        for name, meter in self.meters.items():
            feeder = self.site.places.get(name, meter.feeder)
            feeder = feeder if feeder in feeders else MAIN
            if feeder != meter.feeder:
                self.meters[name] = changed(meter, feeder=feeder)
        self.houses = {
            name: house
            for name, house in self.houses.items()
            if name in feeders and len(house.current_ma) == feeders[name].phases
        }

    def wished(self, event: Wished) -> None:
        if event.device in self.chargers:
            charger = self.chargers[event.device]
            self.chargers[event.device] = changed(
                charger, wants=event.wants or Wants(), asleep=False, idle_ms=-1
            )
            self.must_share = True

    def tick(self, event: Tick) -> None:
        self.site = changed(self.site, minute=event.minute, utc_s=event.utc_s)
        for feeder in {m.feeder for m in self.meters.values()}:
            self.measure(feeder)
        self.room_stale = True
        if self.now - self.site.shared_ms >= self.site.settings.update_interval_ms:
            self.must_share = True

    def report(self, device: str, message: Mapping[str, Any]) -> None:
        if device in self.meters:
            self.meter_report(self.meters[device], message)
        elif device in self.chargers:
            self.charger_report(self.chargers[device], message)
        else:
            self.reply(
                device, message, protocol.UNKNOWN_DEVICE, "Unknown device: announce yourself"
            )

    def meter_report(self, meter: Meter, message: Mapping[str, Any]) -> None:
        boot, seq = message["boot"], message["seq"]
        if (boot, seq) <= (meter.boot, meter.seq):
            return
        meter = changed(meter, boot=boot, seq=seq, heard_ms=self.now, online=True)
        code = message["code"]
        if code == protocol.COUNTER_LOAD:
            at = self.now - message["age_ms"]
            signed = tuple(
                -ma if w < 0 else ma
                for ma, w in zip(message["current_ma"], message["power_w"], strict=False)
            )
            meter = changed(
                meter,
                readings=headroom.remembered(meter.readings, Reading(at, signed), self.now),
                power_w=tuple(message["power_w"]),
            )
            self.meters[meter.id] = meter
            self.measure(meter.feeder)
            self.learn(meter.feeder)
            self.room_stale = True
            self.must_share = self.site.settings.update_interval_ms == 0
        elif code == protocol.COUNTER_STATUS:
            if meter.state != message["state"]:
                self.commands.append(Note("meter_state", meter.id, message["state"]))
            meter = changed(meter, state=message["state"])
        elif code == protocol.DEL_COUNTER:
            meter = changed(meter, online=False)
            self.commands.append(Note("leaves", meter.id, message["reason"]))
        self.meters[meter.id] = meter

    def measure(self, feeder: str) -> None:
        for name in self.site.above(feeder):
            self.houses[name] = headroom.measured(
                self.site, name, self.meters.values(), self.chargers, self.now
            )

    def learn(self, feeder: str) -> None:
        house = self.houses[feeder]
        peaks = laxity.with_peak(house.peaks, house.current_ma, self.now)
        if peaks is not house.peaks:
            self.houses[feeder] = changed(house, peaks=peaks)
        habits = headroom.learned(
            self.site.habits.get(feeder, Habits()),
            self.site.minute,
            max(self.houses[feeder].current_ma),
            self.now,
        )
        if habits is not self.site.habits.get(feeder):
            self.site = changed(self.site, habits={**self.site.habits, feeder: habits})

    def charger_report(self, charger: Charger, message: Mapping[str, Any]) -> None:
        boot, seq = message["boot"], message["seq"]
        if (boot, seq) <= (charger.boot, charger.seq):
            return
        rebooted = boot > charger.boot
        first = charger.state == ""
        charger = leases.heard(charger, boot, seq, self.now)
        code = message["code"]
        if code == protocol.CHARGER_STATUS:
            number = message["lease"]
            if first and number == 0 and charger.number == 0:
                charger = changed(
                    charger, granted=()
                )  # no manager ever gave it anything since its start
            charger = self.status(
                leases.confirmed(charger, boot, number, bool(message["contactor"]), self.now),
                message,
            )
        elif code == protocol.CHARGER_LOAD:
            charger = self.load(charger, message)
        elif code == protocol.DEL_CHARGER:
            charger = changed(charger, online=False)
            self.commands.append(Note("leaves", charger.id, message["reason"]))
            self.must_share = True
        elif code == protocol.FAULT:
            self.commands.append(
                Note("fault", charger.id, message["fault"], {"active": message["active"]})
            )
        if rebooted:
            self.commands.append(Note("restarted", charger.id, "", {"boot": boot}))
        self.chargers[charger.id] = charger
        self.only = charger.id

    def status(self, charger: Charger, message: Mapping[str, Any]) -> Charger:
        before = _plugged(charger), _ready(charger)
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
            contactor_ms=charger.contactor_ms if closed == charger.contactor else self.now,
            mode=message["mode"],
            cap_a=message.get("cap_a"),
            authorised=bool(message.get("authorised", 1)),
            faults=tuple(message["faults"]),
            offer_a=message["offer_a"],
        )
        if moved:
            if state[0] in "CD":
                now = changed(now, asleep=False, idle_ms=-1)
            elif state == "B2" and charger.state[:1] in ("C", "D"):
                # It has had enough, for it was still offered current; C again wakes it.
                now = changed(now, asleep=True, low_ms=-1)
            elif state[0] == "A":
                now = changed(now, asleep=False, idle_ms=-1, low_ms=-1, urgent=False)
            self.commands.append(Note("state", charger.id, state))
        if _ready(now) and not before[1]:
            now = changed(now, asked_ms=self.now)
        if (
            (_plugged(now), _ready(now)) != before
            or moved
            or now.mode != charger.mode
            or now.cap_a != charger.cap_a
        ):
            self.must_share = True
        return now

    def load(self, charger: Charger, message: Mapping[str, Any]) -> Charger:
        current = tuple(
            -ma if w < 0 else ma
            for ma, w in zip(message["current_ma"], message["power_w"], strict=False)
        )
        reading = Reading(self.now - message["age_ms"], current)
        drawn = max(current)
        charger = leases.drop_seen(charger, drawn, self.now)
        low_ms, peak = charger.low_ms, charger.low_peak_ma
        if charger.limit_a and drawn < charger.limit_a * 1000 - GIVE_BACK_MA:
            low_ms, peak = (self.now, drawn) if low_ms < 0 else (low_ms, max(peak, drawn))
        elif drawn >= min(charger.limit_a * 1000 - 500, _usable_a(charger) * 1000 - 500):
            low_ms, peak = -1, 0
        else:
            peak = max(peak, drawn)
        return changed(
            charger,
            readings=headroom.remembered(charger.readings, reading, self.now),
            session_wh=message.get("session_wh", charger.session_wh),
            low_ms=low_ms,
            low_peak_ma=peak,
        )

    # --- sharing -------------------------------------------------------------------------------

    def rooms(self) -> dict[Key, int]:
        """What every phase of every feeder has left for cars, in mA."""
        if self.site.headroom_ma and not (self.room_stale or self.must_share):
            return {
                (name, phase): ma
                for name, left in self.site.headroom_ma.items()
                for phase, ma in enumerate(left)
            }
        kept: dict[str, tuple[int, ...]] = {}
        metered = {m.feeder for m in self.meters.values() if m.role != "solar"}
        for name, feeder in self.site.feeders.items():
            has_meter = name in metered
            house = self.houses.get(name) or House((0,) * feeder.phases)
            grade, current = headroom.graded(self.site, name, house, has_meter, self.now)
            margin = self.site.settings.margin_ma if has_meter else 0
            if has_meter and self.site.settings.learned_margin:
                margin = headroom.step_margin_ma(self.site.habits.get(name))
            if (house.grade, house.margin_ma) != (grade, margin) or name not in self.houses:
                self.houses[name] = changed(house, grade=grade, margin_ma=margin)
            left = tuple(
                limit - ma - margin for limit, ma in zip(feeder.limit_ma, current, strict=True)
            )
            kept[name] = left
        for window in self.site.settings.windows:
            if not window.scope and self.site.minute >= 0 and window.holds(self.site.minute):
                kept[MAIN] = tuple(min(ma, window.max_a * 1000) for ma in kept[MAIN])
        for device, amps in self.site.failsafes.items():
            # It belongs here and has not been heard: it may be offering its failsafe, on any phase.
            if amps and device not in self.chargers:
                for name in self.site.above(self.site.places.get(device, MAIN)):
                    kept[name] = tuple(ma - amps * 1000 for ma in kept[name])
        self.site = changed(self.site, headroom_ma=kept)
        return {(name, phase): ma for name, left in kept.items() for phase, ma in enumerate(left)}

    def keys(self, charger: Charger) -> tuple[Key, ...]:
        """The rooms its amperes come out of."""
        place = charger.feeder, charger.phases
        keys = self.places.get(place)
        if keys is None:
            keys = self.places[place] = tuple(
                (name, phase) for name in self.site.above(place[0]) for phase in place[1]
            )
        return keys

    def share(self, room: Mapping[Key, int]) -> None:
        """Give every charger its target, and the reason for it."""
        settings = self.site.settings
        left = dict(room)
        sun = self.sunlit(left)
        wishes: list[sharing.Wish] = []
        waiting = [c for c in self.chargers.values() if c.waiting_ms >= 0]
        asleep: list[Charger] = []
        resting: set[str] = set()
        reasons: dict[str, Reason] = {}
        for charger in self.chargers.values():
            if not self.obeys(charger):
                worst = leases.known_worst_a(charger, self.now)
                if charger.mode != "managed" and _plugged(charger):
                    worst = max(worst, _usable_a(charger))
                    reasons[charger.id] = Reason(
                        "own_mode", {"mode": charger.mode, "worst_a": worst}
                    )
                else:
                    silent = (self.now - charger.heard_ms) // 1000
                    reasons[charger.id] = Reason("silent", {"silent_s": silent, "worst_a": worst})
                held = worst
            else:
                held = charger.failsafe_a
                why = self.not_wanting(charger)
                if why is None:
                    why = self.resting(charger)
                    if why is not None:
                        resting.add(charger.id)
                if why is None:
                    if settings.policy == "deadline" and self.hurries(charger) != charger.urgent:
                        charger = changed(charger, urgent=not charger.urgent)  # noqa: PLW2901
                        self.chargers[charger.id] = charger
                    wishes.append(self.wish(charger, bool(waiting)))
                else:
                    reasons[charger.id] = why
                    if why.kind in ("asleep", "stopped"):
                        asleep.append(charger)
            if held:
                for key in self.keys(charger):
                    left[key] -= held * 1000
        offers = sharing.POLICIES[settings.policy](wishes, left, settings.max_active)
        for w in wishes:
            more = max(0, offers[w.id] - w.held_a) * 1000
            if more:
                for key in w.rooms:
                    left[key] -= more
        active = sum(1 for a in offers.values() if a)
        for charger in asleep:
            # Nobody else can use it, so a car that slept may wake and find its pilot there.
            spare = min(left[k] for k in self.keys(charger)) // 1000 + charger.failsafe_a
            ok = spare >= charger.min_a and not (
                settings.max_active and active >= settings.max_active
            )
            offers[charger.id] = charger.min_a if ok else 0
            if ok:
                for key in self.keys(charger):
                    left[key] -= max(0, charger.min_a - charger.failsafe_a) * 1000
        by_id = {w.id: w for w in wishes}
        told = explain.Shared(
            settings, self.chargers, self.houses, by_id, offers, room, left, sun, self.now
        )
        for name, charger in self.chargers.items():
            target = offers.get(name, 0)
            wish = by_id.get(name)
            if wish is not None:
                reasons[name] = told.why(charger, wish)
            elif name in offers and target and name in reasons:
                reasons[name] = Reason("asleep", {"offer_a": target})
            self.retarget(charger, target, wish is not None or name in resting, reasons[name])

    def sunlit(self, left: dict[Key, int]) -> tuple[int, ...] | None:
        """Under a solar mode: cut `left` down to the sun, and say how much there is (None: by the grid)."""
        settings = self.site.settings
        if settings.source == "grid":
            return None
        sun = headroom.solar_ma(self.site, self.meters.values(), self.houses)
        promised = [0] * len(sun)
        for charger in list(self.chargers.values()):
            if not self.obeys(charger) or self.not_wanting(charger) is not None:
                continue
            # A car is not stopped for a cloud within its minimum on-time; under solar_first, never.
            young = charger.on_ms >= 0 and self.now - charger.on_ms < settings.min_on_ms
            if settings.source == "solar_first" or young:
                for phase in charger.phases:
                    promised[phase] += charger.min_a * 1000
        for phase, ma in enumerate(sun):
            left[MAIN, phase] = min(left[MAIN, phase], max(ma, promised[phase]))
        return sun

    def retarget(self, charger: Charger, target: int, wanting: bool, reason: Reason) -> None:
        on_ms, off_ms, waiting_ms, idle_ms = (
            charger.on_ms,
            charger.off_ms,
            charger.waiting_ms,
            charger.idle_ms,
        )
        if target and on_ms < 0:
            on_ms = self.now
        if not target and on_ms >= 0:
            on_ms = -1
            off_ms = self.now if wanting else off_ms
        if target or not wanting:
            waiting_ms = -1
        elif waiting_ms < 0:
            waiting_ms = self.now
        # A charger that stopped its car holds its pilot back for a while: that is not the car's sleep.
        if target and charger.state == "B2" and not charger.asleep:
            idle_ms = self.now if idle_ms < 0 else idle_ms
        else:
            idle_ms = -1
        if (target, on_ms, off_ms, waiting_ms, idle_ms, reason) == (
            charger.target_a,
            charger.on_ms,
            charger.off_ms,
            charger.waiting_ms,
            charger.idle_ms,
            charger.target_reason,
        ):
            return
        self.chargers[charger.id] = changed(
            charger,
            target_a=target,
            on_ms=on_ms,
            off_ms=off_ms,
            waiting_ms=waiting_ms,
            idle_ms=idle_ms,
            target_reason=reason,
            reason=reason,
        )

    def obeys(self, charger: Charger) -> bool:
        """Whether a lease sent now would reach it and be gone by."""
        return (
            charger.online
            and charger.mode == "managed"
            and charger.state != ""
            and self.now - charger.heard_ms <= SILENT_MS
        )

    def not_wanting(self, charger: Charger) -> Reason | None:
        if charger.faults or charger.state[0] == "E":
            return Reason("fault", {"faults": ", ".join(charger.faults) or charger.state})
        if charger.state[0] == "F":
            return Reason("out_of_service")
        if charger.state[0] == "A":
            return Reason("no_car")
        if not charger.authorised:
            return Reason("not_authorised")
        if charger.asleep:
            return Reason("stopped")
        if 0 <= charger.idle_ms <= self.now - ASLEEP_MS:
            self.chargers[charger.id] = changed(charger, asleep=True)
            return Reason("asleep", {"offer_a": charger.limit_a})
        if self.limit_a(charger) < charger.min_a:
            return Reason("limited", {"limit_a": self.limit_a(charger), "by": "its limits"})
        return None

    def resting(self, charger: Charger) -> Reason | None:
        if self.site.settings.policy not in ("fair", "deadline") or charger.on_ms >= 0:
            return None
        wait = charger.off_ms + self.site.settings.min_off_ms - self.now
        return Reason("resting", {"wait_s": ceil(wait / 1000)}) if wait > 0 else None

    def limit_a(self, charger: Charger) -> int:
        """The most this charger may be offered by every limit that is its own."""
        limit = _usable_a(charger)
        for window in self.site.settings.windows:
            if (
                window.scope == charger.id
                and self.site.minute >= 0
                and window.holds(self.site.minute)
            ):
                limit = min(limit, window.max_a)
        return limit

    def wish(self, charger: Charger, somebody_waits: bool) -> sharing.Wish:
        most = self.limit_a(charger)
        want = most
        if charger.low_ms >= 0 and self.now - charger.low_ms >= GIVE_BACK_MS:
            want = min(most, max(charger.min_a, ceil(charger.low_peak_ma / 1000) + 1))
        return sharing.Wish(
            id=charger.id,
            rooms=self.keys(charger),
            min_a=charger.min_a,
            max_a=most,
            priority=charger.priority,
            rank=self.rank(charger, somebody_waits),
            want_a=want,
            held_a=charger.failsafe_a,
            spare_ma=0 if self.site.settings.policy != "deadline" else self.spare_ma(charger),
        )

    def spare_ma(self, charger: Charger) -> int:
        if charger.urgent:
            return laxity.URGENT_SPARE_MA
        on = charger.on_ms >= 0
        spares = [laxity.LAX_SPARE_MA]
        for name, phase in self.keys(charger):
            house = self.houses.get(name)
            if house is not None and house.read_ms >= 0:
                spares.append(laxity.spare_on_ma(house, phase, self.now, on))
        return max(spares)

    def hurries(self, charger: Charger) -> bool:
        """Whether it has little time to lose; once it has, that stays so until its car leaves."""
        lax = laxity.laxity_ms(
            self.now,
            charger.wants.departs_ms,
            laxity.still_wanted_wh(charger),
            self.limit_a(charger),
            len(charger.phases),
        )
        return charger.urgent or lax is None or lax < laxity.URGENT_MS

    def rank(self, charger: Charger, somebody_waits: bool) -> tuple[int, ...]:
        policy = self.site.settings.policy
        if policy == "equal":
            return (charger.order,)
        if policy == "first":
            return (charger.asked_ms, charger.order)
        if policy == "deadline":
            leaves = charger.wants.departs_ms
            return (
                not charger.urgent,
                charger.on_ms < 0,
                leaves if leaves is not None else 1 << 60,
                charger.order,
            )
        # Turns: those in their turn, then those who wait, longest first, then those who have had theirs.
        settings = self.site.settings
        if charger.on_ms >= 0:
            turn = max(settings.turn_ms, settings.min_on_ms)
            over = somebody_waits and self.now - charger.on_ms >= turn
            return (2 if over else 0, charger.on_ms, charger.order)
        since = charger.waiting_ms if charger.waiting_ms >= 0 else self.now
        return (1, since, charger.order)

    # --- leases --------------------------------------------------------------------------------

    def done(self) -> tuple[Site, list[Command]]:
        room = self.rooms()
        only = self.only
        if self.must_share or ((only is None or self.room_stale) and self.overloaded(room)):
            self.share(room)
            self.site = changed(self.site, shared_ms=self.now)
            only = None
        if self.site.rises_wait:
            only = None
        self.send(room, [self.chargers[only]] if only else list(self.chargers.values()))
        for charger in [self.chargers[only]] if only else list(self.chargers.values()):
            worst = leases.worst_a(charger, self.now)
            if worst == charger.worst_a:
                continue
            fallen: dict[str, int] = {}
            if worst < charger.worst_a:
                lately = charger.was_a if self.now < charger.was_until_ms else 0
                fallen = {"was_a": max(lately, charger.worst_a), "was_until_ms": self.now + 4_000}
            self.chargers[charger.id] = changed(charger, worst_a=worst, **fallen)
        return (
            changed(self.site, chargers=self.chargers, meters=self.meters, houses=self.houses),
            self.commands,
        )

    def overloaded(self, room: Mapping[Key, int]) -> bool:
        """Whether what is granted no longer fits what is left: the house drew more, or a limit fell."""
        left = dict(room)
        for charger in self.chargers.values():
            if self.obeys(charger):
                granted = max(charger.target_a, charger.failsafe_a)
            else:
                granted = leases.known_worst_a(charger, self.now)
            if granted:
                for key in self.keys(charger):
                    left[key] -= granted * 1000
        return any(ma < 0 for ma in left.values())

    def send(self, room: Mapping[Key, int], among: list[Charger]) -> None:
        """Cuts at once; rises as far as the law allows; renewals in time."""
        now = self.now
        settings = self.site.settings
        cuts: list[Charger] = []
        rises: list[Charger] = []
        for charger in among:
            if not self.obeys(charger):
                continue
            if charger.heard_ms + settings.ttl_ms - now < ANCHOR_WORTH_MS:
                continue
            if charger.target_a > self.still_has(charger):
                rises.append(charger)
            elif charger.target_a < charger.limit_a or self.due(charger):
                cuts.append(charger)
        keep = False
        wait = False
        for charger in cuts:
            keep |= self.lease(charger, charger.target_a)
        if rises:
            left = dict(room)
            for charger in self.chargers.values():
                worst = leases.worst_a(charger, now)
                if worst:
                    for key in self.keys(charger):
                        left[key] -= worst * 1000
            known = {
                name
                for name, house in self.houses.items()
                if house.resolved_ms >= 0 or house.grade == "unmeasured"
            }
            for charger in sorted(rises, key=lambda c: (c.priority, c.limit_a > 0, c.order)):
                keys = self.keys(charger)
                worst = leases.worst_a(charger, now)
                have = self.still_has(charger)
                limit = 0
                if all(k[0] in known for k in keys):
                    limit = leases.raise_to(left, keys, worst, charger.target_a)
                raised = limit >= charger.min_a and limit > have
                if not raised:
                    limit = have
                reason = charger.target_reason
                if limit < charger.target_a:
                    wait = True
                    reason = Reason(
                        "raise_waits", {"offer_a": limit, "target_a": charger.target_a}
                    )
                if reason != charger.reason:
                    self.chargers[charger.id] = changed(charger, reason=reason)
                if raised:
                    for key in keys:
                        left[key] -= max(0, limit - worst) * 1000
                    keep |= self.lease(charger, limit)
                elif charger.sent_known and self.due(charger):
                    keep |= self.lease(charger, limit)
        if len(among) == len(self.chargers) and wait != self.site.rises_wait:
            self.site = changed(self.site, rises_wait=wait)
        if keep:
            # All of the site is about to be on disk: what is there covers what may be in force now, and no more.
            for name, charger in self.chargers.items():
                kept = max((g.limit_a for g in charger.granted), default=0)
                if kept != charger.kept_a:
                    self.chargers[name] = changed(charger, kept_a=kept)

    def still_has(self, charger: Charger) -> int:
        """What a lease may say without being a rise: the last one, unless that is over or was lost in a restart."""
        if not charger.sent_known:
            return 0
        return min(charger.limit_a, leases.worst_a(charger, self.now))

    def due(self, charger: Charger) -> bool:
        """Whether the lease as it stands is to be sent once more."""
        settings = self.site.settings
        unconfirmed = charger.confirmed < charger.number
        if self.now - charger.sent_ms >= (RESEND_MS if unconfirmed else settings.renew_ms):
            return True
        # The last renewal answered an old message and will not live long; there is a newer one to answer now.
        return (
            charger.until_ms - self.now < settings.ttl_ms - settings.renew_ms - 500
            and charger.heard_ms - charger.anchor_ms >= ANCHOR_WORTH_MS
        )

    def lease(self, charger: Charger, limit_a: int) -> bool:
        charger = self.chargers[charger.id]
        charger, keep = leases.with_lease(charger, limit_a, self.now, self.site.settings.ttl_ms)
        self.chargers[charger.id] = charger
        self.commands.append(
            Send(
                charger.id,
                {
                    "code": protocol.AVAILABLE_LOAD,
                    "re_boot": charger.boot,
                    "re_seq": charger.seq,
                    "limit_a": limit_a,
                    "ttl_ms": self.site.settings.ttl_ms,
                    "lease": charger.number,
                    "reason": charger.reason.kind,
                },
                keep,
            )
        )
        return keep


def _plugged(charger: Charger) -> bool:
    return charger.state[:1] in ("B", "C", "D")


def _ready(charger: Charger) -> bool:
    return _plugged(charger) and charger.authorised and not charger.asleep


def _usable_a(charger: Charger) -> int:
    most = charger.max_a
    if charger.cap_a is not None:
        most = min(most, charger.cap_a)
    if charger.wants.user_max_a is not None:
        most = min(most, charger.wants.user_max_a)
    return most
