"""When to announce: after every new connection, until the manager has said yes, and again when it
knows us no more."""

from firmware.common.ticks import ticks_diff
from shared import protocol

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass

_FIRST_MS = 2000
_LAST_MS = 30_000
_ALONE_MS = 5000


class Registration:
    """`accepted`; `words` is the manager's last answer. Times are ticks."""

    def __init__(self) -> None:
        self._session = 0
        self._sent: int | None = None
        self._seqs: "list[int]" = []
        self._wait_ms = _FIRST_MS
        self.accepted = False
        self.words = ""
        self._first: int | None = None  # ticks of the first announcement on this connection
        self._answered = False

    def alone(self, now_ms: int) -> bool:
        """Is there no manager here? Announced on this connection, and nobody has said anything."""
        if self._answered or self._first is None:
            return False
        return bool(ticks_diff(now_ms, self._first) >= _ALONE_MS)

    def due(self, session: int, now_ms: int) -> bool:
        """Is it time to announce on this connection (numbered from 1; 0 is none)?"""
        if session != self._session:
            self._session = session
            self._again()
        if not session or self.accepted:
            return False
        return self._sent is None or ticks_diff(now_ms, self._sent) >= self._wait_ms

    def _again(self) -> None:
        self.accepted = False
        self._first = None
        self._answered = False
        self._sent = None
        self._wait_ms = _FIRST_MS

    def sent(self, seq: int, now_ms: int) -> None:
        """An announcement went out with this number (0: it did not)."""
        if self._sent is not None:
            self._wait_ms = min(_LAST_MS, 2 * self._wait_ms)
        self._sent = now_ms
        if seq:
            if self._first is None:
                self._first = now_ms
            self._seqs = self._seqs[-3:] + [seq]

    def reply(self, message: "dict[str, Any]") -> None:
        """The manager answered something: the announcement, or a message from a device it does not
        know."""
        self._answered = True
        if message["re_seq"] in self._seqs:
            self.words = message["words"]
            self.accepted = message["result"] == protocol.OK
        elif message["result"] == protocol.UNKNOWN_DEVICE:
            if self.accepted:
                self._again()
            self._wait_ms = _FIRST_MS  # a manager has just come: it need not wait half a minute

    def dismissed(self, now_ms: int) -> None:
        """The manager sent this device away: come back, but not at once."""
        self.accepted = False
        self._sent = now_ms
        self._wait_ms = _LAST_MS
