"""Our chargers in somebody's network: to a central system the manager is a charge point for each of them.

Or one charge point with a connector for each, if the site file says so. A central system can lower
what a charger is given, and never raise it: its profiles become ceilings the core shares under.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import logging
import random
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidURI
from websockets.typing import Subprotocol

from manager.ocpp import kept
from manager.ocpp.frames import MAX_BYTES, Talk
from manager.ocpp.point import Outlet, Point
from manager.ocpp.point16 import Point16
from manager.ocpp.point201 import Point201
from manager.ocpp.settings import Up
from manager.ocpp.signing import Signer
from manager.run import Manager
from shared import protocol

log = logging.getLogger(__name__)

PING_S = 20.0
_STAYED_S = 30.0  # a connection that lasted so long was one
_AGAIN_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_KINDS: dict[str, type[Point]] = {"1.6": Point16, "2.0.1": Point201}
_OURS = "*"  # the row under which what is of no single point is kept


class Upward:
    """All charge points we are."""

    def __init__(self, manager: Manager, up: Up, here: Path) -> None:
        self.manager = manager
        self.up = up
        self.points: dict[str, Point] = {}
        self.trouble = ""
        self._of: dict[str, tuple[Point, Outlet]] = {}  # charger -> where it is
        self._tls = tls(up, here)
        path = manager.store.path
        found = kept.settings(path, _OURS)
        pem = found.get("key", {}).get("signing", "")
        self._signer = Signer(pem)
        if not pem:
            manager.store.write([kept.setting(_OURS, "key", "signing", self._signer.pem())])
        self._numbers = itertools.count(kept.highest_queued(path) + 1)
        self._connectors: dict[str, int] = found.get("connector", {})
        self._tasks: dict[str, asyncio.Task[None]] = {}
        manager.listeners.append(self.heard)
        manager.kept_for_another = self.kept_for_another

    async def run(self) -> None:
        """Be charge points until cancelled."""
        try:
            while True:
                self._take_up()
                for point in self.points.values():
                    point.limit()
                await asyncio.sleep(1)
        finally:
            for task in self._tasks.values():
                task.cancel()

    def shown(self) -> list[dict[str, Any]]:
        """For the page and for programs."""
        return [p.shown() for p in self.points.values()]

    def _wanted(self) -> list[str]:
        manager = self.manager
        if self.up.chargers:
            return [c for c in self.up.chargers if c in manager.site.chargers]
        return [c for c in manager.site.chargers if c not in manager.adapters]

    def _take_up(self) -> None:
        """Make points of the chargers that have announced themselves since."""
        new = [c for c in self._wanted() if c not in self._of]
        if not new:
            return
        if self.up.each:
            for charger in new:
                self._make(f"{self.up.name}-{charger}", {charger: 1})
            return
        # A connector's number is for ever: the central system knows the charger by it.
        for charger in new:
            if charger not in self._connectors:
                number = max(self._connectors.values(), default=0) + 1
                self._connectors[charger] = number
                row = kept.setting(_OURS, "connector", charger, number)
                self.manager.store.write([row])
        point = self.points.get(self.up.name)
        if point is None:
            self._make(self.up.name, self._connectors)
            return
        for charger in new:
            self._of[charger] = point, point.add(charger, self._connectors[charger])

    def _make(self, name: str, connectors: Mapping[str, int]) -> None:
        kind = _KINDS[self.up.version]
        point = kind(name, self.manager, connectors, self._signer, self._numbers)
        self.points[name] = point
        for charger, outlet in point.outlets.items():
            self._of[charger] = point, outlet
        self._tasks[name] = asyncio.get_running_loop().create_task(self._keep_up(point))

    def heard(self, device: str, message: Mapping[str, Any]) -> None:
        """A message of one of our chargers, as the manager has taken it."""
        code = message["code"]
        if code == protocol.NEW_CHARGER:
            self._take_up()
        found = self._of.get(device)
        if found is None:
            return
        point, outlet = found
        if code == protocol.CARD_READ:
            self._card(point, outlet, message["card"])
        else:
            point.heard(outlet, message)

    def kept_for_another(self, charger: str, card: str) -> bool:
        """Whether the central system keeps this charger for somebody other than this card."""
        found = self._of.get(charger)
        return found is not None and found[0].kept_for_another(found[1], card)

    def _card(self, point: Point, outlet: Outlet, card: str) -> None:
        reception = self.manager.reception
        if reception is not None and reception.people.card(card) is not None:
            return  # one of the site's own: the site decides, and has
        point.beside(self._ask(point, outlet, card))

    async def _ask(self, point: Point, outlet: Outlet, card: str) -> None:
        good = await point.authorised(outlet, card)
        if good or self.manager.reception is None:
            word = "accepted" if good else "unknown"
            said = {"card": card, "verdict": word, "user": ""}
            self.manager.order(outlet.charger, protocol.CARD_VERDICT, said)

    async def _keep_up(self, point: Point) -> None:
        """Connect, and connect again; sooner at first, later apart, so that a thousand do not come at once."""
        tries = 0
        while True:
            try:
                tries = await self._once(point, tries)
            except (OSError, InvalidHandshake, InvalidURI, TimeoutError) as e:
                if str(e) != self.trouble:
                    log.info("%s: %s", self.up.url, e)
                self.trouble = str(e)
                point.refused["connection"] += 1
            wait = _AGAIN_S[min(tries, len(_AGAIN_S) - 1)]
            tries += 1
            await asyncio.sleep(wait * random.uniform(0.5, 1.5))

    async def _once(self, point: Point, tries: int) -> int:
        loop = asyncio.get_running_loop()
        began, delivered = loop.time(), point.delivered
        headers = {}
        if self.up.password:
            word = base64.b64encode(f"{point.name}:{self.up.password}".encode()).decode()
            headers["Authorization"] = f"Basic {word}"
        async with connect(
            f"{self.up.url}/{quote(point.name)}",
            subprotocols=[Subprotocol(f"ocpp{self.up.version}")],
            additional_headers=headers,
            max_size=MAX_BYTES,
            compression=None,
            ping_interval=PING_S,
            ping_timeout=PING_S,
            open_timeout=10,
            close_timeout=2,
            ssl=self._tls,
            user_agent_header=None,
        ) as socket:
            if socket.subprotocol is None:
                raise InvalidHandshake(f"the other side does not speak OCPP {self.up.version}")
            self.trouble = ""
            talk = Talk(
                socket,
                self.up.version,
                point.name,
                point.answer,
                point.refused,
                now=point.time,
            )
            await point.connected(talk)
            # One that lets us in and throws us out at once is not asked every second.
            good = point.delivered > delivered or loop.time() - began > _STAYED_S
            return 0 if good else tries


def tls(up: Up, here: Path) -> ssl.SSLContext | None:
    """Our side of TLS; None for ws://."""
    if not up.url.startswith("wss://"):
        return None
    context = ssl.create_default_context(cafile=str(here / up.ca) if up.ca else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if up.certificate is not None and up.key is not None:
        context.load_cert_chain(here / up.certificate, here / up.key)
    return context
