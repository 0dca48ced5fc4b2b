"""New firmware over the network: signed by the manager, checked whole, put in place all or
nothing.

It comes in pieces as the device asks for them, onto the flash; only when the SHA-256 of the whole
is the one in the signed offer are the files laid beside those they replace (".new"), and one file,
the plan, says so. The change itself happens at the next start (update_start.py): cut at any
moment, it is finished or undone by the start after that.
"""

import gc
import json

from firmware.common.config import write_whole
from firmware.common.ticks import ticks_diff
from firmware.common.update_start import PLAN, exists, remove
from shared import protocol

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass

_BUNDLE = "update.bundle"
_ASK_AGAIN_MS = 2000
_ASKS_MOST = 30


class Update:
    """One update under way. `restart` becomes True when everything lies ready for the next
    start."""

    def __init__(self, link: "Any") -> None:
        self._link = link
        self._offer: "dict[str, Any] | None" = None
        self._file: "Any" = None
        self._at = 0
        self._asked = 0
        self._asks = 0
        self.restart = False

    def heard(self, message: "dict[str, Any]", now_ms: int) -> None:
        """An offer or a piece has come."""
        try:
            if message["code"] == protocol.UPDATE_OFFER:
                self._begin(message, now_ms)
            elif self._offer is not None and message["update"] == self._offer["update"]:
                self._piece(message, now_ms)
        except (OSError, ValueError, MemoryError) as e:
            self._fail(str(e) or "no room", message["update"])

    def step(self, now_ms: int) -> None:
        """Ask again for a piece that did not come."""
        if self._offer is not None and ticks_diff(now_ms, self._asked) >= _ASK_AGAIN_MS:
            self._asks += 1
            if self._asks > _ASKS_MOST:
                self._fail("no more pieces came", self._offer["update"])
            else:
                self._ask(now_ms)

    def _begin(self, offer: "dict[str, Any]", now_ms: int) -> None:
        if not self._link.signed:
            raise ValueError("this device has no key: it takes no update")
        if self._file is not None:
            self._file.close()
        self._file = open(_BUNDLE, "wb")  # noqa: SIM115 - stays open over many pieces
        self._offer = offer
        self._at = 0
        self._asks = 0
        self._ask(now_ms)

    def _say(self, number: int, state: str, words: str = "") -> None:
        message = {
            "code": protocol.UPDATE_STATUS,
            "update": number,
            "state": state,
            "offset": self._at,
        }
        if words:
            message["words"] = words[:64]
        self._link.publish(message)

    def _ask(self, now_ms: int) -> None:
        self._asked = now_ms
        if self._offer is not None:
            self._say(self._offer["update"], "loading")

    def _piece(self, piece: "dict[str, Any]", now_ms: int) -> None:
        offer = self._offer
        if offer is None or piece["offset"] != self._at:
            return  # one asked for twice
        data = bytes.fromhex(piece["data"])
        self._file.write(data)
        self._at += len(data)
        self._asks = 0
        if self._at > offer["size"]:
            raise ValueError("longer than offered")
        if self._at < offer["size"]:
            self._ask(now_ms)
            return
        self._file.close()
        self._file = None
        self._offer = None
        gc.collect()
        # Only now: what receives and what unpacks are not needed at the same time.
        from firmware.common.bundle import lay_out

        files = lay_out(_BUNDLE, offer["sha256"])
        plan = {"update": offer["update"], "version": offer["version"], "stage": "swap"}
        plan["files"] = files
        plan["added"] = [path for path in files if not exists(path)]
        write_whole(PLAN, json.dumps(plan))  # from this moment on the next start changes over
        self._say(offer["update"], "ready")
        self.restart = True

    def _fail(self, why: str, number: int) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self._offer = None
        remove(_BUNDLE)
        self._say(number, "failed", why)
