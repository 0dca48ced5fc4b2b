"""What a central system sends a charge point out for: new firmware to fetch, a log to leave.

When it says and as often as it says. What is still to be fetched, and whose installing is still to be
told of, outlives a restart; a log is asked for again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from manager.ocpp import kept, remote_files
from manager.refusal import Refusal

if TYPE_CHECKING:
    from manager.ocpp.point import Point

Payload = dict[str, Any]
TRIES = 3  # where the central system leaves that to us
TRIES_MOST = 20
AGAIN_S = 60
_AGAIN_MOST_S = 86_400
_OVER = {"done": "Installed", "failed": "InstallationFailed", "reverted": "InstallationFailed"}
IDLE = "Idle"


@dataclass(frozen=True, slots=True)
class Firmware:
    """What to fetch; times in ms UTC. `install_ms` 0: at once."""

    url: str
    request: int
    at_ms: int
    tries: int
    again_s: int
    install_ms: int = 0


def patience(p: Payload) -> tuple[int, int]:
    """(tries, seconds between them) as a request names them: its `retries` are those after the first."""
    tries = 1 + int(p["retries"]) if "retries" in p else TRIES
    again = int(p.get("retryInterval", AGAIN_S))
    return max(1, min(TRIES_MOST, tries)), max(0, min(_AGAIN_MOST_S, again))


class Errands:
    """Those of one point. `now` says how each kind goes, as it was last said."""

    def __init__(self, point: Point) -> None:
        self._point = point
        self.now: dict[str, tuple[str, int]] = {"firmware": (IDLE, 0), "log": (IDLE, 0)}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        found = kept.settings(point.manager.store.path, point.name).get("errand", {})
        self._updating: dict[str, int] = found.get("updating", {})  # charger -> request
        self._failed = False
        for request in self._updating.values():
            self.now["firmware"] = "Installing", request
        if "firmware" in found:
            what = Firmware(**found["firmware"])
            self.now["firmware"] = "DownloadScheduled", what.request
            self._begin("firmware", self._update(what))

    def _say(self, kind: str, word: str, request: int) -> None:
        self.now[kind] = word, request
        self._point.say_errand(kind, word, request)

    def busy(self, kind: str) -> bool:
        """Whether one of this kind is under way."""
        return self.now[kind][0] != IDLE

    def _begin(self, kind: str, work: Coroutine[Any, Any, None]) -> None:
        """One of a kind at a time: the newer one goes for the older."""
        old = self._tasks.get(kind)
        if old is not None:
            old.cancel()
        self._tasks[kind] = self._point.beside(work)

    async def _tried(
        self, what: str, once: Callable[[], Awaitable[None]], tries: int, again_s: int
    ) -> bool:
        """Whether it went well within so many tries."""
        for left in range(tries - 1, -1, -1):
            try:
                await once()
            except OSError as e:
                self._point.manager.note("ocpp", self._point.name, f"{what}: {e}"[:200])
                if left:
                    await asyncio.sleep(again_s)
            else:
                return True
        return False

    async def _until(self, at_ms: int) -> None:
        # Asked for again and again: somebody may set the clock meanwhile.
        while (left_s := (at_ms - self._point.utc_ms()) / 1000) > 0:  # noqa: ASYNC110
            await asyncio.sleep(min(left_s, 60))

    # Firmware.

    def fetch(self, what: Firmware) -> None:
        """Have new firmware fetched and offered to every charger of the point."""
        self._updating, self._failed = {}, False
        with self._point.as_one():
            self._point.keep_one("errand", "firmware", asdict(what))
            self._point.keep_one("errand", "updating", None)
            if what.at_ms > self._point.utc_ms():
                self._say("firmware", "DownloadScheduled", what.request)
        self._begin("firmware", self._update(what))

    async def _update(self, what: Firmware) -> None:
        point = self._point
        found = bytearray()

        async def once() -> None:
            self._say("firmware", "Downloading", what.request)
            found[:] = await remote_files.fetch(what.url)

        await self._until(what.at_ms)
        if not await self._tried("the central system's firmware", once, what.tries, what.again_s):
            self._over("DownloadFailed", what.request)
            return
        self._say("firmware", "Downloaded", what.request)
        if what.install_ms > point.utc_ms():
            self._say("firmware", "InstallScheduled", what.request)
            await self._until(what.install_ms)
        version = what.url.rpartition("/")[2].removesuffix(".bundle")[:16] or "from above"
        try:
            for charger in point.outlets:
                point.manager.offer_update(charger, bytes(found), version)
        except Refusal as e:
            point.manager.note("update", point.name, f"the central system's: {e}"[:200])
            self._over("InstallationFailed", what.request)
            return
        self._updating = dict.fromkeys(point.outlets, what.request)
        with point.as_one():
            point.keep_one("errand", "firmware", None)
            point.keep_one("errand", "updating", self._updating)
            self._say("firmware", "Installing", what.request)

    def _over(self, word: str, request: int) -> None:
        with self._point.as_one():
            self._point.keep_one("errand", "firmware", None)
            self._say("firmware", word, request)
        self.now["firmware"] = IDLE, 0

    def board_says(self, charger: str, state: str) -> None:
        """How a charger's update goes. The point's is over when its last charger's is."""
        word = _OVER.get(state)
        request = self._updating.pop(charger, None) if word is not None else None
        if word is None or request is None:
            return
        self._failed = self._failed or state != "done"
        with self._point.as_one():
            self._point.keep_one("errand", "updating", self._updating or None)
            if not self._updating:
                self._over("InstallationFailed" if self._failed else word, request)

    # A log.

    def leave_log(
        self, url: str, request: int, tries: int, again_s: int, since_ms: int, until_ms: int
    ) -> str:
        """Have what happened lately at our chargers left there as a JSON file; its name."""
        name = f"{self._point.name}-{self._point.utc_ms() // 1000}.json"
        whole = f"{url.rstrip('/')}/{name}"
        self._begin("log", self._leave(whole, request, tries, again_s, (since_ms, until_ms)))
        return name

    async def _leave(
        self, url: str, request: int, tries: int, again_s: int, span_ms: tuple[int, int]
    ) -> None:
        text = self._log(*span_ms).encode()
        self._say("log", "Uploading", request)
        good = await self._tried("a log", lambda: remote_files.leave(url, text), tries, again_s)
        self._say("log", "Uploaded" if good else "UploadFailure", request)
        self.now["log"] = IDLE, 0

    def _log(self, since_ms: int, until_ms: int) -> str:
        point = self._point
        of = ("", point.name, *point.outlets)
        mine = [
            e
            for e in point.manager.events
            if e["device"] in of and since_ms <= e["at_ms"] <= until_ms
        ]
        chargers = point.manager.site.chargers
        found = {c: asdict(chargers[c]) for c in point.outlets if c in chargers}
        return json.dumps({"point": point.shown(), "events": mine, "chargers": found})
