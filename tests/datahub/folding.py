"""A fold without database or Kafka: sites and devices in memory."""

from __future__ import annotations

from collections.abc import Iterable

from datahub.fog import cleanse
from datahub.fog.batch import Message
from tests.datahub.conftest import key_of
from tests.datahub.parcels import T0, load, signed


class Places:
    def __init__(self) -> None:
        self.states: dict[int, cleanse.Device] = {}
        self._numbers: dict[str, int] = {}

    def site(self, name: str) -> tuple[int, bytes] | None:
        return (1, key_of(name)) if name == "house" else None

    def device(self, _site: int, name: str) -> tuple[int, cleanse.Device]:
        number = self._numbers.setdefault(name, len(self._numbers) + 1)
        return number, self.states.setdefault(number, cleanse.Device())


def messages(seqs: Iterable[int], site: str = "house") -> list[Message]:
    """One message a record."""
    out = []
    for i, seq in enumerate(seqs):
        value, mac = signed(site, [load("meter-1", seq, T0 + seq * 1000, seq)], sent_ms=T0)
        out.append(Message(0, i, T0 + 300_000, value, mac))
    return out
