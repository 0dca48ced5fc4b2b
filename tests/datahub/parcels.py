"""Parcels as a building sends them."""

from __future__ import annotations

import functools
import json
import time
from typing import Any

from confluent_kafka import Producer

from datahub.fog import record, topics
from datahub.fog.deadletter import parcel_bytes
from tests.datahub.conftest import key_of

T0 = 1_795_392_000_000  # a full quarter hour


def load(
    device: str,
    seq: int,
    t_ms: int,
    energy_wh: int,
    power_w: int = 3680,
    boot: int = 1,
    kind: str = "counter_load",
    **more: Any,
) -> bytes:
    fields: dict[str, Any] = {
        "current_ma": [16000],
        "voltage_dv": [2300],
        "power_w": [power_w],
        "energy_wh": [energy_wh],
        "age_ms": 0,
    }
    return note(device, seq, t_ms, kind, {**fields, **more}, boot)


def note(
    device: str, seq: int, t_ms: int, kind: str, fields: dict[str, Any], boot: int = 1
) -> bytes:
    return json.dumps(
        {"device": device, "boot": boot, "seq": seq, "kind": kind, "t_ms": t_ms, "fields": fields},
        separators=(",", ":"),
    ).encode()


def signed(site: str, records: list[bytes], sent_ms: int | None = None) -> tuple[bytes, bytes]:
    value = parcel_bytes(site, 1, int(time.time() * 1000) if sent_ms is None else sent_ms, records)
    return value, record.mac(key_of(site), value)


@functools.cache
def _producer(servers: str) -> Producer:
    # A new one needs half a second for its number.
    return Producer(
        {
            "bootstrap.servers": servers,
            "enable.idempotence": True,
            "compression.type": "zstd",
            "linger.ms": 5,
        }
    )


def send(
    servers: str, site: str, records: list[bytes], parcel: int = record.PARCEL_RECORDS
) -> None:
    """To the intake, in parcels; returns when Kafka has them."""
    producer = _producer(servers)
    for i in range(0, len(records), parcel):
        value, mac = signed(site, records[i : i + parcel])
        producer.produce(topics.INTAKE, key=site, value=value, headers={record.MAC_HEADER: mac})
    assert producer.flush(60) == 0
