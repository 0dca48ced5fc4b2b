"""`ievcc run`: a manager made from its site file, with its store, its page and its broker."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import ssl
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from manager import beside, broker, home_assistant, systemd
from manager.cloud_copy import CloudCopy
from manager.cloud_link import CloudLink
from manager.core import plain
from manager.core.overloads import Watch
from manager.core.site import Site
from manager.day_ahead import DayAhead
from manager.decision_log import DecisionLog
from manager.emoncms import EmoncmsPoster
from manager.energy import Asked, Energy
from manager.forward import Forwarder, ForwardError, Onward, Settings
from manager.home_assistant import HomeLink
from manager.influxdb import InfluxWriter
from manager.integrations import HomeAssistant
from manager.logins import Logins, keep_token
from manager.metrics import Metrics
from manager.notify import Teller
from manager.ocpp import service as ocpp
from manager.outbox import LogLines, Outbox, enlist
from manager.people import People
from manager.prices import OMIE
from manager.reception import Reception
from manager.refusal import Refusal
from manager.retention import Folding
from manager.run import Clock, Manager
from manager.running import Running
from manager.sessions import Sessions
from manager.site_books import SiteBooks, timezone_of
from manager.site_file import SiteFile, SiteFileError, load
from manager.store import CHARGER_ROW, Store, StoreError
from manager.web import app as web

log = logging.getLogger(__name__)


def serve(path: Path, *, verbose: bool) -> None:
    """Run the manager until SIGTERM or Ctrl-C; Refusal says why it cannot."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    try:
        file = load(path)
    except SiteFileError as e:
        raise Refusal(f"{path}: {e}") from e
    here = path.resolve().parent
    alone = Running(here / file.store)
    store = Store(here / file.store)
    own = None
    onward: list[Onward] = []
    cloud = None
    manager: Manager | None = None
    try:
        host, port = file.broker.host, file.broker.port
        name = "the broker"
        if not port:
            own = broker.start(here / "broker")
            host, port, name = own.host, own.port, own.name
        sock = web.listen(file.web.host, file.web.port)
        manager = Manager(
            kept_site(store, file.site, Clock().now_ms()),
            store,
            file.site,
            broker=(host, port),
            keys={d.id: d.key or None for d in file.devices.values()},
            open_door=file.open,
            username=file.broker.username,
            password=file.broker.password,
            tls=_tls(file, here),
            clock=Clock(ZoneInfo(file.timezone) if file.timezone else None),
        )
        manager.config = path.resolve()
        logins = Logins(store.path, store.write, manager.clock.utc_ms, time.monotonic)
        keep_token(store.path, logins.token)
        manager.logins = logins
        manager.metrics = Metrics(manager)
        if file.integrations.told:
            manager.alongside.append(Teller(manager, file.integrations.told).run)
        home = file.integrations.home_assistant
        if home is not None:
            ours = home_assistant.Broker(
                host, port, file.broker.username, file.broker.password, _tls(file, here)
            )
            at_home = HomeLink(manager, home, _home_broker(home, ours, here))
            manager.alongside.append(at_home.run)
            if not home.host:
                manager.turned_away.known_elsewhere.append(at_home.known)
        manager.scraper = file.integrations.metrics_token
        manager.alongside.append(systemd.keep_telling)
        clock = manager.clock
        folding = Folding(store.path, file.retention, clock.utc_ms, manager.clock_settled)
        manager.alongside.append(folding.run)
        people = People(store.path)
        manager.energy = Energy(manager, store.path, Asked(file.price_area, file.source_url))
        manager.alongside.append(manager.energy.run)
        if file.fetch:
            address = OMIE if file.fetch == "omie" else file.fetch
            manager.alongside.append(DayAhead(manager, address).run)
        manager.site_books = SiteBooks(store.path, timezone_of(file), file.bills)
        Reception(manager, people, Sessions(store.path, people, manager.clock.zone))
        if file.decisions is not None:
            manager.decisions = DecisionLog(
                here / file.decisions, manager.boot, manager.site, manager.clock.now_ms()
            )
            manager.site = manager.decisions.site
        if file.ocpp.down or file.ocpp.up:
            ocpp.put_into(manager, file.ocpp, here)
        if file.breaker is not None:
            manager.watch = Watch.on(file.breaker, file.site)
        onward = _sinks(file, here, manager.boot)
        with beside.change(store.path) as db:
            enlist(db, [sink.name for sink in onward])
        if onward:
            # A card's hash goes to the fog only, which has the key to it.
            manager.outbox = Outbox(file.fog.key if file.fog else b"", manager.boot)
            logging.getLogger("manager").addHandler(LogLines(manager.outbox, store.write))
            manager.more["sinks"] = lambda: [sink.shown() for sink in onward]
            onward[0].thins = True
        for sink in onward:
            sink.start()
        if file.fog is not None and file.fog.cloud:
            cloud = _cloud(file, here, manager)
            cloud.start()
        shown, number = sock.getsockname()[:2]
        print(f"{file.site.settings.name}: {name} at {host}:{port}", flush=True)
        tls = None
        if file.web.certificate and file.web.private_key:
            tls = here / file.web.certificate, here / file.web.private_key
        print(f"page: {'https' if tls else 'http'}://{shown}:{number}/", flush=True)
        asyncio.run(_until_told(manager, sock, tls))
    finally:
        if manager is not None and manager.decisions is not None:
            manager.decisions.close()
        if cloud is not None:
            cloud.stop()
        for sink in onward:
            sink.stop()
        if manager is not None and manager.logins is not None:
            manager.logins.close()
        store.close()
        if own is not None:
            own.stop()
        systemd.say("STOPPING=1")
        alone.release()


def _tls(file: SiteFile, here: Path) -> ssl.SSLContext | None:
    """How the broker proves itself to us, and we to it; None without TLS."""
    b = file.broker
    if b.ca is None:
        return None
    try:
        context = ssl.create_default_context(cafile=here / b.ca)
        if b.certificate and b.private_key:
            context.load_cert_chain(here / b.certificate, here / b.private_key)
    except OSError as e:  # an SSLError is one
        names = ", ".join(str(p) for p in (b.ca, b.certificate, b.private_key) if p)
        raise Refusal(f"the broker's certificates ({names}): {e}; see `ievcc doctor`") from e
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _home_broker(
    settings: HomeAssistant, own: home_assistant.Broker, here: Path
) -> home_assistant.Broker:
    """Home Assistant's broker: our own, unless it has one of its own."""
    if not settings.host:
        return own
    tls = None
    if settings.ca is not None:
        try:
            tls = ssl.create_default_context(cafile=here / settings.ca)
        except OSError as e:  # an SSLError is one
            raise Refusal(f"[home_assistant] ca: {e}") from e
    return home_assistant.Broker(
        settings.host, settings.port, settings.username, settings.password, tls
    )


def _sinks(file: SiteFile, here: Path, boot: int) -> list[Onward]:
    """Whoever is told of what is kept, as the site file says."""
    found: list[Onward] = []
    store, name = here / file.store, file.site.settings.name
    fog, links = file.fog, file.integrations
    if fog is not None:
        ca = here / fog.ca if fog.ca else None
        found.append(Forwarder(store, Settings(name, fog.key, fog.url, ca, fog.password), boot))
    try:
        if links.influxdb is not None:
            found.append(InfluxWriter(store, name, _beside(links.influxdb, here), boot))
        if links.emoncms is not None:
            found.append(EmoncmsPoster(store, _beside(links.emoncms, here), boot))
    except ForwardError as e:
        raise Refusal(str(e)) from e
    return found


def _beside(settings: Any, here: Path) -> Any:
    """The same with its authority's file found beside the site file."""
    return replace(settings, ca=here / settings.ca) if settings.ca else settings


def _cloud(file: SiteFile, here: Path, manager: Manager) -> CloudLink:
    fog = file.fog
    assert fog is not None
    ca = here / fog.ca if fog.ca else None
    path = (here / file.store).with_suffix(".copy")
    copy = CloudCopy(path, fog.cloud, file.site.settings.name, fog.key, ca)
    manager.barred = copy.barred
    if manager.reception is not None:
        manager.reception.people.cloud = copy
    return CloudLink(copy, manager.wish_from_elsewhere, lambda: manager.link.connected)


def kept_site(store: Store, fresh: Site, now_ms: int) -> Site:
    """The site as it was left; as the site file says if it never ran. StoreError if unreadable."""
    rows = store.site()
    kept = rows.get("site")
    if kept is None:
        return fresh
    try:
        later = [c for name, c in rows.items() if name.startswith(CHARGER_ROW)]
        return plain.site_from_plain(plain.with_chargers(kept, later) if later else kept, now_ms)
    except plain.PlainError as e:
        raise StoreError(f"{store.path}: {e}; move it away to start anew") from e


async def _until_told(
    manager: Manager, sock: socket.socket, tls: tuple[Path, Path] | None
) -> None:
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    deciding = asyncio.create_task(manager.run())
    page = asyncio.create_task(web.serve(manager, sock, ending, tls))  # ends when told
    await asyncio.wait((deciding, page), return_when=asyncio.FIRST_COMPLETED)
    ending.set()
    deciding.cancel()
    for result in await asyncio.gather(deciding, page, return_exceptions=True):
        if isinstance(result, Exception):
            raise result
