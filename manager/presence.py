"""Which messages under a device's name are taken: fresh ones of the one board that runs under it.

A board counts its starts and its messages. A higher start is either the same board after a restart
or a second board with the same name, and the first message of it looks the same. What tells them
apart is whether the first board goes on talking: so a new start waits while the old one may yet
speak, and the one that was there first stays. Taking over the MQTT client id, and with it the
other's connection, does not help: the first board comes back within seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

# A running charger confirms a lease every 5 s, and a board that lost its connection is back after
# 1.5 s at most: one that is silent for this long after another has come is not running.
HOLD_MS = 6_000
# A board that went offline this long before another start came under its name has restarted. Less
# may be the other taking over its connection.
RESTART_MS = 1_000


class Verdict(Enum):
    """What becomes of a message."""

    FRESH = "fresh"
    RESTARTED = "restarted"  # fresh, and the first of a new start
    WAIT = "wait"  # of a new start, while the old one may yet speak
    TWIN = "twin"  # of a second board under the name of a running one
    REPLAY = "replay"


@dataclass(slots=True)
class Presence:
    """One device's name. `boot`, `seq`: its newest message; `signed`: starts may only rise."""

    signed: bool
    boot: int = 0
    seq: int = 0
    heard_ms: int | None = None  # None: not since we run
    offline_ms: int | None = None  # its last will came then, and nothing since
    _other: int | None = None  # a start that waits
    _other_since_ms: int = 0
    _twins: set[int] = field(default_factory=set)

    def offline(self, now_ms: int) -> None:
        """The broker says that a board of this name is gone."""
        self.offline_ms = now_ms

    def judge(self, boot: int, seq: int, now_ms: int) -> Verdict:
        """What becomes of message (boot, seq), and remember it if it is taken."""
        if boot == self.boot and self.boot:
            if seq <= self.seq:
                return Verdict.REPLAY
            if self._other is not None:
                self._twins.add(self._other)
                self._other = None
            self._take(boot, seq, now_ms)
            return Verdict.FRESH
        if self.signed and boot < self.boot:
            return Verdict.REPLAY
        if boot in self._twins and not self._silent(now_ms, HOLD_MS):
            return Verdict.TWIN
        if self.boot and self.heard_ms is not None and not self._gone(boot, now_ms):
            return Verdict.WAIT
        self._twins.clear()
        self._other = None
        self._take(boot, seq, now_ms)
        return Verdict.RESTARTED

    def _take(self, boot: int, seq: int, now_ms: int) -> None:
        self.boot = boot
        self.seq = seq
        self.heard_ms = now_ms
        self.offline_ms = None

    def _silent(self, now_ms: int, for_ms: int) -> bool:
        return self.heard_ms is None or now_ms - self.heard_ms >= for_ms

    def _gone(self, boot: int, now_ms: int) -> bool:
        """Whether the board that was there is no more, so that this start may take its place."""
        if self._other != boot:
            self._other = boot
            self._other_since_ms = now_ms
        since = self._other_since_ms
        if self.offline_ms is not None and since - self.offline_ms >= RESTART_MS:
            return True
        return now_ms - since >= HOLD_MS and self._silent(now_ms, HOLD_MS)
