"""A world of `law_world`'s in which chargers go by a rule of their own and are led again.

What a car draws by its charger's own rule nobody granted: like the house's, it is the manager's to
reckon with from the moment it is told of it, and not before. So beside what leases make lawful the
world counts, of what cars draw by an own rule,

law     at most what the manager had been told as the newest raise was decided;
cut     at most what it has been told throughout the last 22 s.

What has been told outlives a restart of the manager, and a car that is led again has its 5 s to follow.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from shared import protocol
from tests.manager.core.law_world import FOLLOW_MS, SAID_MS, Board, World


@dataclass
class OwnBoard(Board):
    """A charger that may go by its own rule: by it the car may draw `own_a`, 0: it is led."""

    own_a: int = 0
    own_drops: list[tuple[int, int]] = field(default_factory=list)  # as `drops`

    def by_own_a(self, now: int) -> int:
        if not self.up or not self.plugged:
            return 0
        return max([self.own_a, *(a for a, until in self.own_drops if until > now)])

    def draws_a(self, now: int) -> int:
        return min(self.demand_a, max(self.lawful_a(now), self.by_own_a(now)))


class OwnRuleWorld(World):
    """One schedule; as `World`."""

    board = OwnBoard
    boards: dict[str, OwnBoard]  # type: ignore[assignment]

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        # What the manager was told of each own rule: (when, A, what a car may still draw by the one before).
        self.told: dict[str, list[tuple[int, int, int]]] = {n: [(0, 0, 0)] for n in self.boards}
        self.known_own: dict[tuple[str, int], dict[str, int]] = {}

    # --- boards --------------------------------------------------------------------------------

    def own_mode(self, b: Board) -> dict[str, Any]:
        own_a = self.boards[b.name].own_a
        return {"mode": "manual", "cap_a": own_a} if own_a else {}

    def own_rule(self, b: OwnBoard, amps: int) -> None:
        if amps < b.own_a:
            late = FOLLOW_MS if self.r.random() < 0.7 else self.r.randint(0, FOLLOW_MS)
            b.own_drops.append((b.own_a, self.now + late))
        b.own_a = amps
        self.dirty = True
        self.say(f"{b.name}: {f'own rule, {amps} A' if amps else 'led again'}")
        self.status(b)

    def trouble(self) -> None:
        r = self.r
        b = r.choice(list(self.boards.values()))
        if r.random() < 0.3 and b.up:
            # Down for the heat, led again, or on its own.
            choices = [0, 0, r.randint(6, b.own_a)] if b.own_a else [r.randint(6, 32)]
            self.own_rule(b, r.choice(choices))
        super().trouble()

    def replug(self, b: Board) -> None:
        self.boards[b.name].own_drops.clear()
        super().replug(b)

    def reboot(self, b: Board, down_ms: int) -> None:
        self.boards[b.name].own_drops.clear()
        super().reboot(b, down_ms)

    # --- manager -------------------------------------------------------------------------------

    def up(self, device: str, message: dict[str, Any], announced: str = "") -> None:
        c = self.site.chargers.get(device)
        stamp = (message["boot"], message["seq"])
        old = self.filtered and stamp <= self.last.get(device, (0, 0))
        if (
            self.manager_up
            and not old
            and c is not None
            and message["code"] == protocol.CHARGER_STATUS
            and stamp > (c.boot, c.seq)
        ):
            plugged = message["state"] != "A1"
            amps = message.get("cap_a", 0) if plugged else 0
            _, before, still = self.told[device][-1]
            if amps != before or (still and not plugged):
                after = before if plugged and before > amps else 0
                self.told[device].append((self.now, amps, after))
                self.dirty = True
        super().up(device, message, announced)

    def told_a(self, name: str) -> int:
        at, amps, after = self.told[name][-1]
        return max(amps, after) if self.now < at + FOLLOW_MS else amps

    def told_throughout_a(self, name: str) -> int:
        since = self.now - SAID_MS
        least = self.told[name][-1][1]
        for at, amps, _ in reversed(self.told[name]):
            least = min(least, amps)
            if at <= since:
                break
        return least

    def based(self, key: tuple[str, int], ma: int, again: bool) -> None:
        super().based(key, ma, again)
        known = {name: self.told_a(name) for name in self.boards}
        if again:
            before = self.known_own.get(key, {})
            known = {name: min(a, before.get(name, 0)) for name, a in known.items()}
        self.known_own[key] = known

    # --- what is lawful ------------------------------------------------------------------------

    def lawful_ma(self) -> dict[tuple[str, int], int]:
        lawful = dict.fromkeys(self.keys, 0)
        for b in self.boards.values():
            leased, own = b.lawful_a(self.now), b.by_own_a(self.now)
            for key in self.cables[b.name]:
                known = self.known_own.get(key, {}).get(b.name, 0)
                lawful[key] += max(leased, min(own, known)) * 1000
        return lawful

    def check_cut(self, lawful: dict[tuple[str, int], int]) -> None:
        lawful = dict.fromkeys(self.keys, 0)
        floor = self.floor
        self.floor = dict.fromkeys(self.keys, 0)
        for b in self.boards.values():
            own = min(b.by_own_a(self.now), self.told_throughout_a(b.name))
            leased = b.lawful_a(self.now)
            for key in self.cables[b.name]:
                lawful[key] += max(leased, own) * 1000
                self.floor[key] += max(b.failsafe_a, own) * 1000
        super().check_cut(lawful)
        self.floor = floor
