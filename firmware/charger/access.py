"""Who may charge: a tap starts, the same tap stops; the manager decides, and without it the signed list it last sent.

Pure: it is told what happened and keeps what follows. Times in ms. Verdicts come from elsewhere
(`asking` says for whom).
"""

ASK_MS = 3_000  # so long the manager is waited for before the list decides
PLUG_MS = 60_000  # between the card and the plug, whichever comes first
AGAIN_MS = 2_000  # the same card lying on the reader is one tap
FAILURES = 5
LOCKED_MS = 60_000


class Access:
    """`allowed`: the car may have power. `asking`: the card a verdict is wanted for, "" none. `card`: whose the session
    is. `how`: card (the manager said so), list, free, manager. `max_a`: this user's own limit, 0 none."""

    def __init__(self, free: bool) -> None:
        """`free`: nobody has to ask."""
        self._free = free
        self.allowed = free
        self.how = "free" if free else ""
        self.card = ""
        self.asking = ""
        self.max_a = 0
        self.light = ""  # what the reader should show: "", ask, yes, no
        self._asked = 0
        self._until = 0
        self._plugged = False
        self._seen = ""
        self._seen_at = -AGAIN_MS
        self._failures = 0
        self._locked_until = 0

    def tap(self, card: str, now_ms: int) -> bool:
        """A card is at the reader; True if a verdict must be asked for."""
        again = card == self._seen and now_ms - self._seen_at < AGAIN_MS
        self._seen = card
        self._seen_at = now_ms
        if again or now_ms < self._locked_until:
            return False
        if self.allowed and self.how != "free":
            if card == self.card:
                self._end()
            # Another card cannot end what somebody else has begun.
            return False
        if self._free:
            return False
        self.asking = card
        self._asked = now_ms
        self.light = "ask"
        return True

    def overdue(self, now_ms: int) -> bool:
        """The manager has not answered in time: ask the list, then call `verdict`."""
        return bool(self.asking) and now_ms - self._asked >= ASK_MS

    def verdict(self, card: str, accepted: bool, how: str, max_a: int, now_ms: int) -> None:
        """The answer for a card; one nobody asked for (any more) is ignored."""
        if card != self.asking or not card:
            return
        self.asking = ""
        if not accepted:
            self.light = "no"
            self._failures += 1
            if self._failures >= FAILURES:
                self._failures = 0
                self._locked_until = now_ms + LOCKED_MS
            return
        self._failures = 0
        self.allow(card, how, max_a, now_ms)

    def allow(self, card: str, how: str, max_a: int, now_ms: int) -> None:
        """Let the car charge without asking further: the manager's start, or a session that a power cut interrupted."""
        self.allowed = True
        self.how = how
        self.card = card
        self.max_a = max_a
        self.light = "yes"
        self._until = now_ms + PLUG_MS

    def stop(self) -> None:
        """The manager ends it; with free access until the car has been unplugged."""
        self._end()
        self.allowed = False

    def step(self, plugged: bool, now_ms: int) -> None:
        """Plug and time."""
        if self._plugged and not plugged:
            self._end()
        elif plugged or not self.allowed or self.how == "free":
            pass
        elif now_ms >= self._until:
            self._end()  # nobody plugged in
        self._plugged = plugged

    def locked(self, now_ms: int) -> bool:
        """Too many wrong cards."""
        return now_ms < self._locked_until

    def _end(self) -> None:
        self.allowed = self._free
        self.how = "free" if self._free else ""
        self.card = ""
        self.max_a = 0
        self.light = ""
        self.asking = ""
