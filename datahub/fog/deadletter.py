"""The dead-letter topic: what could not be taken, with the reason, kept for 90 days and
replayable after a fix.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, KafkaException, Producer

from datahub.fog import record, topics
from datahub.fog.batch import DeadLetter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_FLUSH_S = 30.0


def bury(producer: Producer, letters: Iterable[DeadLetter]) -> None:
    """Write them and wait until Kafka has them; KafkaException if it has not."""
    failed: list[Any] = []

    def delivered(error: Any, _message: Any) -> None:
        if error is not None:
            failed.append(error)

    for letter in letters:
        source = f"{topics.INTAKE}/{letter.message.partition}/{letter.message.offset}"
        headers: dict[str, str | bytes | None] = {
            "reason": letter.reason,
            "why": letter.why[:500],
            "source": source,
            "site": letter.site,
            "skew_ms": str(letter.sent_ms - letter.message.arrived_ms),
            "of": "record" if letter.record else "parcel",
        }
        if letter.record is None and letter.message.mac is not None:
            headers[record.MAC_HEADER] = letter.message.mac
        producer.produce(
            topics.DEAD,
            key=letter.site or None,
            value=letter.record or letter.message.value,
            headers=headers,
            on_delivery=delivered,
        )
    left = producer.flush(_FLUSH_S)
    if failed:
        raise KafkaException(failed[0])
    if left:
        raise KafkaException(f"{left} dead letters not written")


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter as read back."""

    reason: str
    why: str
    site: str
    source: str
    of: str
    skew_ms: int
    mac: bytes | None
    value: bytes


def letters(
    servers: str, group: str, wait_s: float = 10.0
) -> Iterator[tuple[Letter, Callable[[], None]]]:
    """Every letter the group has not handled yet, with a function that marks it handled. Ends
    at the topic's end.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "session.timeout.ms": 6000,
        }
    )
    consumer.subscribe([topics.DEAD])
    try:
        ended: set[int] = set()
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < wait_s:
            message = consumer.poll(0.5)
            if message is None:
                if ended and len(ended) >= len(consumer.assignment()):
                    return
                continue
            error = message.error()
            partition = message.partition()
            if error is not None:
                if partition is not None and error.name() == "_PARTITION_EOF":
                    ended.add(partition)
                    if len(ended) >= len(consumer.assignment()):
                        return
                continue
            quiet_since = time.monotonic()
            h: dict[str, bytes] = dict(message.headers() or ())  # type: ignore[arg-type]

            def handled(message: Any = message) -> None:
                consumer.commit(message=message, asynchronous=False)

            yield (
                Letter(
                    h["reason"].decode(),
                    h["why"].decode(),
                    h["site"].decode(),
                    h["source"].decode(),
                    h["of"].decode(),
                    int(h["skew_ms"]),
                    h.get(record.MAC_HEADER),
                    message.value() or b"",
                ),
                handled,
            )
    finally:
        consumer.close()


def replay(
    servers: str,
    reason: str,
    key_of: Callable[[str], bytes | None],
    mend: Callable[[bytes], bytes] = lambda raw: raw,
) -> int:
    """Send every letter of this reason ("" for all) through the intake again, after a fix of ours
    or of the record itself (`mend`). Returns how many. What is still wrong comes back as a new
    letter.

    Interrupted, it sends some again; that changes nothing, since a record is taken once.
    """
    producer = Producer(
        {"bootstrap.servers": servers, "enable.idempotence": True, "compression.type": "zstd"}
    )
    count = 0
    for letter, handled in letters(servers, f"ievcc-replay-{reason or 'all'}"):
        if not reason or letter.reason == reason:
            if letter.of == "record":
                key = key_of(letter.site)
                if key is None:
                    raise ValueError(
                        f"site {letter.site} is not known any more: add it, or leave its letters"
                    )
                # The sender's clock was off by as much as then.
                sent_ms = int(time.time() * 1000) + letter.skew_ms
                value = parcel_bytes(letter.site, 0, sent_ms, [mend(letter.value)])
                given: bytes | None = record.mac(key, value)
                site = letter.site
            else:
                value, given = letter.value, letter.mac
                site = _site_of(value)
            producer.produce(
                topics.INTAKE,
                key=site,
                value=value,
                headers={record.MAC_HEADER: given} if given else None,
            )
            if producer.flush(_FLUSH_S):
                raise KafkaException("the intake does not answer")
            count += 1
            handled()
    return count


def parcel_bytes(site: str, number: int, sent_ms: int, records: list[bytes]) -> bytes:
    """A parcel as it goes over the wire, from records that are JSON already."""
    return b'{"v":%d,"site":"%s","parcel":%d,"sent_ms":%d,"records":[%s]}' % (
        record.VERSION,
        site.encode(),
        number,
        sent_ms,
        b",".join(records),
    )


def _site_of(value: bytes) -> str:
    try:
        return record.open_parcel(value).site
    except record.Rejected:
        return ""
