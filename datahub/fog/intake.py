"""The fog's door for buildings whose firewall lets only HTTPS pass: parcels in, the same Kafka
topic.

A parcel's signature is checked before Kafka sees it, and the answer waits until Kafka has it.
"""

from __future__ import annotations

import time
import zlib

import anyio
import psycopg
from confluent_kafka import KafkaException, Producer
from psycopg_pool import ConnectionPool
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from datahub.fog import record, topics

_MOST = 1_000_000
_DELIVER_S = 10.0


def opened(body: bytes) -> bytes:
    """What is in this gzip, or its beginning of one byte more than is taken: however small it
    comes, it opens to no more. zlib.error if it is none, or broken off.
    """
    gunzip = zlib.decompressobj(wbits=31)
    value = gunzip.decompress(body, _MOST + 1)
    if len(value) <= _MOST and not gunzip.eof:
        raise zlib.error("it breaks off")
    return value


def make_app(servers: str, dsn: str, master: bytes) -> Starlette:
    """The door. Put TLS in front of it; the parcels inside are signed all the same."""
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "enable.idempotence": True,
            "compression.type": "zstd",
            "message.timeout.ms": int(_DELIVER_S * 1000),
        }
    )
    pool = ConnectionPool(dsn, min_size=0, max_size=4, open=False)

    def key_of(site: str) -> bytes | None:
        with pool.connection() as db:
            row = db.execute(
                "SELECT key_version FROM site WHERE name = %s AND active", (site,)
            ).fetchone()
        return None if row is None else record.site_key(master, site, row[0])

    def deliver(site: str, value: bytes, mac: bytes) -> str:
        failed: list[str] = []
        done: list[bool] = []

        def delivered(error: object, _message: object) -> None:
            done.append(True)
            if error is not None:
                failed.append(str(error))

        headers: dict[str, str | bytes | None] = {record.MAC_HEADER: mac}
        producer.produce(
            topics.INTAKE, key=site, value=value, headers=headers, on_delivery=delivered
        )
        ends = time.monotonic() + _DELIVER_S + 2
        while not done and time.monotonic() < ends:
            producer.poll(0.1)
        return failed[0] if failed else "" if done else "Kafka does not answer"

    async def take(request: Request) -> Response:
        encoding = request.headers.get("content-encoding", "identity")
        if encoding not in ("identity", "gzip"):
            return PlainTextResponse(f"{encoding}: send it plain or as gzip", 415)
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > _MOST:
                return PlainTextResponse("too long", 413)
        try:
            value = opened(body) if encoding == "gzip" else body
        except zlib.error as e:
            return PlainTextResponse(f"not gzip: {e}", 400)
        if len(value) > _MOST:
            return PlainTextResponse("too long", 413)
        try:
            parcel = record.open_parcel(value)
        except record.Rejected as e:
            return PlainTextResponse(str(e), 400)
        mac = request.headers.get("x-ievcc-mac", "").encode()
        try:
            key = await anyio.to_thread.run_sync(key_of, parcel.site)
            if key is None or not record.authentic(key, value, mac):
                return PlainTextResponse("not signed with this site's key", 401)
            wrong = await anyio.to_thread.run_sync(deliver, parcel.site, value, mac)
        except (psycopg.Error, KafkaException, BufferError) as e:
            wrong = str(e)
        if wrong:
            return PlainTextResponse(wrong, 503, {"Retry-After": "5"})
        return PlainTextResponse("", 202)

    async def health(_request: Request) -> Response:
        return PlainTextResponse("ok")

    pool.open()
    routes = [Route("/intake", take, methods=["POST"]), Route("/health", health)]
    return Starlette(routes=routes)
