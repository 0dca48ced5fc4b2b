"""A batch's facts into PostgreSQL, exactly once: rows, windows, device states and the Kafka
offsets in one transaction.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from datahub.fog import batch, cleanse, record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from psycopg import Connection, Cursor


class Fenced(RuntimeError):  # noqa: N818 - as the field says
    """Another worker has read this partition on: what this one holds in memory is stale and
    must be dropped.
    """


def offset(db: Connection, topic: str, partition: int) -> int:
    """The next message to read of a partition, 0 at the very beginning."""
    row = db.execute(
        "INSERT INTO kafka_offset (topic, partition, next) VALUES (%s, %s, 0)"
        " ON CONFLICT (topic, partition) DO UPDATE SET next = kafka_offset.next RETURNING next",
        (topic, partition),
    ).fetchone()
    assert row is not None
    db.commit()
    return int(row[0])


@dataclass(slots=True)
class SiteState:
    """A site as the worker knows it: its number, its key, its devices by name."""

    number: int
    key: bytes
    devices: dict[str, tuple[int, cleanse.Device]] = field(default_factory=dict)


class Registry:
    """Sites and devices out of the database, kept between batches, forgotten when a partition
    goes elsewhere.
    """

    def __init__(self, db: Connection, master: bytes) -> None:
        self._db = db
        self._master = master
        self._sites: dict[str, SiteState] = {}
        self._numbers: dict[int, SiteState] = {}
        self._states: dict[int, cleanse.Device] = {}

    def site(self, name: str) -> tuple[int, bytes] | None:
        """The number and key of a site; None for one nobody knows or that was closed."""
        known = self._sites.get(name)
        if known is None:
            known = self._load(name)
            if known is None:
                return None
            self._sites[name] = self._numbers[known.number] = known
        return known.number, known.key

    def device(self, site: int, name: str) -> tuple[int, cleanse.Device]:
        """The number and state of a device, made in the open transaction if it is new."""
        state = self._numbers[site]
        found = state.devices.get(name)
        if found is None:
            row = self._db.execute(
                "INSERT INTO device (site_id, name, kind) VALUES (%s, %s, %s)"
                " ON CONFLICT (site_id, name) DO UPDATE SET name = excluded.name RETURNING id",
                (site, name, "manager" if name == record.MANAGER else ""),
            ).fetchone()
            assert row is not None
            found = state.devices[name] = (int(row[0]), cleanse.Device())
            self._states[found[0]] = found[1]
        return found

    def states(self) -> dict[int, cleanse.Device]:
        """The states of all devices known by number."""
        return self._states

    def forget(self) -> None:
        """Drop everything: it is read anew when next needed."""
        self._sites.clear()
        self._numbers.clear()
        self._states.clear()

    def _load(self, name: str) -> SiteState | None:
        row = self._db.execute(
            "SELECT id, key_version FROM site WHERE name = %s AND active", (name,)
        ).fetchone()
        if row is None:
            return None
        state = SiteState(int(row[0]), record.site_key(self._master, name, int(row[1])))
        for number, device, boot, seq, first, last, raw, counted in self._db.execute(
            "SELECT d.id, d.name, s.boot, s.seq, (extract(epoch FROM s.first_at) * 1000)::bigint,"
            " (extract(epoch FROM s.last_at) * 1000)::bigint, s.raw_wh, s.counted_wh"
            " FROM device d LEFT JOIN device_state s ON s.device_id = d.id WHERE d.site_id = %s",
            (state.number,),
        ):
            fold = (
                cleanse.Device()
                if boot is None
                else cleanse.Device(
                    boot,
                    seq,
                    -1 if last is None else last,
                    list(raw),
                    counted,
                    -1 if first is None else first,
                    changed=False,
                )
            )
            state.devices[device] = (number, fold)
            self._states[number] = fold
        return state


class Sink:
    """Writes batches over one connection."""

    def __init__(self, db: Connection, topic: str, master: bytes) -> None:
        self.db = db
        self.topic = topic
        self.registry = Registry(db, master)
        self._partitions: set[tuple[str, int]] = set()

    def take(
        self, messages: Sequence[batch.Message], ends: dict[int, tuple[int, int]]
    ) -> batch.Facts:
        """Fold and store one batch; `ends` maps each partition to (the offset it stood at, the
        next to read).

        The caller commits. On any error it rolls back and calls `forget`.
        """
        facts = batch.fold(messages, self.registry)
        if facts.doubtful:
            batch.settle(facts, self._stored(facts.doubtful), self.registry.states())
        with self.db.cursor() as cursor:
            self._write(cursor, facts)
        for partition, (before, after) in ends.items():
            self.pass_over(partition, before, after)
        return facts

    def pass_over(self, partition: int, before: int, after: int) -> None:
        """Say that a partition is read up to `after`; Fenced if it no longer stands at `before`."""
        done = self.db.execute(
            "UPDATE kafka_offset SET next = %s WHERE topic = %s AND partition = %s AND next = %s",
            (after, self.topic, partition, before),
        )
        if done.rowcount != 1:
            raise Fenced(f"partition {partition} of {self.topic} is no longer at {before}")

    def forget(self) -> None:
        """After a failed batch or a lost partition."""
        self.registry.forget()
        self._partitions.clear()

    def _stored(self, doubtful: Iterable[batch.Doubtful]) -> set[tuple[int, int, int]]:
        keys = [(d.device, d.boot, d.seq, d.kind in record.LOADS) for d in doubtful]
        found: set[tuple[int, int, int]] = set()
        for table, loads in (("reading", True), ("record", False)):
            some = [k for k in keys if k[3] == loads]
            if some:
                rows = self.db.execute(
                    "SELECT r.device_id, r.boot, r.seq FROM unnest(%s::int[],"  # noqa: S608
                    " %s::int[], %s::bigint[])"
                    f" AS k (device_id, boot, seq) JOIN {table} r USING (device_id, boot, seq)",
                    ([k[0] for k in some], [k[1] for k in some], [k[2] for k in some]),
                )
                found.update((a, b, c) for a, b, c in rows)
        return found

    def _make_partitions(self, cursor: Cursor, parent: str, first_ms: int, last_ms: int) -> None:
        # A step of a day never steps over a week's or a month's partition.
        day = 86_400_000
        for number in range(first_ms // day, last_ms // day + 1):
            if (parent, number) not in self._partitions:
                cursor.execute(
                    "SELECT make_partition(%s, to_timestamp(%s))", (parent, number * 86_400)
                )
                self._partitions.add((parent, number))

    def _write(self, cursor: Cursor, facts: batch.Facts) -> None:
        if facts.taken:
            self._make_partitions(cursor, "reading", facts.first_ms, facts.last_ms)
            self._make_partitions(cursor, "record", facts.first_ms, facts.last_ms)
        if facts.readings:
            columns = ", ".join(batch.READING_COLUMNS)
            with cursor.copy(f"COPY reading ({columns}) FROM STDIN (FORMAT binary)") as copy:
                copy.write(
                    b"PGCOPY\n\xff\r\n\0" + bytes(8) + b"".join(facts.readings) + b"\xff\xff"
                )
        if facts.records:
            with cursor.copy(
                "COPY record (device_id, boot, seq, kind, at, flags, fields) FROM STDIN"
            ) as copy:
                for device, boot, seq, kind, t_ms, flags, text in facts.records:
                    copy.write_row((device, boot, seq, kind, stamp(t_ms), flags, text))
        self._write_windows(cursor, facts)
        self._write_states(cursor, facts)
        if facts.gaps:
            cursor.execute(
                "INSERT INTO gap (device_id, from_at, to_at) SELECT d, to_timestamp(f / 1000.0),"
                " to_timestamp(t / 1000.0)"
                " FROM unnest(%s::int[], %s::bigint[], %s::bigint[]) AS g (d, f, t) ON CONFLICT"
                " DO NOTHING",
                [list(c) for c in zip(*facts.gaps, strict=True)],
            )
        for number, kind, t_ms, fields in facts.sessions:
            self._write_session(cursor, number, kind, t_ms, fields)
        for number, kind, fields in facts.announced:
            cursor.execute(
                "UPDATE device SET kind = %s, role = %s, model = %s, firmware = %s, phases = %s,"
                " max_a = %s WHERE id = %s",
                (
                    "counter" if kind == "new_counter" else "charger",
                    getattr(fields, "role", ""),
                    fields.model,
                    fields.firmware,
                    fields.phases,
                    getattr(fields, "max_a", None),
                    number,
                ),
            )

    def _write_windows(self, cursor: Cursor, facts: batch.Facts) -> None:
        for table, width in (("minute", cleanse.MINUTE_MS), ("quarter", cleanse.QUARTER_MS)):
            rows = [
                (
                    number,
                    start,
                    w.n,
                    w.energy_wh,
                    w.estimated_wh,
                    w.power_sum_w,
                    w.power_max_w if w.n else None,
                    w.current_max_ma if w.n else None,
                )
                for (number, wide, start), w in facts.windows.items()
                if wide == width
            ]
            if not rows:
                continue
            rows.sort()  # every worker locks rows in the same order
            if table == "minute":
                starts = [r[1] for r in rows]
                self._make_partitions(cursor, table, min(starts), max(starts))
            cursor.execute(
                f"INSERT INTO {table} AS w (device_id, at, n, energy_wh,"  # noqa: S608
                " estimated_wh, power_sum_w, power_max_w,"
                " current_max_ma) SELECT d, to_timestamp(t / 1000), n, e, x, p, m, c"
                " FROM unnest(%s::int[], %s::bigint[], %s::int[], %s::int[], %s::int[],"
                " %s::bigint[], %s::int[], %s::int[])"
                " AS v (d, t, n, e, x, p, m, c) ON CONFLICT (device_id, at) DO UPDATE SET n = w.n"
                " + excluded.n,"
                " energy_wh = w.energy_wh + excluded.energy_wh, estimated_wh = w.estimated_wh +"
                " excluded.estimated_wh,"
                " power_sum_w = w.power_sum_w + excluded.power_sum_w,"
                " power_max_w = greatest(w.power_max_w, excluded.power_max_w),"
                " current_max_ma = greatest(w.current_max_ma, excluded.current_max_ma)",
                [list(c) for c in zip(*rows, strict=True)],
            )

    def _write_states(self, cursor: Cursor, facts: batch.Facts) -> None:
        rows = [
            (
                number,
                d.boot,
                d.seq,
                d.first_ms if d.first_ms >= 0 else None,
                d.last_ms if d.last_ms >= 0 else None,
                "{" + ",".join(map(str, d.raw)) + "}",
                d.counted_wh,
            )
            for number, d in sorted(facts.touched.items())
        ]
        if rows:
            cursor.execute(
                "INSERT INTO device_state (device_id, boot, seq, first_at, last_at, raw_wh,"
                " counted_wh)"
                " SELECT d, b, s, to_timestamp(f / 1000.0), to_timestamp(l / 1000.0),"
                " r::bigint[], c FROM unnest(%s::int[],"
                " %s::int[], %s::bigint[], %s::bigint[], %s::bigint[], %s::text[], %s::bigint[])"
                " AS v (d, b, s, f, l, r, c) ON CONFLICT (device_id) DO UPDATE SET boot ="
                " excluded.boot,"
                " seq = excluded.seq, first_at = excluded.first_at, last_at = excluded.last_at,"
                " raw_wh = excluded.raw_wh, counted_wh = excluded.counted_wh",
                [list(c) for c in zip(*rows, strict=True)],
            )

    def _write_session(
        self, cursor: Cursor, number: int, kind: str, t_ms: int, fields: Any
    ) -> None:
        # Begin and end may come in any order and more than once; each fills in what it knows.
        at = t_ms / 1000 - fields.age_s
        if kind == "session_begin":
            cursor.execute(
                "INSERT INTO session (device_id, number, started_at, how, card) VALUES (%s, %s,"
                " to_timestamp(%s), %s, %s)"
                " ON CONFLICT (device_id, number) DO UPDATE SET started_at = excluded.started_at,"
                " how = excluded.how,"
                " card = coalesce(excluded.card, session.card)",
                (number, fields.session, at, fields.how, fields.card),
            )
        else:
            cursor.execute(
                "INSERT INTO session (device_id, number, started_at, ended_at, energy_wh, why,"
                " card)"
                " VALUES (%s, %s, to_timestamp(%s), to_timestamp(%s), %s, %s, %s)"
                " ON CONFLICT (device_id, number) DO UPDATE SET ended_at = excluded.ended_at,"
                " energy_wh = excluded.energy_wh, why = excluded.why, card ="
                " coalesce(excluded.card, session.card)",
                (
                    number,
                    fields.session,
                    at - fields.duration_s,
                    at,
                    fields.energy_wh,
                    fields.why,
                    fields.card,
                ),
            )


def stamp(t_ms: int) -> str:
    """UTC milliseconds as PostgreSQL reads them."""
    from datetime import UTC, datetime  # noqa: PLC0415

    return datetime.fromtimestamp(t_ms / 1000, UTC).isoformat(timespec="milliseconds")
