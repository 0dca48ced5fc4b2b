"""A fog worker: takes parcels from Kafka, cleans and aggregates them, stores the facts in
PostgreSQL exactly once.

Offsets live in PostgreSQL, in the transaction of what was read; nothing is committed to Kafka.
Any number of workers share the partitions. A worker that is killed at any instant leaves either
a whole batch or nothing; one that wakes up after its partition went elsewhere finds the offset
moved and drops what it holds.
"""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)

from datahub.cloud import ingest
from datahub.fog import deadletter, record, topics
from datahub.fog.batch import DeadLetter, Message

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

BATCH_MESSAGES = 200
BATCH_BYTES = 3_000_000  # of parcels in one transaction: about 12,000 readings, half a second
BATCH_WAIT_S = 0.03
SESSION_MS = 6000  # a killed worker's partitions go to the others after so long
_RETRY_S = 0.5
# Sites and keys are read anew so often: a revoked key is refused within a minute.
_REFRESH_S = 60.0


@dataclass(slots=True)
class Counts:
    """What a worker has done since its start."""

    messages: int = 0
    taken: int = 0
    repeated: int = 0
    dead: int = 0
    batches: int = 0
    fenced: int = 0
    retries: int = 0


class Worker:
    """One worker: `run` until `stop` says so."""

    def __init__(
        self, servers: str, dsn: str, master: bytes, group: str = "ievcc-fog", **kafka: Any
    ) -> None:
        self.counts = Counts()
        self._dsn = dsn
        self._master = master
        self._db: psycopg.Connection | None = None
        self._sink: ingest.Sink | None = None
        self._at: dict[int, int] = {}
        self._refreshed = time.monotonic()
        common = {"bootstrap.servers": servers, **kafka}
        self._consumer = Consumer(
            {
                **common,
                "group.id": group,
                "enable.auto.commit": False,
                "session.timeout.ms": SESSION_MS,
                "heartbeat.interval.ms": 1500,
                "isolation.level": "read_committed",
                "fetch.min.bytes": 1,
                "queued.max.messages.kbytes": 65_536,
                # Where the stored offset is older than what Kafka still keeps: go on with the
                # oldest, and say so.
                "auto.offset.reset": "earliest",
            }
        )
        self._dead = Producer(
            {**common, "enable.idempotence": True, "linger.ms": 5, "compression.type": "zstd"}
        )
        self._consumer.subscribe(
            [topics.INTAKE],
            on_assign=self._assigned,
            on_revoke=self._revoked,
            on_lost=self._revoked,
        )

    def run(self, stop: Callable[[], bool]) -> None:
        """Take batches until `stop()`; waits out a broker or database that is away."""
        try:
            while not stop():
                try:
                    self.step()
                except (psycopg.OperationalError, psycopg.InterfaceError) as e:
                    self._failed(f"database: {e}")
                except ingest.Fenced as e:
                    self.counts.fenced += 1
                    self._failed(str(e))
                except KafkaException as e:
                    self._failed(f"Kafka: {e}")
        finally:
            self._consumer.close()
            self._disconnect()

    def step(self) -> int:
        """Take what has come, store it and commit. Returns how many records were taken."""
        got = self._consumer.consume(BATCH_MESSAGES, BATCH_WAIT_S)
        sink = self._connected()
        messages: list[Message] = []
        for m in got:
            error = m.error()
            if error is not None:
                if error.code() in (
                    KafkaError._PARTITION_EOF,
                    KafkaError._ALL_BROKERS_DOWN,
                    KafkaError._TRANSPORT,
                ):
                    continue
                raise KafkaException(error)
            partition, place = m.partition(), m.offset()
            assert partition is not None
            assert place is not None
            if partition not in self._at:  # of before a rebalance
                continue
            headers: dict[str, Any] = dict(m.headers() or ())
            messages.append(
                Message(
                    partition,
                    place,
                    m.timestamp()[1],
                    m.value() or b"",
                    headers.get(record.MAC_HEADER),
                )
            )
        if time.monotonic() - self._refreshed > _REFRESH_S:
            sink.forget()
            self._refreshed = time.monotonic()
        taken = 0
        start = size = 0
        for i, message in enumerate(messages):
            size += len(message.value)
            if size >= BATCH_BYTES or i == len(messages) - 1:
                taken += self._store_or_bury(sink, messages[start : i + 1])
                start, size = i + 1, 0
        return taken

    def _store_or_bury(self, sink: ingest.Sink, messages: list[Message]) -> int:
        """As `_store`; what the database itself refuses is found and buried, the rest is
        stored.
        """
        try:
            return self._store(sink, messages)
        except (psycopg.DataError, psycopg.IntegrityError) as e:
            sink.db.rollback()
            sink.forget()
            if len(messages) > 1:
                half = len(messages) // 2
                return self._store_or_bury(sink, messages[:half]) + self._store_or_bury(
                    sink, messages[half:]
                )
            message = messages[0]
            log.exception("a parcel is refused by the database")
            deadletter.bury(self._dead, [DeadLetter(message, "database", str(e))])
            at = self._at[message.partition]
            sink.pass_over(message.partition, at, message.offset + 1)
            sink.db.commit()
            self._at[message.partition] = message.offset + 1
            self.counts.dead += 1
            return 0

    def _store(self, sink: ingest.Sink, messages: list[Message]) -> int:
        """One transaction. Returns how many records were taken."""
        ends: dict[int, tuple[int, int]] = {}
        for message in messages:
            at = self._at[message.partition]
            before = ends[message.partition][0] if message.partition in ends else at
            ends[message.partition] = (before, message.offset + 1)
        facts = sink.take(messages, ends)
        if facts.dead:
            # Before the commit: a letter may be written twice, never lost. Replaying it twice
            # changes nothing.
            deadletter.bury(self._dead, facts.dead)
        sink.db.commit()
        for partition, (_, after) in ends.items():
            self._at[partition] = after
        self.counts.messages += len(messages)
        self.counts.taken += facts.taken
        self.counts.repeated += facts.repeated
        self.counts.dead += len(facts.dead)
        self.counts.batches += 1
        return facts.taken

    def _connected(self) -> ingest.Sink:
        if self._sink is None:
            self._db = psycopg.connect(self._dsn)
            self._sink = ingest.Sink(self._db, topics.INTAKE, self._master)
        return self._sink

    def _disconnect(self) -> None:
        if self._db is not None:
            with contextlib.suppress(psycopg.Error):
                self._db.close()
        self._db = None
        self._sink = None

    def _failed(self, why: str) -> None:
        """Drop everything in memory, then go on from what is stored."""
        log.warning("%s; starting again from what is stored", why)
        self.counts.retries += 1
        self._disconnect()
        time.sleep(_RETRY_S)
        try:
            places = self._stored_places(list(self._at))
        except psycopg.Error:
            # still away; what is fetched meanwhile is refused by its offset and fetched again
            return
        for place in places:
            with contextlib.suppress(KafkaException):
                self._consumer.seek(place)

    def _stored_places(self, partitions: list[int]) -> list[TopicPartition]:
        sink = self._connected()
        places = []
        for partition in partitions:
            stored = ingest.offset(sink.db, topics.INTAKE, partition)
            self._at[partition] = stored
            places.append(TopicPartition(topics.INTAKE, partition, stored or OFFSET_BEGINNING))
        return places

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._at.clear()
        while True:
            try:
                places = self._stored_places([p.partition for p in partitions])
                break
            except psycopg.Error as e:
                log.warning("database: %s; waiting for it", e)
                self._disconnect()
                time.sleep(_RETRY_S)
        if self._sink is not None:
            self._sink.forget()
        consumer.assign(places)
        log.info("has partitions %s", sorted(self._at))

    def _revoked(self, consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        self._at.clear()
        if self._sink is not None:
            self._sink.forget()
        consumer.unassign()
