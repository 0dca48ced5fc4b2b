"""One batch of Kafka messages folded into facts: rows to store, windows to add to, letters to
bury. No I/O.

The worker gives what it must know (sites, their devices' states) and the batch asks for what it
does not: `Places`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from datahub.fog import cleanse
from datahub.fog.record import (
    AGE_MAX_MS,
    LOADS,
    MANAGER,
    T_MIN_MS,
    Rejected,
    authentic,
    fields_text,
    open_parcel,
    open_record,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import msgspec

# PostgreSQL counts microseconds from 2000-01-01.
_EPOCH_MS = 946_684_800_000


class Places(Protocol):
    """What the fold must know; the worker answers from memory, or from the database once."""

    def site(self, name: str, /) -> tuple[int, bytes] | None:
        """The number and key of a site; None for one nobody knows."""

    def device(self, site: int, name: str, /) -> tuple[int, cleanse.Device]:
        """The number and state of a device of a site; made if it is new."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the intake, as it stands in Kafka."""

    partition: int
    offset: int
    arrived_ms: int
    value: bytes
    mac: bytes | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What could not be taken, and why. `record` if only one record of an authentic parcel is
    at fault.
    """

    message: Message
    reason: str
    why: str
    site: str = ""
    sent_ms: int = 0
    record: bytes | None = None


@dataclass(frozen=True, slots=True)
class Doubtful:
    """A record that is not newer than what its device said before: it must be looked up whether
    it came before.
    """

    device: int
    boot: int
    seq: int
    t_ms: int
    flags: int
    kind: str
    fields: Any


@dataclass(slots=True)
class Facts:
    """What a batch comes to. `readings` are rows of PostgreSQL's binary COPY."""

    readings: list[bytes] = field(default_factory=list)
    records: list[tuple[int, int, int, str, int, int, str]] = field(default_factory=list)
    windows: cleanse.Windows = field(default_factory=dict)
    gaps: list[tuple[int, int, int]] = field(default_factory=list)
    sessions: list[tuple[int, str, int, Any]] = field(default_factory=list)
    announced: list[tuple[int, str, Any]] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    doubtful: list[Doubtful] = field(default_factory=list)
    touched: dict[int, cleanse.Device] = field(default_factory=dict)
    fresh: set[tuple[int, int, int]] = field(default_factory=set)
    first_ms: int = 2**62
    last_ms: int = 0
    taken: int = 0
    repeated: int = 0


# device, boot, seq, at, energy_wh, counted_wh, flags, session, session_wh, then power, current,
# voltage per phase.
_COLUMNS = 18
_HEAD = ">h iiiiiiiqiqiqih"
_NULLS = {1: 6, 2: 3, 3: 0}
_ROW = {
    (phases, session): struct.Struct(
        _HEAD + ("iiii" if session else "ii") + "iiiiih" * phases + "i" * _NULLS[phases]
    )
    for phases in (1, 2, 3)
    for session in (False, True)
}


def reading_row(
    device: int, boot: int, seq: int, t_ms: int, counted_wh: int, flags: int, load: Any
) -> bytes:
    """A reading as a row of PostgreSQL's binary COPY; the order of columns is that of
    `READING_COLUMNS`.
    """
    at_us = (t_ms - _EPOCH_MS) * 1000
    power = load.power_w
    current = load.current_ma
    voltage = load.voltage_dv
    phases = min(len(power), len(current), len(voltage))
    number = getattr(load, "session", None)
    head = (
        _COLUMNS,
        4,
        device,
        4,
        boot,
        4,
        seq,
        8,
        at_us,
        8,
        sum(load.energy_wh),
        8,
        counted_wh,
        2,
        flags,
    )
    has_session = number is not None
    session = (4, number, 4, load.session_wh or 0) if has_session else (-1, -1)
    values: list[int] = []
    for i in range(phases):
        values += (4, power[i], 4, current[i], 2, voltage[i])
    return _ROW[phases, has_session].pack(*head, *session, *values, *(-1,) * _NULLS[phases])


READING_COLUMNS = (
    "device_id",
    "boot",
    "seq",
    "at",
    "energy_wh",
    "counted_wh",
    "flags",
    "session",
    "session_wh",
    "power_w1",
    "current_ma1",
    "voltage_dv1",
    "power_w2",
    "current_ma2",
    "voltage_dv2",
    "power_w3",
    "current_ma3",
    "voltage_dv3",
)


def fold(messages: Sequence[Message], places: Places) -> Facts:
    """Every message in order. What is not newer than its device's newest is left in `doubtful`
    for `settle`.
    """
    facts = Facts()
    for message in messages:
        try:
            parcel = open_parcel(message.value)
            known = places.site(parcel.site)
            if known is None:
                raise Rejected("site", f"{parcel.site} is not known here")
            site, key = known
            if not authentic(key, message.value, message.mac):
                raise Rejected("signature", f"not signed with the key of {parcel.site}")
        except Rejected as e:
            facts.dead.append(DeadLetter(message, e.reason, e.why))
            continue
        names: dict[str, tuple[int, cleanse.Device]] = {}
        for raw in parcel.records:
            try:
                _take(facts, places, site, names, raw, parcel.sent_ms, message.arrived_ms)
            except Rejected as e:
                facts.dead.append(
                    DeadLetter(message, e.reason, e.why, parcel.site, parcel.sent_ms, bytes(raw))
                )
    return facts


def _take(
    facts: Facts,
    places: Places,
    site: int,
    names: dict[str, tuple[int, cleanse.Device]],
    raw: msgspec.Raw,
    sent_ms: int,
    arrived_ms: int,
) -> None:
    record, fields = open_record(raw)
    is_load = record.kind in LOADS
    if is_load and not len(fields.power_w) == len(fields.energy_wh) == len(
        fields.current_ma
    ) == len(fields.voltage_dv):
        raise Rejected("fields", f"{record.kind}: lists of different length")
    if record.seq >= 2**31 and (is_load or record.device != MANAGER):
        raise Rejected("record", "seq of a device above 2**31")
    if record.device in names:
        number, device = names[record.device]
    else:
        number, device = names[record.device] = places.device(site, record.device)
    t_ms, flags = cleanse.true_time(record.t_ms, sent_ms, arrived_ms)
    if t_ms < max(T_MIN_MS, arrived_ms - AGE_MAX_MS):
        raise Rejected("clock", f"t_ms {record.t_ms} is too old")
    if not device.is_new(record.boot, record.seq):
        facts.doubtful.append(
            Doubtful(number, record.boot, record.seq, t_ms, flags, record.kind, fields)
        )
        return
    facts.fresh.add((number, record.boot, record.seq))
    facts.touched[number] = device
    _store(
        facts,
        number,
        device,
        record.boot,
        record.seq,
        t_ms,
        flags,
        record.kind,
        fields,
        late=False,
    )


def _store(
    facts: Facts,
    number: int,
    device: cleanse.Device,
    boot: int,
    seq: int,
    t_ms: int,
    flags: int,
    kind: str,
    fields: Any,
    late: bool,
) -> None:
    if kind in LOADS:
        t_ms, counted, flags, gap = cleanse.take(
            number, device, boot, seq, fields, t_ms, flags, facts.windows, late
        )
        if gap is not None:
            facts.gaps.append((number, gap.from_ms, gap.to_ms))
        facts.readings.append(reading_row(number, boot, seq, t_ms, counted, flags, fields))
    else:
        if not late:
            cleanse.pass_over(device, boot, seq)
        facts.records.append((number, boot, seq, kind, t_ms, flags, fields_text(fields)))
        if kind in ("session_begin", "session_end"):
            facts.sessions.append((number, kind, t_ms, fields))
        elif kind in ("new_counter", "new_charger"):
            facts.announced.append((number, kind, fields))
    facts.taken += 1
    facts.first_ms = min(facts.first_ms, t_ms)
    facts.last_ms = max(facts.last_ms, t_ms)


def settle(
    facts: Facts, stored: set[tuple[int, int, int]], states: dict[int, cleanse.Device]
) -> None:
    """Decide about the doubtful ones: those in `stored` or in this very batch came before; the
    others are late.
    """
    for d in facts.doubtful:
        key = (d.device, d.boot, d.seq)
        if key in stored or key in facts.fresh:
            facts.repeated += 1
            continue
        facts.fresh.add(key)
        _store(
            facts,
            d.device,
            states[d.device],
            d.boot,
            d.seq,
            d.t_ms,
            d.flags,
            d.kind,
            d.fields,
            late=True,
        )
    facts.doubtful.clear()
