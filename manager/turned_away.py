"""What the broker itself turns away: messages its access list forbids, and connections.

mosquitto tells nobody of a message on a topic that is not its sender's, and writes it to its log at
a level at which it writes every message. But it counts all that reach it (`$SYS/broker/publish/...`)
and hands us, in order, those it lets pass and its acknowledgements of our own. What it counts beyond
these it has passed on to nobody. Messages that are to be retained, or are of QoS 2, it does not number
(Debian's 2.0.11, tried), but their bytes it adds up like all others'. Refused
connections it names on a topic for its log, if its configuration says `log_dest topic`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from manager.mqtt import Arrival, Known

RECEIVED = "$SYS/broker/publish/messages/received"
OCTETS = "$SYS/broker/publish/bytes/received"
LOG = "$SYS/broker/log/N"
TOPICS = (RECEIVED, OCTETS, LOG)
SURE = 3  # times in a row, some 10 s apart: what is still on its way to us does not last
LONG = 12
TOLD_EVERY_MS = 60_000
_REFUSED = re.compile(
    rb"Client \S+ disconnected(, not authorised| due to|: )|Socket error on client <unknown>"
    rb"|Client connection from \S+ failed: (?!.*unexpected eof)"
)


@dataclass(frozen=True, slots=True)
class Tally:
    """Messages refused, or their bytes, from what the broker has counted beyond what is known of, again
    and again.

    That may rise for a moment, by what is on its way to us, and fall, by what has overtaken the count.
    """

    refused: int = 0
    level: int | None = None  # None: of this connection too little is known
    lately: tuple[int, ...] = ()

    def seen(self, beyond: int) -> Tally:
        """After one more look."""
        lately = (*self.lately, beyond)[-LONG:]
        if len(lately) < SURE:
            return replace(self, lately=lately)
        least = min(lately[-SURE:])
        if self.level is None:
            return replace(self, level=max(lately), lately=lately)
        if least > self.level:
            return Tally(self.refused + least - self.level, least, lately)
        level = min(self.level, max(lately)) if len(lately) == LONG else self.level
        return replace(self, level=level, lately=lately)

    def anew(self) -> Tally:
        """At a new connection: the broker may have begun to count anew."""
        return Tally(self.refused)


class TurnedAway:
    """All of it, for one connection to the broker; `tell` gets a line a minute at most."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tallies = {RECEIVED: Tally(), OCTETS: Tally()}
        self.connections = 0
        self.known_elsewhere: list[Callable[[], Known]] = []  # of our other connections there
        self._tell = tell
        self._told = (0, 0)
        self._told_ms = -TOLD_EVERY_MS
        self._numbered = SURE  # looks since more messages were turned away
        self._weighed = 0  # bytes that are told, or belong to messages that are
        self._unweighed = 0  # looks since there are others

    @property
    def messages(self) -> int:
        """So many messages, at least: those that the broker numbers."""
        return self.tallies[RECEIVED].refused

    @property
    def octets(self) -> int:
        """So many bytes, at least, of these and of those it does not number."""
        return self.tallies[OCTETS].refused

    def connected(self) -> None:
        """A new connection."""
        self.tallies = {topic: tally.anew() for topic, tally in self.tallies.items()}

    def heard(self, arrival: Arrival, now_ms: int) -> None:
        """One message on one of `TOPICS`; what the broker kept of an earlier time tells nothing."""
        if arrival.retained:
            return
        if arrival.topic == LOG:
            self.connections += bool(_REFUSED.search(arrival.data))
        elif arrival.data.isdigit():
            known = arrival.known
            for elsewhere in self.known_elsewhere:
                known = known.and_of(elsewhere())
            beyond = int(arrival.data) - known[arrival.topic == OCTETS]
            before = self.messages
            self.tallies[arrival.topic] = self.tallies[arrival.topic].seen(beyond)
            self._weigh(arrival.topic == RECEIVED, self.messages > before)
        messages, connections = self.messages - self._told[0], self.connections - self._told[1]
        octets = self.octets - self._weighed if self._unweighed >= SURE else 0
        if (messages or connections or octets) and now_ms - self._told_ms >= TOLD_EVERY_MS:
            self._told, self._told_ms = (self.messages, self.connections), now_ms
            words = [
                f"{n} {what}{'s' * (n > 1)}"
                for n, what in ((messages, "message"), (connections, "connection"))
                if n
            ]
            if octets and not messages:
                self._weighed = self.octets
                words.insert(0, f"messages of {octets} bytes that it does not number")
            self._tell(f"the broker turned away {' and '.join(words)}")

    def _weigh(self, round_begins: bool, more: bool) -> None:
        """Bytes that come to be known about when messages do are theirs: neither comes first always."""
        self._numbered = 0 if more else self._numbered + round_begins
        if self._numbered < SURE:
            self._weighed = self.octets
        self._unweighed = self._unweighed + round_begins if self.octets > self._weighed else 0
