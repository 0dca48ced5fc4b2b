"""The manager's line to the cloud: keeps its copy fresh and passes on what people ask for.

A thread of its own, so that a cloud that hangs delays nothing; cards are answered from the copy,
cloud or not.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from manager.cloud_copy import CloudCopy, CopyError, user_id

log = logging.getLogger(__name__)

_WAIT_S = 20.0
_RETRY_S = (1.0, 5.0, 15.0, 60.0)


class CloudLink:
    """Fetches the copy as it changes; `command` carries out a wish (charger, command, the user who
    asked, by id) and says what became of it.

    Wishes wait while `ready` says that there is no way to the chargers.
    """

    def __init__(
        self, copy: CloudCopy, command: Callable[[str, str, str], str], ready: Callable[[], bool]
    ) -> None:
        self.copy = copy
        self.trouble = ""  # why the cloud's newest is not here, in words
        self._command = command
        self._ready = ready
        self._done: dict[int, str] = {}  # wish -> result, until the cloud has it
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cloud", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; a question under way is given up."""
        self._stopped.set()

    def _run(self) -> None:
        failures = 0
        while not self._stopped.is_set():
            try:
                if self._ready():
                    self._carry_out()
                waits = bool(self.copy.wishes(time.time()))
                self.copy.fetch(0 if waits else _WAIT_S)
                if waits:
                    self._stopped.wait(_RETRY_S[0])
                if self.trouble:
                    log.info("the cloud answers again")
                self.trouble = ""
                failures = 0
            except CopyError as e:
                if not self.trouble:
                    log.warning("going on with version %d: %s", self.copy.version, e)
                self.trouble = str(e)
                self._stopped.wait(_RETRY_S[min(failures, len(_RETRY_S) - 1)])
                failures += 1

    def _carry_out(self) -> None:
        for wish in self.copy.wishes(time.time()):
            number = wish["id"]
            if number not in self._done:
                # Remembered first: a wish is carried out once, however often its answer is lost.
                self._done[number] = "interrupted"
                who = user_id(wish.get("person", 0))
                self._done[number] = self._command(wish["device"], wish["command"], who)
        open_wishes = {w["id"] for w in self.copy.wishes(time.time())}
        for number, result in list(self._done.items()):
            if number in open_wishes:
                self.copy.answer(number, result)
                self.copy.forget_wish(number)
            else:
                del self._done[number]
