"""What a building sends up: records, in signed parcels. Their shape comes from the wire's table.

A record is one thing that happened: a message of a device as the manager took it, or a note of
the manager's own.

    {"device": "meter-1", "boot": 3, "seq": 17, "kind": "counter_load",
     "t_ms": 1795465800000, "fields": {...}}

`t_ms` is UTC, stamped by the manager; `fields` are those of the table's message of that name.
The manager's own records (`decision`, `event`, `log`, `thinned`) come from the device "manager",
numbered by its outbox.

A parcel is up to `PARCEL_RECORDS` records of one site, signed as a whole with the site's key:
one signature and one Kafka message for many records.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated, Any, Literal

import msgspec

from shared import protocol

VERSION = 1
PARCEL_RECORDS = 500
PARCEL_BYTES = 900_000  # below Kafka's default limit of 1 MiB a message
MANAGER = "manager"
MAC_HEADER = "mac"
MAC_BYTES = 16

# The end of the text in both Python's and JavaScript's dialect; Python's `$` would let a newline
# follow.
_END = r"(?![\s\S])"
_NAME = r"^[A-Za-z0-9_-]{1,24}" + _END
_WORD = r"^[a-z0-9_]+" + _END
_TEXT = r"^[^\x00-\x1f]*" + _END
_COUNT = Annotated[int, msgspec.Meta(ge=0, le=2**30 - 1)]
# 2020-01-01 to 2100-01-01: a clock outside of it was never set. Older than an outbox could ever
# have kept: a fault too.
T_MIN_MS = 1_577_836_800_000
T_MAX_MS = 4_102_444_800_000
AGE_MAX_MS = 400 * 86_400_000


class Rejected(ValueError):  # noqa: N818 - what happened to it, not a fault of ours
    """A record or parcel that is not taken. `reason` is one word for counting, the text says
    which field and why.
    """

    def __init__(self, reason: str, why: str = "") -> None:
        super().__init__(f"{reason}: {why}" if why else reason)
        self.reason = reason
        self.why = why


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record; `fields` still as the bytes that came, until its kind is known."""

    device: Annotated[str, msgspec.Meta(pattern=_NAME)]
    boot: _COUNT
    seq: Annotated[
        int, msgspec.Meta(ge=0, le=2**62)
    ]  # the manager's outbox numbers outgrow a board's
    kind: Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
    t_ms: int
    fields: msgspec.Raw


class Parcel(msgspec.Struct, frozen=True, gc=False):
    """Records of one site, oldest first. `sent_ms` is the manager's clock as it left."""

    v: Literal[1]
    site: Annotated[str, msgspec.Meta(pattern=_NAME)]
    parcel: Annotated[int, msgspec.Meta(ge=0, le=2**62)]
    sent_ms: int
    records: Annotated[list[msgspec.Raw], msgspec.Meta(max_length=PARCEL_RECORDS)]


class Decision(msgspec.Struct, frozen=True, gc=False):
    """What a charger was given, from when on and why."""

    charger: Annotated[str, msgspec.Meta(pattern=_NAME)]
    offer_a: Annotated[int, msgspec.Meta(ge=0, le=80)]
    lease: _COUNT
    reason: Annotated[str, msgspec.Meta(pattern=_TEXT, max_length=48)]
    words: Annotated[str, msgspec.Meta(pattern=_TEXT, max_length=200)]


class Event(msgspec.Struct, frozen=True, gc=False):
    """Something that happened at the site; `device` is "" for the site itself."""

    kind: Annotated[str, msgspec.Meta(pattern=_TEXT, max_length=48)]
    device: Annotated[str, msgspec.Meta(pattern=_TEXT, max_length=24)]
    words: Annotated[str, msgspec.Meta(pattern=_TEXT, max_length=400)]


class Log(msgspec.Struct, frozen=True, gc=False):
    """A line of the manager's log."""

    level: Literal["debug", "info", "warning", "error", "critical"]
    words: Annotated[str, msgspec.Meta(pattern=_TEXT, max_length=2000)]


class Thinned(msgspec.Struct, frozen=True, gc=False):
    """The outbox was full: so many records of this kind between these times were dropped, by
    rule.
    """

    kind: Annotated[str, msgspec.Meta(pattern=_TEXT, max_length=32)]
    count: Annotated[int, msgspec.Meta(ge=1)]
    from_ms: int
    to_ms: int


def _type(kind: str, low: int, high: int, words: str) -> Any:
    """The table's kind of field as a type that is checked while decoding."""
    number = Annotated[int, msgspec.Meta(ge=low, le=high)]
    if kind == "i":
        return number
    if kind == "p":
        return Annotated[list[number], msgspec.Meta(min_length=1, max_length=3)]
    if kind == "d":
        return Annotated[str, msgspec.Meta(pattern=_NAME)]
    if kind == "w":
        return Annotated[str, msgspec.Meta(pattern=_WORD, min_length=low, max_length=high)]
    if kind == "e":
        return Literal[tuple(words.split("|"))]
    if kind == "x":
        return Annotated[
            str,
            msgspec.Meta(
                pattern=r"^(?:[0-9a-f]{2})*" + _END, min_length=2 * low, max_length=2 * high
            ),
        ]
    if kind == "l":
        word = Annotated[str, msgspec.Meta(pattern=_WORD, max_length=24)]
        return Annotated[list[word], msgspec.Meta(min_length=low, max_length=high)]
    return Annotated[
        str, msgspec.Meta(pattern=_TEXT, max_length=high)
    ]  # text; the wire counts its bytes, here characters


def _struct(code: int, name: str) -> type[msgspec.Struct]:
    specs: list[Any] = []
    for field, optional, kind, low, high, words in protocol.fields(code):
        made = _type(kind, low, high, words)
        specs.append((field, made | None, None) if optional else (field, made))
    # Optional fields follow: a struct's fields with a default stand last.
    specs.sort(key=len)
    return msgspec.defstruct(name, specs, frozen=True, gc=False, kw_only=False)


# Kinds that stay in the building: a card's number in clear, settings, firmware, answers to orders.
_STAYS = {"card_read", "config_value", "update_status", "command_result"}
FROM_DEVICES = {
    row[1]: row[0] for row in protocol.MESSAGES if row[2] != "down" and row[1] not in _STAYS
}
KINDS: dict[str, type[msgspec.Struct]] = {
    **{name: _struct(code, name) for name, code in FROM_DEVICES.items()},
    "decision": Decision,
    "event": Event,
    "log": Log,
    "thinned": Thinned,
}
LOADS = ("counter_load", "charger_load")

_parcel = msgspec.json.Decoder(Parcel)
_record = msgspec.json.Decoder(Record)
_fields = {kind: msgspec.json.Decoder(struct) for kind, struct in KINDS.items()}


def open_parcel(data: bytes) -> Parcel:
    """The parcel in these bytes, its records still closed; Rejected("parcel") with what is
    wrong.
    """
    try:
        return _parcel.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise Rejected("parcel", str(e)) from None


def open_record(raw: msgspec.Raw | bytes) -> tuple[Record, Any]:
    """The record in these bytes and its fields; Rejected("record"), ("kind"), ("fields") or
    ("clock").
    """
    try:
        record = _record.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise Rejected("record", str(e)) from None
    decoder = _fields.get(record.kind)
    if decoder is None:
        raise Rejected("kind", f"{record.kind} is not one of {', '.join(sorted(KINDS))}")
    if not T_MIN_MS <= record.t_ms <= T_MAX_MS:
        raise Rejected("clock", f"t_ms {record.t_ms} is not between 2020 and 2100")
    try:
        return record, decoder.decode(record.fields)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise Rejected("fields", f"{record.kind}: {e}") from None


def fields_text(fields: Any) -> str:
    """The fields as JSON, only those the table knows."""
    return msgspec.json.encode(fields).decode()


def site_key(master: bytes, site: str, version: int) -> bytes:
    """The key a site signs with: derived, so that no key is kept anywhere but in the building.
    A new version revokes it.
    """
    return hmac.digest(master, f"ievcc site {site} {version}".encode(), hashlib.sha256)


def mac(key: bytes, data: bytes) -> bytes:
    """What goes into the message's `mac` header, as hex."""
    return hmac.digest(key, data, hashlib.sha256)[:MAC_BYTES].hex().encode()


def authentic(key: bytes, data: bytes, given: bytes | None) -> bool:
    """Whether exactly these bytes were signed with this key."""
    return given is not None and hmac.compare_digest(mac(key, data), given)


def schema(kind: str) -> dict[str, Any]:
    """The JSON Schema of a whole record of this kind, as in datahub/fog/schemas."""
    (fields,), parts = msgspec.json.schema_components([KINDS[kind]], ref_template="#/$defs/{name}")
    whole = msgspec.json.schema(Record)["$defs"]["Record"]
    properties = dict(whole["properties"])
    properties["kind"] = {"const": kind}
    properties["t_ms"] = {"type": "integer", "minimum": T_MIN_MS, "maximum": T_MAX_MS}
    properties["fields"] = fields
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"IEVCC record: {kind}, version {VERSION}",
        "type": "object",
        "properties": properties,
        "required": whole["required"],
        "$defs": parts,
    }


def card_hash(key: bytes, number: str) -> str:
    """What stands for a card's number outside the building: 20 hex digits, by the site's key."""
    return hmac.digest(key, b"card " + number.lower().encode(), hashlib.sha256)[:10].hex()
