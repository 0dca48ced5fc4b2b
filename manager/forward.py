"""From the outbox onward: for each sink a thread that sends what waits, oldest first, and remembers
how far it got.

To the fog over Kafka with TLS and SASL, or over HTTPS where only that passes. Parcels are signed, so
neither way can alter them. At least once on the wire; the fog takes each record once.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import hmac
import http.client
import json
import logging
import sqlite3
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from manager import outbox

log = logging.getLogger(__name__)

Record = tuple[Any, ...]  # a row of the outbox: n, device, boot, seq, kind, t_ms, fields

PARCEL_RECORDS = 500
PARCEL_BYTES = 800_000
INTAKE = "ievcc.intake"
MAC_HEADER = "mac"
_MAC_BYTES = 16
CAPACITY = 2_000_000  # rows; about 500 MB
_PIPELINE = 8  # parcels under way at once
_IDLE_S = 1.0  # how often to look for something new
_PAUSE_S = 0.02  # between rounds while catching up: the manager's loop keeps its share
_RETRY_S = (1.0, 2.0, 5.0, 15.0, 60.0)
_THIN_EVERY_S = 60.0


class ForwardError(RuntimeError):
    """The fog did not take a parcel; it stays in the outbox and is sent again."""


class Sink(Protocol):
    """A way to the fog."""

    def send(self, parcels: list[tuple[bytes, bytes]]) -> None:
        """Hand over parcels with their signatures; return when the fog has all, else
        ForwardError.
        """

    def close(self) -> None:
        """Give the connection back."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where and as whom. `url` is kafka://host:port or https://host[:port]/path; `ca` a PEM
    file.
    """

    site: str
    key: bytes
    url: str
    ca: Path | None = None
    password: str = field(default="", repr=False)
    capacity: int = CAPACITY


class KafkaSink:
    """Straight to the fog's Kafka: TLS, SASL/SCRAM, compressed, idempotent."""

    def __init__(self, settings: Settings, timeout_s: float = 30.0) -> None:
        try:
            from confluent_kafka import Producer  # noqa: PLC0415 - an extra; HTTPS needs none
        except ImportError:
            raise ForwardError("no Kafka client: pip install ievcc-manager[kafka]") from None
        self._site = settings.site
        self._timeout_s = timeout_s
        self._producer = Producer(
            {
                "bootstrap.servers": urlsplit(settings.url).netloc,
                "security.protocol": "SASL_SSL",
                "sasl.mechanisms": "SCRAM-SHA-512",
                "sasl.username": f"site-{settings.site}",
                "sasl.password": settings.password,
                "ssl.ca.location": str(settings.ca) if settings.ca else "probe",
                "enable.idempotence": True,
                "compression.type": "zstd",
                "linger.ms": 5,
                "message.timeout.ms": int(timeout_s * 1000),
                "log_level": 2,
            }
        )

    def send(self, parcels: list[tuple[bytes, bytes]]) -> None:
        """Hand over parcels and wait for every acknowledgement."""
        failed: list[str] = []

        def delivered(error: Any, _message: Any) -> None:
            if error is not None:
                failed.append(str(error))

        for value, mac in parcels:
            self._producer.produce(
                INTAKE,
                key=self._site,
                value=value,
                headers={MAC_HEADER: mac},
                on_delivery=delivered,
            )
        left = self._producer.flush(self._timeout_s + 5)
        if left:
            self._producer.purge()
            failed.append(f"{left} parcels unanswered")
        if failed:
            raise ForwardError(failed[0])

    def close(self) -> None:
        """Drop what is still under way."""
        self._producer.purge()


class Posts:
    """POST after POST on one kept connection to a server at `url`; paths begin behind its own.

    `ca` None: the system's authorities. ForwardError where there is no answer.
    """

    def __init__(self, url: str, ca: Path | None = None, timeout_s: float = 30.0) -> None:
        parts = urlsplit(url)
        self._path = parts.path.rstrip("/")
        self._connection: http.client.HTTPConnection
        host = parts.hostname or ""
        if parts.scheme == "https":
            try:
                context = ssl.create_default_context(cafile=str(ca) if ca else None)
            except OSError as e:
                raise ForwardError(f"{ca}: {e}") from e
            self._connection = http.client.HTTPSConnection(
                host, parts.port, timeout=timeout_s, context=context
            )
        else:
            self._connection = http.client.HTTPConnection(host, parts.port, timeout=timeout_s)

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
        """Status and the beginning of what was answered."""
        try:
            self._connection.request("POST", self._path + path, body, dict(headers))
            answer = self._connection.getresponse()
            words = answer.read(300).decode(errors="replace")
            if not answer.isclosed():
                self._connection.close()  # more than anybody says to us: not to be mixed up
        except (OSError, http.client.HTTPException) as e:
            self._connection.close()
            raise ForwardError(f"{type(e).__name__}: {e}") from e
        return answer.status, words

    def close(self) -> None:
        """Close the connection; the next post opens it again."""
        self._connection.close()


class HttpsSink:
    """Through the fog's intake page, where a firewall lets only HTTPS pass. Plain HTTP on
    loopback.
    """

    def __init__(self, settings: Settings, timeout_s: float = 30.0) -> None:
        parts = urlsplit(settings.url)
        if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
            raise ForwardError(f"{settings.url}: not without TLS, except to this machine itself")
        url = settings.url if parts.path else f"{settings.url}/intake"
        self._posts = Posts(url, settings.ca, timeout_s)

    def send(self, parcels: list[tuple[bytes, bytes]]) -> None:
        """One request a parcel on one connection, compressed; the signature is over what is inside."""
        for value, mac in parcels:
            headers = {
                "Content-Type": "application/json",
                "Content-Encoding": "gzip",
                "X-Ievcc-Mac": mac.decode(),
            }
            status, words = self._posts.post("", gzip.compress(value, 1), headers)
            if status != http.client.ACCEPTED:
                raise ForwardError(f"{status} {words}")

    def close(self) -> None:
        """Close the connection."""
        self._posts.close()


def make_sink(settings: Settings) -> Sink:
    """The way the settings' URL names."""
    scheme = urlsplit(settings.url).scheme
    if scheme == "kafka":
        return KafkaSink(settings)
    if scheme in ("http", "https"):
        return HttpsSink(settings)
    raise ForwardError(f"{settings.url}: use kafka://host:port or https://host/path")


def parcel(
    site: str, key: bytes, rows: list[tuple[Any, ...]], sent_ms: int
) -> tuple[bytes, bytes]:
    """Rows of the outbox (n, device, boot, seq, kind, t_ms, fields) as a parcel and its
    signature.
    """
    records = ",".join(
        f'{{"device":"{device}","boot":{boot},"seq":{n if seq is None else seq},'
        f'"kind":"{kind}","t_ms":{t_ms},"fields":{fields}}}'
        for n, device, boot, seq, kind, t_ms, fields in rows
    )
    head = f'{{"v":1,"site":{json.dumps(site)},"parcel":{rows[-1][0]},"sent_ms":{sent_ms}'
    value = f'{head},"records":[{records}]}}'.encode()
    return value, hmac.digest(key, value, hashlib.sha256)[:_MAC_BYTES].hex().encode()


@dataclass(slots=True)
class Counts:
    """What the forwarder has done since it started, and what keeps it from going on ("":
    nothing).
    """

    sent: int = 0
    thinned: int = 0
    passed: int = 0  # times the sink said that it will never take something
    trouble: str = ""


class Onward:
    """Sends the outbox in the store at `path` onward, in a thread of its own, until `stop`.

    How far it has got is in the store, under `name`: a row goes when every sink has it. One of
    those that run `thins` the outbox when it grows above `capacity` rows.
    """

    name = ""

    def __init__(self, path: Path, boot: int, capacity: int = CAPACITY) -> None:
        self.counts = Counts()
        self.thins = False
        self._path = path
        self._boot = boot
        self._capacity = capacity
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thinned_at = 0.0

    def deliver(self, records: list[Record]) -> None:
        """Hand over these rows; return when all have arrived, else ForwardError."""
        raise NotImplementedError

    def let_go(self) -> None:
        """Close what is open: there was trouble, or it is over."""

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self, within_s: float = 5.0) -> None:
        """End soon; what was not sent stays."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(within_s)

    def shown(self) -> dict[str, Any]:
        """How it goes, for people and programs."""
        c = self.counts
        return {"name": self.name, "sent": c.sent, "passed_over": c.passed, "trouble": c.trouble}

    def passed_over(self, why: str) -> None:
        """The sink will never take something of this: said, counted, and not sent again."""
        self.counts.passed += 1
        log.warning("%s does not take some of it: %s", self.name, why)

    def _run(self) -> None:
        failures = 0
        db = None
        while not self._stopped.is_set():
            try:
                if db is None:
                    db = sqlite3.connect(self._path, isolation_level=None, timeout=30)
                if self.thins and time.monotonic() - self._thinned_at > _THIN_EVERY_S:
                    self._thinned_at = time.monotonic()
                    now_ms = time.time_ns() // 1_000_000
                    self.counts.thinned += outbox.thin(db, self._capacity, self._boot, now_ms)
                sent = self.step(db)
                if self.counts.trouble:
                    log.info("%s takes records again", self.name)
                self.counts.trouble = ""
                failures = 0
                self._stopped.wait(_PAUSE_S if sent else _IDLE_S)
            except (ForwardError, sqlite3.Error) as e:
                if not self.counts.trouble:
                    log.warning("records wait for %s: %s", self.name, e)
                self.counts.trouble = str(e)
                self._let_go()
                self._stopped.wait(_RETRY_S[min(failures, len(_RETRY_S) - 1)])
                failures += 1
        self._let_go()
        if db is not None:
            db.close()

    def step(self, db: sqlite3.Connection) -> int:
        """Send one round and remember how far it got. Returns how many records; 0: none wait."""
        rows = db.execute(
            "SELECT n, device, boot, seq, kind, t_ms, fields FROM outbox"
            " WHERE n > (SELECT n FROM sink WHERE name = ?) ORDER BY n LIMIT ?",
            (self.name, PARCEL_RECORDS * _PIPELINE),
        ).fetchall()
        if not rows:
            return 0
        self.deliver(rows)
        outbox.reached(db, self.name, rows[-1][0])
        self.counts.sent += len(rows)
        return len(rows)

    def _let_go(self) -> None:
        with contextlib.suppress(Exception):
            self.let_go()


class Forwarder(Onward):
    """To the fog, in signed parcels."""

    name = "fog"

    def __init__(
        self, path: Path, settings: Settings, boot: int, sink: Sink | None = None
    ) -> None:
        super().__init__(path, boot, settings.capacity)
        self._settings = settings
        self._sink = sink

    def deliver(self, records: list[Record]) -> None:
        """As parcels, several under way at once."""
        if self._sink is None:
            self._sink = make_sink(self._settings)
        now_ms = time.time_ns() // 1_000_000
        parcels = []
        part: list[Record] = []
        size = 0
        for row in records:
            length = len(row[6]) * 4 + 150  # at worst four bytes a character
            if part and (len(part) == PARCEL_RECORDS or size + length > PARCEL_BYTES):
                parcels.append(parcel(self._settings.site, self._settings.key, part, now_ms))
                part, size = [], 0
            part.append(row)
            size += length
        parcels.append(parcel(self._settings.site, self._settings.key, part, now_ms))
        self._sink.send(parcels)

    def let_go(self) -> None:
        """Drop the connection; the next round makes another."""
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.close()
