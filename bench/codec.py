"""How long the codec takes for a message and how long the message is, beside plain JSON and
msgpack of the same fields.

JSON and msgpack check nothing: no type, no range, no name. They are what one would send without a
codec.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import msgpack

from bench.table import Row, UnavailableError, percentile
from shared import protocol

TITLE = "Codec: time and bytes per message"

EXAMPLES: dict[str, dict[str, Any]] = {
    "charger_status": {
        "code": protocol.CHARGER_STATUS,
        "boot": 12,
        "seq": 34567,
        "state": "C2",
        "offer_a": 16,
        "lease": 4711,
        "lease_ms": 14980,
        "contactor": 1,
        "mode": "managed",
        "faults": [],
        "rejected": 0,
        "uptime_s": 86400,
    },
    "counter_load": {
        "code": protocol.COUNTER_LOAD,
        "boot": 12,
        "seq": 34567,
        "current_ma": [16432, 3120, 890],
        "voltage_dv": [2301, 2312, 2298],
        "power_w": [3779, 715, 198],
        "energy_wh": [1234567, 345678, 98765],
        "pf_pct": [99, 97, 88],
        "freq_mhz": 50020,
        "age_ms": 35,
    },
    "available_load": {
        "code": protocol.AVAILABLE_LOAD,
        "boot": 3,
        "seq": 99871,
        "re_boot": 12,
        "re_seq": 34567,
        "limit_a": 16,
        "ttl_ms": 15000,
        "lease": 4712,
        "reason": "equal_share",
    },
}
KEY = bytes(range(32))
TOPIC = "ievcc/site/Charger-1/up"


def _each_us(call: Callable[[], object], rounds: int) -> list[float]:
    """Microseconds a call, as means of 20 calls so that the clock's own cost does not count."""
    out = []
    for _ in range(rounds):
        begin = time.perf_counter_ns()
        for _ in range(20):
            call()
        out.append((time.perf_counter_ns() - begin) / 20_000)
    return out


def _sealed(message: dict[str, Any]) -> bytes:
    return protocol.sign(KEY, TOPIC, protocol.encode(message))


def _opened(data: bytes) -> dict[str, Any]:
    protocol.check(KEY, TOPIC, data)
    return protocol.decode(data)


def measure(small: bool) -> list[Row]:
    """Encoding, decoding, both with the signature, and the same for plain JSON and msgpack; then
    the sizes.
    """
    rounds = 20 if small else 400
    rows: list[Row] = []
    for name, message in EXAMPLES.items():
        data = protocol.encode(message)
        if protocol.decode(data) != message:
            raise UnavailableError(f"{name} does not survive the codec")
        signed = protocol.sign(KEY, TOPIC, data)
        plain = json.dumps(message, separators=(",", ":")).encode()
        packed = msgpack.packb(message)
        calls: list[tuple[str, Callable[[], object]]] = [
            ("encode", partial(protocol.encode, message)),
            ("decode", partial(protocol.decode, data)),
            ("encode and sign", partial(_sealed, message)),
            ("check and decode", partial(_opened, signed)),
            ("json.dumps", partial(json.dumps, message, separators=(",", ":"))),
            ("json.loads", partial(json.loads, plain)),
            ("msgpack.packb", partial(msgpack.packb, message)),
            ("msgpack.unpackb", partial(msgpack.unpackb, packed)),
        ]
        for what, call in calls:
            times = _each_us(call, rounds)
            rows.append(Row(f"{name}: {what}", percentile(times, 50), percentile(times, 99), "us"))
        rows += [
            Row(f"{name}: message", len(data), None, "bytes"),
            Row(f"{name}: message signed", len(signed), None, "bytes"),
            Row(f"{name}: plain JSON", len(plain), None, "bytes"),
            Row(f"{name}: msgpack", len(packed), None, "bytes"),
        ]
    return rows
