"""The lease: so many amperes until a moment that this charger can name on its own clock.

The network may delay a message without bound and a charger has no clock of its own to compare with, so a lease says
which message of the charger it answers (re_boot, re_seq). The charger remembers when it sent its last 16 messages, and
the lease is over `ttl_ms` after that one was sent, however late the lease itself came.
"""

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass

REMEMBERED = 16
LONGEST_MS = 600_000


class LeaseHolder:
    """The lease in force. Times are monotonic milliseconds of the same clock throughout."""

    def __init__(self, boot: int, failsafe_a: int) -> None:
        """`boot` is this start's number; `failsafe_a` (0 or 6..80) is what holds when no lease does."""
        self._boot = boot
        self._failsafe_a = failsafe_a
        self._sent: "list[int]" = [0] * (2 * REMEMBERED)  # seq, ms, seq, ms, ...
        self._next = 0
        self._limit_a = failsafe_a
        self._until = 0
        self.number = 0  # of the newest lease accepted; 0: none since start
        self.reason = ""
        self.refused = ""  # why the last offer was refused: boot, number, anchor, over

    def sent(self, seq: int, now_ms: int) -> None:
        """Message `seq` was sent no earlier than `now_ms`: take the time before sending it, never after."""
        self._sent[self._next] = seq
        self._sent[self._next + 1] = now_ms
        self._next = (self._next + 2) % (2 * REMEMBERED)

    def offer(self, message: "dict[str, Any]", now_ms: int) -> bool:
        """Take the lease of an available_load message if it is good; `refused` says why if it is not."""
        self.refused = ""
        if message["re_boot"] != self._boot:
            self.refused = "boot"  # it answers an earlier life of this charger
        elif message["lease"] <= self.number:
            self.refused = "number"  # repeated or overtaken
        else:
            anchor = -1
            for i in range(0, 2 * REMEMBERED, 2):
                if self._sent[i] == message["re_seq"] and self._sent[i]:
                    anchor = i
            if anchor < 0:
                self.refused = "anchor"  # too old to know when it was, or never sent
            else:
                until = self._sent[anchor + 1] + min(message["ttl_ms"], LONGEST_MS)
                if until <= now_ms:
                    self.refused = "over"
                else:
                    self.number = message["lease"]
                    self.reason = message["reason"]
                    # 1 to 5 A cannot be said on a pilot
                    self._limit_a = message["limit_a"] if message["limit_a"] >= 6 else 0
                    self._until = until
        return not self.refused

    def in_force(self, now_ms: int) -> bool:
        """Whether a lease holds now."""
        return self.number > 0 and now_ms < self._until

    def limit_a(self, now_ms: int) -> int:
        """What may be offered now, A: the lease's, or the failsafe current when none holds."""
        return self._limit_a if self.in_force(now_ms) else self._failsafe_a

    def granted(self) -> "tuple[int, int]":
        """(A, until when): the newest lease, whether or not it is over."""
        return self._limit_a, self._until

    def left_ms(self, now_ms: int) -> int:
        """How long the lease still holds, ms; 0 if none does."""
        return self._until - now_ms if self.in_force(now_ms) else 0
