"""Decisions as lines of text: what happened, when, and what was decided, so that it can be decided again.

The first line holds the site at the start of a manager, every other one an event with the commands
that followed. As `decide` is pure, the same lines come out again, byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from manager.core import plain
from manager.core.commands import Command, Send
from manager.core.decide import decide
from manager.core.events import (
    Admitted,
    Announced,
    Configured,
    Event,
    Foreseen,
    Forget,
    Offline,
    Online,
    Report,
    Tick,
    Wished,
)
from manager.core.site import Feeder, Site, Wants

_KINDS: dict[str, type[Event]] = {
    "announced": Announced,
    "report": Report,
    "offline": Offline,
    "online": Online,
    "tick": Tick,
    "configured": Configured,
    "wished": Wished,
    "admitted": Admitted,
    "foreseen": Foreseen,
    "forget": Forget,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


class RecordError(ValueError):
    """A line that is none of ours. `line` is its number, from 1."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line}: {why}")
        self.line = line


def _text(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def first_line(site: Site, now_ms: int) -> tuple[str, Site]:
    """The line that begins a record, and the site to go on with: the one that line gives back."""
    kept = json.loads(_text(plain.site_to_plain(site)))
    return _text({"now_ms": now_ms, "site": kept}), plain.site_from_plain(kept, now_ms)


def line(event: Event, now_ms: int, commands: Sequence[Command]) -> str:
    """One event and what was decided, without the line's end."""
    fields = {
        name: value
        for name, value in asdict(event).items()
        if value is not None and not (isinstance(event, Configured) and value == {})
    }
    if isinstance(event, Foreseen):  # as JSON has it: keys are text
        fields = {
            name: {str(k): v for k, v in sorted(hours.items())} for name, hours in fields.items()
        }
    if isinstance(event, Configured) and event.feeders is not None:
        fields["feeders"] = [asdict(f) for f in event.feeders.values()]
    return _text(
        {
            "now_ms": now_ms,
            "event": {"kind": _NAMES[type(event)], **fields},
            "commands": [
                {"kind": "send" if isinstance(c, Send) else "note", **_command(c)}
                for c in commands
            ],
        }
    )


def _command(command: Command) -> dict[str, Any]:
    fields = asdict(command)
    if not isinstance(command, Send):
        fields["note"] = fields.pop("kind")
    return fields


def _event(fields: dict[str, Any]) -> Event:
    kind = _KINDS[fields.pop("kind")]
    if kind is Wished and "wants" in fields:
        fields["wants"] = Wants(**fields["wants"])
    elif kind is Wished:
        fields["wants"] = None
    if kind is Foreseen:
        fields = {name: {int(k): v for k, v in hours.items()} for name, hours in fields.items()}
    if kind is Configured:
        if "settings" in fields:
            fields["settings"] = plain.settings_from_plain(fields["settings"])
        if "feeders" in fields:
            fields["feeders"] = {
                f["name"]: Feeder(**{**f, "limit_ma": tuple(f["limit_ma"])})
                for f in fields["feeders"]
            }
    return kind(**fields)


def decided_again(
    lines: Iterator[str], first: Configured | None = None
) -> Iterator[tuple[int, str, str, Site]]:
    """(line number, as recorded, as decided now, the site after it) for every event of a record.

    `first`: settings to begin with instead: what would have been decided with a limit of 40 A?
    What the devices reported stays what it was. RecordError for a line that is none.
    """
    site: Site | None = None
    for number, text in enumerate(lines, 1):
        recorded = text.rstrip("\n")
        try:
            fields = json.loads(recorded)
            now_ms = fields["now_ms"]
            if "site" in fields:
                site = plain.site_from_plain(fields["site"], now_ms)
                if first is not None:
                    site, _ = decide(site, first, now_ms)
                continue
            event = _event(fields["event"])
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            raise RecordError(number, f"not a recorded decision ({e!r})") from e
        if site is None:
            raise RecordError(number, "the record does not begin with a site")
        site, commands = decide(site, event, now_ms)
        yield number, recorded, line(event, now_ms, commands), site
