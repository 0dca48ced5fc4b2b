"""A world that is out to break the lease law: one seed, one schedule.

A manager (the real core, its state on a disk), a house meter and chargers (the boards' own lease
holder), joined by a network that delays, loses, repeats and reorders, with partitions, boards and
managers that restart, a broker that forgets, and cars that follow as late as they may.

At every instant the world adds up what the cars may lawfully draw and compares it, per phase of each
feeder, with two bounds it keeps by itself:

law     what the newest raise was based on: the limit less the house as the last reading delivered
        before that raise had it. So only what the house added since can exceed the limit.
cut     limit less the least the house was said to draw in the last 22 s: the lease's life and the
        time to follow. A reading that shows less room has been obeyed by then, come what may.
"""

from __future__ import annotations

import heapq
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from firmware.charger.lease import LeaseHolder
from manager.core import plain
from manager.core.commands import Send
from manager.core.decide import decide
from manager.core.events import Announced, Event, Offline, Report, Tick
from manager.core.leases import OWN_RULE
from manager.core.site import MAIN, Feeder, Settings, Site
from shared import protocol

FOLLOW_MS = 5_000  # what IEC 61851-1 allows a car
LOOP_MS = 1_000  # what a charger takes at most from lease to pilot
TTL_MS = 15_000
SAID_MS = TTL_MS + FOLLOW_MS + LOOP_MS + 1000  # so long a reading may still be gone by
GARAGE = "garage"


class BrokenLawError(AssertionError):
    """The law did not hold. The text is the time-line up to then."""


@dataclass
class Board:
    """A charger's board and its car. `drops` are earlier, higher limits the car may still draw."""

    name: str
    feeder: str
    phases: tuple[int, ...]
    failsafe_a: int
    meter: bool
    plugged: bool = False
    boot: int = 1
    seq: int = 0
    up: bool = True
    cut_off: bool = False
    pilot_a: int = 0
    drops: list[tuple[int, int]] = field(default_factory=list)  # (limit, drawn until)
    demand_a: int = 32
    seen: list[tuple[int, int]] = field(default_factory=list)  # own meter: (when, mA)
    holder: LeaseHolder = field(init=False)

    def __post_init__(self) -> None:
        self.holder = LeaseHolder(self.boot, self.failsafe_a)
        self.pilot_a = self.failsafe_a

    def lawful_a(self, now: int) -> int:
        if not self.up or not self.plugged:
            return 0
        return max([self.pilot_a, *(a for a, until in self.drops if until > now)])

    def draws_a(self, now: int) -> int:
        return min(self.demand_a, self.lawful_a(now))


class World:
    """One schedule. `run()` raises `BrokenLawError` with a time-line if the law is broken.

    What a seed does is settled: a soak of a million of them goes on for hours, so a new kind of
    trouble gets a kind of world of its own (`law_own_rule`).
    """

    board: type[Board] = Board

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.r = r = random.Random(seed)
        self.now = 0
        self.queue: list[tuple[int, int, bool, Callable[[], None]]] = []
        self.n = 0
        self.lines: list[str] = []
        phases = r.choice((1, 1, 3))
        limit = r.randint(14, 45)
        self.failsafe_a = 6 if r.random() < 0.3 else 0
        count = r.choice((2, 2, 3, 4))
        self.boards: dict[str, Board] = {}
        feeders = {MAIN: Feeder(MAIN, (limit * 1000,) * phases)}
        if r.random() < 0.3:
            feeders[GARAGE] = Feeder(GARAGE, (r.randint(10, limit) * 1000,) * phases, MAIN)
        places = {}
        spare = min(f.limit_ma[0] for f in feeders.values()) // 1000
        for i in range(count):
            name = f"c{i + 1}"
            feeder = r.choice(list(feeders))
            three = phases == 3 and r.random() < 0.5
            wiring = tuple(r.sample(range(phases), phases)) if three else (r.randrange(phases),)
            failsafe = self.failsafe_a if spare >= 6 else 0
            spare -= failsafe
            self.boards[name] = self.board(name, feeder, wiring, failsafe, meter=r.random() < 0.5)
            places[name] = feeder
        self.house_ma = [r.randint(0, 9) * 1000] * phases
        worst = max(0, spare) if self.failsafe_a else limit
        self.house_max = min(worst, limit) if self.failsafe_a else limit + 5
        settings = Settings(
            policy=r.choice(("equal", "first", "fair", "deadline")),
            update_interval_ms=r.choice((0, 0, 5000)),
            worst_house_a=worst,
            min_off_ms=r.choice((0, 3000)),
            turn_ms=r.choice((8_000, 900_000)),
            min_on_ms=0,
            max_counters=1,
        )
        failsafes = {b.name: b.failsafe_a for b in self.boards.values()}
        self.site = Site(settings=settings, feeders=feeders, places=places, failsafes=failsafes)
        self.disk = json.dumps(plain.site_to_plain(self.site))
        self.manager_up = True
        self.clock = r.randint(0, 10**6)  # manager's clock less the world's
        self.last: dict[str, tuple[int, int]] = {}  # what the manager's shell has seen
        self.meter_seq = 0
        self.meter_up = True
        self.known: tuple[int, ...] | None = None  # house as last delivered to the manager
        self.known_at = 0
        self.keys = [(f, p) for f in feeders for p in range(phases)]
        self.basis: dict[tuple[str, int], int] = {}
        self.granted: dict[str, int] = {}  # limit of the newest lease sent, whoever sent it
        self.said: list[tuple[int, tuple[int, ...]]] = []
        self.loss = r.choice((0.0, 0.0, 0.05, 0.3))
        self.slow = r.choice((50, 300, 3000, 20_000))
        self.filtered = r.random() < 0.5  # the shell drops what was overtaken
        self.end_ms = r.choice((20, 30, 45)) * 1000  # a lease lives 15 s, and a car follows for 6
        self.dirty = (
            True  # something may draw more, or less is free; time alone does that only ...
        )
        self.stale_ms = 0  # ... as the oldest reading that counts grows too old
        above = {b.name: self.site.above(b.feeder) for b in self.boards.values()}
        self.cables = {
            b.name: [(f, p) for f in above[b.name] for p in b.phases] for b in self.boards.values()
        }
        self.floor = dict.fromkeys(self.keys, 0)
        for b in self.boards.values():
            for key in self.cables[b.name]:
                self.floor[key] += b.failsafe_a * 1000

    # --- time and network ----------------------------------------------------------------------

    def at(self, delay: int, call: Callable[[], None], of_broker: bool = False) -> None:
        self.n += 1
        heapq.heappush(self.queue, (self.now + delay, self.n, of_broker, call))

    def say(self, text: str) -> None:
        self.lines.append(f"{self.now / 1000:8.3f}  {text}")

    def carry(self, cut_off: bool, call: Callable[[], None]) -> None:
        r = self.r
        for _ in range(2 if r.random() < 0.05 else 1):
            if not cut_off and r.random() >= self.loss:
                slow = self.slow if r.random() < 0.15 else 50
                self.at(r.randint(0, slow), call, of_broker=True)

    # --- manager -------------------------------------------------------------------------------

    def event(self, event: Event) -> None:
        if not self.manager_up:
            return
        raised: set[str] = set()
        again: set[str] = set()  # no more than before, but what it had may be over
        self.site, commands = decide(self.site, event, self.now + self.clock)
        for command in commands:
            if not isinstance(command, Send):
                if command.kind == OWN_RULE:
                    self.disk = json.dumps(plain.site_to_plain(self.site))
                continue
            message = dict(command.message)
            if message["code"] == protocol.AVAILABLE_LOAD:
                if command.keep_first:
                    self.disk = json.dumps(plain.site_to_plain(self.site))
                limit = message["limit_a"]
                if limit > self.granted.get(command.device, 0):
                    raised.add(command.device)
                elif limit > self.boards[command.device].pilot_a:
                    again.add(command.device)
                self.granted[command.device] = limit
                self.dirty = True
                self.say(f"manager -> {command.device}: lease {message['lease']}: {limit} A")
            elif (
                message["code"] == protocol.REPLY and message["result"] == protocol.UNKNOWN_DEVICE
            ):
                board = self.boards.get(command.device)
                if board is not None:
                    self.at(100, partial(self.hello, board))
                else:
                    self.at(100, self.meter_hello)
                continue
            self.carry(self.is_cut(command.device), partial(self.down, command.device, message))
        if raised or again:
            room = self.room_known()
            for name in [*again, *raised]:
                for f in self.site.above(self.boards[name].feeder):
                    for p in self.boards[name].phases:
                        old = self.basis.get((f, p), 0) if name in again else 0
                        self.based((f, p), max(old, room[f, p]), name in again)

    def based(self, key: tuple[str, int], ma: int, again: bool) -> None:
        """What is lawful on `key` is from now on what fits in `ma`."""
        del again
        self.basis[key] = ma

    def room_known(self) -> dict[tuple[str, int], int]:
        room = {}
        for name, feeder in self.site.feeders.items():
            for p, limit in enumerate(feeder.limit_ma):
                house = 0
                if name == MAIN:
                    worst = (self.site.settings.worst_house_a or 0) * 1000
                    house = worst if self.known is None else self.known[p]
                room[name, p] = limit - house
        return room

    def is_cut(self, device: str) -> bool:
        board = self.boards.get(device)
        return board.cut_off if board else not self.meter_up

    def up(self, device: str, message: dict[str, Any], announced: str = "") -> None:
        if not self.manager_up:
            return
        stamp = (message["boot"], message["seq"])
        if self.filtered and stamp <= self.last.get(device, (0, 0)):
            return
        self.last[device] = max(stamp, self.last.get(device, (0, 0)))
        meter = self.site.meters.get("m")
        fresh = meter is not None and stamp > (meter.boot, meter.seq)
        if message["code"] == protocol.COUNTER_LOAD and fresh:
            self.known = tuple(message["current_ma"])
            self.known_at = self.now
            self.said.append((self.now, self.known))
            self.dirty = self.dirty or len(self.said) == 1
            if len(self.said) == 2:
                self.stale_ms = self.now + SAID_MS
        self.event(Announced(announced, message) if announced else Report(device, message))

    def restart_manager(self, down_ms: int) -> None:
        self.say(f"manager stops for {down_ms} ms")
        self.manager_up = False

        def start() -> None:
            self.clock = self.r.randint(0, 10**6) - self.now
            self.site = plain.site_from_plain(json.loads(self.disk), self.now + self.clock)
            self.manager_up = True
            self.known = None
            self.say("manager starts from its disk")

        self.at(down_ms, start)

    def restart_broker(self) -> None:
        self.say("broker restarts: all under way is lost")
        self.queue = [e for e in self.queue if not e[2]]
        heapq.heapify(self.queue)
        for name in self.boards:
            self.event(Offline(name))

    # --- meter ---------------------------------------------------------------------------------

    def meter_hello(self) -> None:
        self.meter_seq += 1
        m = {
            "code": protocol.NEW_COUNTER, "boot": 1, "seq": self.meter_seq, "id": "m", "model": "",
            "firmware": "", "phases": len(self.house_ma), "role": "house",
        }  # fmt: skip
        self.carry(not self.meter_up, lambda: self.up("m", m, "hello/new"))

    def meter_read(self) -> None:
        self.meter_seq += 1
        n = len(self.house_ma)
        m = {
            "code": protocol.COUNTER_LOAD, "boot": 1, "seq": self.meter_seq, "age_ms": 0,
            "current_ma": list(self.house_ma), "voltage_dv": [2300] * n, "power_w": [0] * n,
            "energy_wh": [0] * n,
        }  # fmt: skip
        self.carry(not self.meter_up, lambda: self.up("m", m))
        self.at(self.r.choice((1000, 1000, 2000)), self.meter_read)

    # --- boards --------------------------------------------------------------------------------

    def send(self, b: Board, message: dict[str, Any], announced: str = "") -> None:
        b.seq += 1
        message |= {"boot": b.boot, "seq": b.seq}
        b.holder.sent(b.seq, self.now)
        self.carry(b.cut_off, lambda: self.up(b.name, message, announced))

    def hello(self, b: Board) -> None:
        if b.up:
            self.send(b, {
                "code": protocol.NEW_CHARGER, "id": b.name, "counter": "m", "model": "",
                "firmware": "", "min_a": 6, "max_a": 32, "phases": len(b.phases),
                "wiring": [p + 1 for p in b.phases], "failsafe_a": b.failsafe_a,
                "meter": int(b.meter),
            }, "m/new")  # fmt: skip

    def status(self, b: Board) -> None:
        if b.up:
            self.send(b, {
                "code": protocol.CHARGER_STATUS, "state": "C2" if b.plugged else "A1",
                "offer_a": b.pilot_a, "lease": b.holder.number,
                "lease_ms": b.holder.left_ms(self.now), "contactor": int(b.plugged),
                "mode": "managed", "faults": [], "rejected": 0, "uptime_s": 1, **self.own_mode(b),
            })  # fmt: skip

    def own_mode(self, b: Board) -> dict[str, Any]:
        """What its status says of a mode of its own."""
        del b
        return {}

    def load(self, b: Board) -> None:
        if b.up and b.meter:
            b.seen.append((self.now, b.draws_a(self.now) * 1000))
            lagged = [ma for t, ma in b.seen if t <= self.now - 2000] or [0]
            n = len(b.phases)
            self.send(b, {
                "code": protocol.CHARGER_LOAD, "current_ma": [lagged[-1]] * n, "age_ms": 0,
                "voltage_dv": [2300] * n, "power_w": [0] * n, "energy_wh": [0] * n,
            })  # fmt: skip
            self.at(2000, lambda: self.load(b))

    def down(self, device: str, message: dict[str, Any]) -> None:
        b = self.boards.get(device)
        if b is None or not b.up or message["code"] != protocol.AVAILABLE_LOAD:
            return
        if b.holder.offer(message, self.now):
            self.pilot(b)
            self.status(b)
            left = b.holder.left_ms(self.now)
            self.at(left, lambda: self.pilot(b))

    def pilot(self, b: Board) -> None:
        """The board sets what its lease says now; the car draws what it did for as long as it may."""
        limit = b.holder.limit_a(self.now) if b.up else 0
        if limit < b.pilot_a:
            late = FOLLOW_MS if self.r.random() < 0.7 else self.r.randint(0, FOLLOW_MS)
            b.drops = [d for d in b.drops if d[1] > self.now]
            b.drops.append((b.pilot_a, self.now + late))
        if limit != b.pilot_a:
            self.dirty = True
            self.say(f"{b.name}: pilot {b.pilot_a} -> {limit} A")
            b.pilot_a = limit

    def replug(self, b: Board) -> None:
        b.plugged = not b.plugged
        b.drops.clear()
        self.dirty = True
        self.say(f"{b.name}: {'car arrives' if b.plugged else 'car leaves'}")
        self.status(b)

    def reboot(self, b: Board, down_ms: int) -> None:
        self.say(f"{b.name}: board stops for {down_ms} ms")
        b.up = False
        b.drops.clear()

        def start() -> None:
            b.up = True
            self.dirty = True
            b.boot += 1
            b.seq = 0
            b.holder = LeaseHolder(b.boot, b.failsafe_a)
            b.pilot_a = b.failsafe_a
            b.seen.clear()
            self.say(f"{b.name}: board starts, boot {b.boot}")
            self.hello(b)
            self.status(b)
            self.load(b)

        self.at(down_ms, start)

    # --- the schedule --------------------------------------------------------------------------

    def trouble(self) -> None:
        r = self.r
        board = r.choice(list(self.boards.values()))
        what = r.random()
        if what < 0.35:
            self.house_ma = [r.randint(0, self.house_max) * 1000 for _ in self.house_ma]
            self.say(f"house: {self.house_ma} mA")
        elif what < 0.55:
            self.replug(board)
        elif what < 0.65:
            self.reboot(board, r.randint(500, 8000))
        elif what < 0.75:
            for b in self.boards.values() if r.random() < 0.3 else [board]:
                b.cut_off = True
                self.say(f"{b.name}: cut off")
                self.at(r.randint(1000, 25_000), partial(self.joined, b))
        elif what < 0.82:
            self.meter_up = False
            self.at(r.randint(1000, 20_000), lambda: setattr(self, "meter_up", True))
        elif what < 0.9 and self.manager_up:
            self.restart_manager(r.randint(100, 15_000))
        elif what < 0.94:
            self.restart_broker()
        self.at(r.randint(1000, 9000), self.trouble)

    def joined(self, b: Board) -> None:
        b.cut_off = False
        self.say(f"{b.name}: joined again")

    def tick(self) -> None:
        self.event(Tick(minute=0))
        self.at(1000, self.tick)

    def heartbeat(self, b: Board) -> None:
        self.status(b)
        self.at(10_000, lambda: self.heartbeat(b))

    def check(self) -> None:
        if not self.dirty and self.now <= self.stale_ms:
            return
        self.dirty = False
        floor = self.floor
        lawful = self.lawful_ma()
        for key, ma in lawful.items():
            if ma > max(self.basis.get(key, 0), floor[key]):
                self.fail("law", key, ma, max(self.basis.get(key, 0), floor[key]))
        while len(self.said) > 1 and self.said[1][0] < self.now - SAID_MS:
            self.said.pop(0)
        self.stale_ms = self.said[1][0] + SAID_MS if len(self.said) > 1 else 1 << 60
        if self.said:
            self.check_cut(lawful)

    def check_cut(self, lawful: dict[tuple[str, int], int]) -> None:
        """Whether every reading old enough has been obeyed."""
        floor = self.floor
        for p in range(len(self.house_ma)):
            limit = self.site.feeders[MAIN].limit_ma[p]
            bound = max(limit - min(h[p] for _, h in self.said), floor[MAIN, p])
            if lawful[MAIN, p] > bound:
                self.fail("cut", (MAIN, p), lawful[MAIN, p], bound)

    def lawful_ma(self) -> dict[tuple[str, int], int]:
        """What the cars may lawfully draw on each phase of each feeder."""
        lawful = dict.fromkeys(self.keys, 0)
        for b in self.boards.values():
            ma = b.lawful_a(self.now) * 1000
            if ma:
                for key in self.cables[b.name]:
                    lawful[key] += ma
        return lawful

    def fail(self, rule: str, key: tuple[str, int], ma: int, bound: int) -> None:
        head = (
            f"seed {self.seed}: {rule} broken on phase {key[1] + 1} of {key[0]} at {self.now / 1000:.3f} s:"
            f" cars may draw {ma / 1000:g} A, {bound / 1000:g} A at most are free"
        )
        raise BrokenLawError("\n".join([head, *self.lines, head]))

    def run(self) -> None:
        self.meter_hello()
        self.at(60, self.meter_read)
        self.at(0, self.tick)
        for b in self.boards.values():
            b.plugged = self.r.random() < 0.7
            self.at(200, partial(self.hello, b))
            self.at(300, partial(self.heartbeat, b))
            self.at(400, partial(self.load, b))
        self.at(self.r.randint(500, 8000), self.trouble)
        while self.queue and self.now < self.end_ms:
            self.now, _, _, call = heapq.heappop(self.queue)
            call()
            self.check()
