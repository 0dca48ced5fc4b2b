"""What chargers in the field get wrong, and how it is understood all the same. Pure.

Each of these was met by others before us: numbers sent as text, keys of the vendor's own, nulls
for what is absent, words in the wrong case, texts too long, times without a zone, clocks that are
hours off, tags that are no card's number.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Payload = dict[str, Any]
_NUMBER = re.compile(r"\s*[-+]?\d{1,15}(\.\d{1,9})?\s*")
_TIMES = frozenset({"timestamp"})  # put in when it is left out: it has just happened
_CLOCK_MS = 2_000  # closer than that says nothing: the network takes as long


def mended(payload: Payload, schema: Payload, now: str) -> tuple[Payload, list[str]]:
    """The payload as its sender must have meant it by this schema, and what was mended, a word each.

    What cannot be guessed is left as it was, for the check that follows.
    """
    said: list[str] = []
    definitions = schema.get("definitions", {})
    good = _mend(payload, schema, definitions, now, said)
    return (good if isinstance(good, dict) else payload), said


def _mend(value: Any, schema: Payload, all_: Payload, now: str, said: list[str]) -> Any:
    if "$ref" in schema:
        schema = all_.get(str(schema["$ref"]).rpartition("/")[2], {})
    kind = schema.get("type")
    if kind == "object" and isinstance(value, dict):
        return _object(value, schema, all_, now, said)
    if kind == "array" and isinstance(value, list):
        items = schema.get("items", {})
        return [_mend(one, items, all_, now, said) for one in value]
    if kind == "array" and isinstance(value, dict):
        said.append("list")
        return [_mend(value, schema.get("items", {}), all_, now, said)]
    return _single(value, schema, said)


def _object(value: Payload, schema: Payload, all_: Payload, now: str, said: list[str]) -> Payload:
    known: Payload = schema.get("properties", {})
    lower = {k.lower(): k for k in known}
    good: Payload = {}
    for key, one in value.items():
        name = key if key in known else lower.get(str(key).lower())
        if name is None:
            if schema.get("additionalProperties", True) is False:
                said.append("key")
                continue
            good[key] = one
        elif one is None:
            said.append("null")
        else:
            if name != key:
                said.append("case")
            good[name] = _mend(one, known[name], all_, now, said)
    for name in schema.get("required", ()):
        if name in _TIMES and name not in good and now:
            said.append("time")
            good[name] = now
    return good


def _single(value: Any, schema: Payload, said: list[str]) -> Any:
    kind = schema.get("type")
    if kind in ("number", "integer") and isinstance(value, str) and _NUMBER.fullmatch(value):
        said.append("number")
        value = float(value)
    if kind == "integer" and type(value) is float and value == int(value):
        return int(value)
    if kind == "string" and type(value) in (int, float):
        said.append("text")
        value = f"{value:g}" if type(value) is float else str(value)
    if kind == "boolean" and isinstance(value, str) and value.lower() in ("true", "false"):
        said.append("boolean")
        return value.lower() == "true"
    if kind == "string" and isinstance(value, str):
        words = {w.lower(): w for w in schema.get("enum", ())}
        if words and value not in words.values() and value.lower() in words:
            said.append("case")
            return words[value.lower()]
        most = schema.get("maxLength")
        if most is not None and len(value) > most:
            said.append("long")
            return value[:most]
    return value


def number(text: object) -> float | None:
    """A measured value, which OCPP 1.6 sends as text; None for what is none ("", "NaN", "1,5" is 1.5)."""
    if type(text) in (int, float):
        value = float(text)  # type: ignore[arg-type]
        return value if -1e12 < value < 1e12 else None
    if not isinstance(text, str):
        return None
    text = text.strip().replace(",", ".")
    return float(text) if _NUMBER.fullmatch(text) else None


def utc_ms(text: object) -> int | None:
    """Milliseconds since 1970 of an ISO 8601 time; one without a zone is taken for UTC, as they mean it."""
    if not isinstance(text, str):
        return None
    try:
        when = datetime.fromisoformat(text.strip().replace(" ", "T"))
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        return round(when.timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def time_text(ms: int) -> str:
    """A time as OCPP has it, in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def card_number(tag: str) -> str:
    """The number of the card a tag stands for, as our own chargers read it: 4 to 10 bytes in hex.

    A tag in words (an app's, a test's) gets the first 8 bytes of its SHA-256.
    """
    plain = tag.strip().replace(":", "").replace("-", "").lower()
    if re.fullmatch(r"([0-9a-f]{2}){4,10}", plain):
        return plain
    return hashlib.sha256(tag.strip().lower().encode()).digest()[:8].hex()


@dataclass(frozen=True, slots=True)
class ClockOff:
    """How far a charger's clock is off ours, ms, from the times it writes. None: it wrote none yet.

    What it writes is at most as old as it is late, so the least seen of (arrival - written) is the
    nearest to the truth; a clock that was set starts anew.
    """

    off_ms: int | None = None

    def seen(self, written_ms: int, arrived_ms: int) -> ClockOff:
        """With one more time of something that has just happened there."""
        gap = written_ms - arrived_ms
        if self.off_ms is None or gap > self.off_ms or self.off_ms - gap > 60_000:
            return ClockOff(gap)
        return self

    @property
    def wrong(self) -> bool:
        """Whether it is clearly off, and not only late."""
        return self.off_ms is not None and abs(self.off_ms) > _CLOCK_MS

    def theirs(self, ms: int) -> int:
        """Our time as this charger's clock has it."""
        return ms + (self.off_ms or 0) if self.wrong else ms

    def ours(self, ms: int) -> int:
        """Its time as our clock has it."""
        return ms - (self.off_ms or 0) if self.wrong else ms
