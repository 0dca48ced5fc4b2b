"""The central system of this building: other makers' chargers connect here and share like ours.

One web socket server, on the manager's own loop: a reading that makes a cut necessary and the
profile that makes it are one turn of the loop apart.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hmac
import http
import logging
import ssl
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import NegotiationError
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from manager.ocpp import kept
from manager.ocpp.connector import Connector, Facts, Held
from manager.ocpp.frames import MAX_BYTES, SUBPROTOCOLS, Talk
from manager.ocpp.settings import Down, Listed
from manager.ocpp.station import Station
from manager.ocpp.station16 import Station16
from manager.ocpp.station201 import Station201
from manager.run import Manager

log = logging.getLogger(__name__)

PING_S = 20.0  # a web socket nobody answers on is over after twice that
_SEQ_SINCE_S = 1_577_836_800  # 2020: a message a second since then stays within the wire's numbers
_KINDS: dict[str, type[Station]] = {"1.6": Station16, "2.0.1": Station201}


class Central:
    """The server and its stations. `refused` counts who was not let in, by why."""

    def __init__(self, manager: Manager, down: Down, here: Path) -> None:
        """`here`: the folder the site file's paths begin at."""
        self.manager = manager
        self.down = down
        self.refused: Counter[str] = Counter()
        self.listed = {one.id: one for one in down.chargers}
        self.stations: dict[str, Station] = {}
        self.port = down.port
        self._tls = tls(down, here)
        self._numbers = kept.highest_transaction(manager.store.path)
        self._running: dict[str, asyncio.Task[None]] = {}
        self.listening = asyncio.Event()
        for one in down.chargers:
            self._station(one, "1.6")

    def next_transaction(self, wanted: int = 0) -> int:
        """See `Host`."""
        free = self._numbers < wanted < 2**30  # a number beyond would leave none for others
        self._numbers = wanted if free else self._numbers + 1
        return self._numbers

    async def run(self) -> None:
        """Serve until cancelled."""
        for name, station in self.stations.items():
            self._running[name] = asyncio.create_task(station.run())
        server: Server = await serve(
            self._serve,
            self.down.host,
            self.port,
            process_request=self._admit,
            select_subprotocol=self._version,
            max_size=MAX_BYTES,
            max_queue=16,
            compression=None,  # a small frame must not become a large one here
            ping_interval=PING_S,
            ping_timeout=PING_S,
            open_timeout=10,
            close_timeout=2,
            ssl=self._tls,
        )
        self.port = next(iter(server.sockets)).getsockname()[1]
        self.listening.set()
        log.info("OCPP at port %d", self.port)
        try:
            await asyncio.Event().wait()
        finally:
            server.close()
            for task in self._running.values():
                task.cancel()

    def shown(self) -> dict[str, Any]:
        """For the page and for programs."""
        return {
            "port": self.port,
            "refused": dict(self.refused),
            "stations": [
                {
                    "id": s.name,
                    "version": s.version,
                    "connected": s.talk is not None,
                    "booted": s.booted,
                    "refused": dict(s.refused),
                    "mended": dict(s.mended),
                    "chargers": [c.facts.name for c in s.connectors.values()],
                }
                for s in self.stations.values()
            ],
        }

    def _station(self, one: Listed, version: str) -> Station:
        connectors = [self._connector(one, n) for n in range(1, one.connectors + 1)]
        station = _KINDS[version](
            one.id, self, connectors, self.down.profile_s, self.down.sample_s
        )
        for connector in connectors:
            name = connector.facts.name
            self._hand(name, station, connector)
            station.restore(connector, kept.transactions(self.manager.store.path, name))
        self.stations[one.id] = station
        return station

    def _hand(self, name: str, station: Station, connector: Connector) -> None:
        """Have the manager reach a connector by this station."""
        self.manager.adapters[name] = station.adapter(connector)
        self.manager.unlocks[name] = partial(station.unlock, connector)

    def _connector(self, one: Listed, number: int) -> Connector:
        manager = self.manager
        name = one.names[number - 1]
        facts = Facts(
            name,
            number,
            one.counter,
            one.phases,
            one.wiring,
            one.min_a,
            one.max_a,
            one.priority,
        )
        known = manager.site.chargers.get(name)
        seq = manager.clock.utc_ms() // 1000 - _SEQ_SINCE_S
        if known is None:
            return Connector(facts, 1, max(1, seq))
        # It may go by the last limit of the manager before this one, for as long as that was to last.
        until = manager.clock.now_ms() + self.down.profile_s * 1000
        held = Held(known.kept_a, until) if known.kept_a else None
        return Connector(facts, max(1, known.boot), max(known.seq + 1, seq), held)

    # Who is let in.

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        name = unquote(urlsplit(request.path).path).rstrip("/").rpartition("/")[2]
        one = self.listed.get(name)
        if one is None:
            return self._refuse(connection, "unknown", http.HTTPStatus.NOT_FOUND)
        if self.down.security_profile == 3:
            if certified(connection) != name:
                return self._refuse(connection, "credentials", http.HTTPStatus.UNAUTHORIZED)
        elif not _knows(request.headers, name, one.password):
            return self._refuse(connection, "credentials", http.HTTPStatus.UNAUTHORIZED)
        return None

    def _refuse(self, connection: ServerConnection, why: str, status: http.HTTPStatus) -> Response:
        self.refused[why] += 1
        response = connection.respond(status, "")
        if status is http.HTTPStatus.UNAUTHORIZED:
            response.headers["WWW-Authenticate"] = 'Basic realm="OCPP"'
        return response

    def _version(self, _: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
        for one in offered:  # in the charger's own order
            if one in SUBPROTOCOLS:
                return one
        self.refused["subprotocol"] += 1
        raise NegotiationError("no OCPP version in common: ocpp1.6, ocpp2.0.1")

    async def _serve(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        name = unquote(urlsplit(socket.request.path).path).rstrip("/").rpartition("/")[2]
        version = SUBPROTOCOLS[str(socket.subprotocol)]
        station = self.stations[name]
        if station.version != version:
            station = self._of_version(station, version)
        talk = Talk(
            socket,
            version,
            name,
            station.answer,
            station.refused,
            station.mended,
            now=station.time,
        )
        await station.connected(talk)

    def _of_version(self, old: Station, version: str) -> Station:
        """The same charger in its other version: an update, or it is tried out."""
        station = _KINDS[version](
            old.name,
            self,
            list(old.connectors.values()),
            self.down.profile_s,
            self.down.sample_s,
        )
        station.past = old.past
        station.announced = old.announced
        station.refused, station.mended = old.refused, old.mended
        for connector in station.connectors.values():
            self._hand(connector.facts.name, station, connector)
        self.stations[old.name] = station
        self._running[old.name].cancel()
        self._running[old.name] = asyncio.create_task(station.run())
        return station


def _knows(headers: Headers, name: str, password: str) -> bool:
    kind, _, rest = headers.get("Authorization", "").partition(" ")
    if kind.lower() != "basic":
        return False
    try:
        said = base64.b64decode(rest, validate=True)
    except binascii.Error:
        return False
    return hmac.compare_digest(said, f"{name}:{password}".encode())


def certified(connection: ServerConnection) -> str:
    """The common name of the certificate the other side has shown, "" for none."""
    wire = connection.transport.get_extra_info("ssl_object")
    shown = wire.getpeercert() if wire is not None else None
    for part in (shown or {}).get("subject", ()):
        for key, value in part:
            if key == "commonName":
                return str(value)
    return ""


def tls(down: Down, here: Path) -> ssl.SSLContext | None:
    """The server's side of TLS by the security profile; None for profile 1."""
    if down.security_profile == 1:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    assert down.certificate is not None
    context.load_cert_chain(here / down.certificate, here / down.key if down.key else None)
    if down.security_profile == 3:
        context.verify_mode = ssl.CERT_REQUIRED
        assert down.ca is not None
        context.load_verify_locations(here / down.ca)
    return context


async def listening(central: Central, within_s: float = 10.0) -> int:
    """The port, when it listens."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await central.listening.wait()
    return central.port
