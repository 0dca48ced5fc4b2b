"""Charging sessions in flash. One file for the session under way, one for each that has ended and
that the manager has not
acknowledged. Each is replaced whole, and an ended one is written before the running one is cleared: a power cut at any
moment leaves it once, under its number, and never lost.
"""

import json
import os

from firmware.common.config import write_whole

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass

_RUNNING = "session"
_FOLDER = "sessions"
PZEM_ROLLOVER_WH = 10_000_000  # it counts to 9999.99 kWh
UNSEEN_WH = (
    100_000  # more than one car takes: what counts more since the last session is another meter
)


def grown(before_wh: int, now_wh: int) -> int:
    """Energy between two readings of the counter; one that fell has rolled over, or was reset to zero."""
    if now_wh >= before_wh:
        return now_wh - before_wh
    if before_wh > PZEM_ROLLOVER_WH * 9 // 10:
        return now_wh + PZEM_ROLLOVER_WH - before_wh
    return now_wh


class Sessions:
    """`running`: the session under way or None: {n, how, card, from_wh, wh, last_wh, s, told, why}; with a `why` it is
    over, and only the meter's last word is waited for. `waiting`: the numbers of those that have ended and are not yet
    acknowledged, oldest first. `after_cut`: a restart came in the middle of one. `at_wh`: the meter when the last one
    ended, -1 not known.
    Every method that changes something writes the flash, and raises OSError with nothing changed if that cannot be."""

    def __init__(self) -> None:
        self.running: "dict[str, Any] | None" = None
        self.waiting: "list[int]" = []
        self.at_wh = -1
        self._last = 0
        try:
            with open(_RUNNING) as f:
                kept = json.loads(f.read())
            self._last = int(kept["last"])
            self.running = kept["running"]
            self.at_wh = int(kept.get("at_wh", -1))
        except (OSError, ValueError, KeyError, TypeError):
            pass
        try:
            for name in os.listdir(_FOLDER):
                try:
                    self.waiting.append(int(name))
                except ValueError:
                    pass  # a file that was being written as the power went
        except OSError:
            os.mkdir(_FOLDER)
        self.waiting.sort()
        if self.waiting:
            self._last = max(self._last, self.waiting[-1])
        if self.running is not None and self.running["n"] in self.waiting:
            over = self.read(self.running["n"])
            self.at_wh = over["last_wh"] if over else -1
            self.running = None  # it ended; only its clearing was cut off
        self.after_cut = self.running is not None

    def _keep(self, last: int, running: "dict[str, Any] | None", at_wh: int) -> None:
        write_whole(_RUNNING, json.dumps({"last": last, "running": running, "at_wh": at_wh}))
        self._last = last
        self.running = running
        self.at_wh = at_wh

    def begins_at(self, meter_wh: int) -> int:
        """Where a session begins that nobody had to allow: where the one before it ended. What flowed since then flowed
        before this lane was told of the car."""
        if self.at_wh >= 0 and 0 <= meter_wh - self.at_wh <= UNSEEN_WH:
            return self.at_wh
        return meter_wh

    def rests(self, meter_wh: int) -> None:
        """No session is under way, none ever was, and the meter says so much."""
        self._keep(self._last, None, meter_wh)

    def begin(self, how: str, card: str, meter_wh: int) -> None:
        """A session begins with the meter at so much."""
        n = self._last + 1
        self._keep(
            n,
            {
                "n": n,
                "how": how,
                "card": card,
                "from_wh": meter_wh,
                "wh": 0,
                "last_wh": meter_wh,
                "s": 0,
                "told": 0,
                "why": "",
            },
            self.at_wh,
        )

    def measured(self, meter_wh: int) -> int:
        """Its energy so far, Wh, with the meter at so much; in memory only, for the meter itself keeps counting."""
        s = self.running
        if s is None:
            return 0
        return int(s["wh"]) + grown(s["last_wh"], meter_wh)

    def save(self, meter_wh: int, seconds: int) -> None:
        """Keep how far it has come: it has lasted `seconds` more. For its duration, and a counter that rolls over."""
        s = self.running
        if s is not None:
            new = s.copy()
            new["wh"] = self.measured(meter_wh)
            new["last_wh"] = meter_wh
            new["s"] = s["s"] + seconds
            self._keep(self._last, new, self.at_wh)

    def told(self) -> None:
        """The manager knows that it has begun."""
        s = self.running
        if s is not None and not s["told"]:
            new = s.copy()
            new["told"] = 1
            self._keep(self._last, new, self.at_wh)

    def over(self, seconds: int, why: str) -> None:
        """The car is gone or may have no more, after `seconds` more; `end` follows when the meter has counted all."""
        s = self.running
        if s is not None:
            new = s.copy()
            new["s"] = s["s"] + seconds
            new["why"] = why
            self._keep(self._last, new, self.at_wh)
            self.after_cut = False

    def end(self, meter_wh: int) -> None:
        """That one has ended; `meter_wh` below 0: the meter does not answer, what was saved last counts."""
        s = self.running
        if s is None:
            return
        over = s.copy()
        if meter_wh >= 0:
            over["wh"] = self.measured(meter_wh)
            over["last_wh"] = meter_wh
        write_whole("%s/%d" % (_FOLDER, s["n"]), json.dumps(over))
        if s["n"] not in self.waiting:
            self.waiting.append(s["n"])
        self._keep(self._last, None, over["last_wh"])

    def read(self, number: int) -> "dict[str, Any] | None":
        """An ended session as it is kept; None if there is none of this number."""
        try:
            with open("%s/%d" % (_FOLDER, number)) as f:
                got: "dict[str, Any]" = json.loads(f.read())
                return got
        except (OSError, ValueError):
            return None

    def acknowledged(self, number: int) -> bool:
        """The manager has it on disk; True if it was waiting."""
        if number not in self.waiting:
            return False
        os.remove("%s/%d" % (_FOLDER, number))
        self.waiting.remove(number)
        return True
