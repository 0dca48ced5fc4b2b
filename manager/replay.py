"""`ievcc replay LOG`: decide everything in a record of decisions again, and compare.

As recorded, every line must come out the same, byte for byte. With one thing changed (a limit, a
policy, a margin) it tells what would have been offered instead.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TextIO, cast

import typer

from manager.core.events import Configured
from manager.core.plain import settings_from_plain
from manager.core.record import RecordError, decided_again
from manager.core.site import MAIN, POLICIES, Feeder, Policy, Settings
from shared import protocol


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    if packed:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            yield cast("TextIO", file)
    else:
        with path.open(encoding="utf-8") as plain_file:
            yield plain_file


@dataclasses.dataclass
class Told:
    """What a replay found. Ampere-hours are those offered by leases, not drawn."""

    events: int = 0
    differing: int = 0
    first_difference: int = 0
    seconds: float = 0.0
    offered_ah: dict[str, float] = dataclasses.field(default_factory=dict)
    recorded_ah: dict[str, float] = dataclasses.field(default_factory=dict)
    leases: int = 0
    first_reason: dict[str, str] = dataclasses.field(default_factory=dict)


def _whole_lines(file: TextIO) -> Iterator[str]:
    """The lines of a record; one that a power cut left unfinished is none."""
    try:
        for line in file:
            if line.endswith("\n"):
                yield line
    except EOFError:
        return


def _changed(
    site_line: str, limit_a: float | None, policy: str, margin_a: float | None
) -> Configured | None:
    if limit_a is None and not policy and margin_a is None:
        return None
    start = json.loads(site_line)["site"]
    feeders = {
        f["name"]: Feeder(f["name"], tuple(f["limit_ma"]), f["parent"], f["worst_house_ma"])
        for f in start["feeders"]
    }
    if limit_a is not None:
        old = feeders[MAIN]
        feeders[MAIN] = dataclasses.replace(old, limit_ma=(round(limit_a * 1000),) * old.phases)

    settings: Settings = settings_from_plain(start["settings"])
    if policy:
        settings = dataclasses.replace(settings, policy=cast("Policy", policy))
    if margin_a is not None:
        settings = dataclasses.replace(settings, margin_ma=round(margin_a * 1000))
    return Configured(settings=settings, feeders=feeders)


def replayed(
    path: Path, limit_a: float | None = None, policy: str = "", margin_a: float | None = None
) -> Told:
    """Decide again what `path` holds. RecordError or OSError if it cannot be read."""
    told = Told()
    with _opened(path) as file:
        first = file.readline()
        if not first:
            raise RecordError(1, "the record is empty")
        try:
            change = _changed(first, limit_a, policy, margin_a)
        except (ValueError, KeyError, TypeError) as e:
            raise RecordError(1, "the record does not begin with a site") from e
        file.seek(0)
        had: dict[str, tuple[int, int]] = {}  # device -> (A as recorded, since)
        has: dict[str, tuple[int, int]] = {}
        start = end = None
        for number, recorded, now, _site in decided_again(_whole_lines(file), change):
            told.events += 1
            if recorded != now:
                told.differing += 1
                told.first_difference = told.first_difference or number
            end = _book(recorded, had, told.recorded_ah)
            _book(now, has, told.offered_ah)
            told.leases += now.count('"limit_a"')
            start = end if start is None else start
        for books, ah in ((had, told.recorded_ah), (has, told.offered_ah)):
            for device, (amps, since) in books.items():
                ah[device] = ah.get(device, 0.0) + amps * ((end or 0) - since) / 3_600_000
        told.seconds = ((end or 0) - (start or 0)) / 1000
    return told


def _book(line: str, books: dict[str, tuple[int, int]], ah: dict[str, float]) -> int:
    fields = json.loads(line)
    now: int = fields["now_ms"]
    for command in fields["commands"]:
        message = command.get("message", {})
        if message.get("code") == protocol.AVAILABLE_LOAD:
            device = command["device"]
            amps, since = books.get(device, (0, now))
            ah[device] = ah.get(device, 0.0) + amps * (now - since) / 3_600_000
            books[device] = (message["limit_a"], now)
    return now


def replay(
    log: Annotated[Path, typer.Argument(help="A record of decisions (may be gzipped).")],
    limit: Annotated[
        float | None, typer.Option(help="What if the limit were this many A?")
    ] = None,
    policy: Annotated[str, typer.Option(help="What if this were the policy?")] = "",
    margin: Annotated[float | None, typer.Option(help="What if so many A were kept free?")] = None,
    json_: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Decide a recorded day again: the same, byte for byte, or with one thing changed."""
    if policy and policy not in POLICIES:
        typer.echo(f"{policy!r} is not a policy: one of {', '.join(POLICIES)}", err=True)
        raise typer.Exit(2)
    try:
        told = replayed(log, limit, policy, margin)
    except (RecordError, OSError) as e:
        typer.echo(f"{log}: {e}", err=True)
        raise typer.Exit(1) from e
    asked = limit is not None or bool(policy) or margin is not None
    if json_:
        typer.echo(json.dumps(dataclasses.asdict(told)))
    else:
        typer.echo(f"{told.events} events in {told.seconds:.0f} s, {told.leases} leases")
        if not told.differing:
            typer.echo("every decision came out the same, byte for byte")
        elif not asked:
            typer.echo(
                f"{told.differing} decisions differ, the first on line {told.first_difference}"
            )
        for device in sorted(told.recorded_ah | told.offered_ah):
            was, now = told.recorded_ah.get(device, 0.0), told.offered_ah.get(device, 0.0)
            typer.echo(
                f"{device}: offered {was:.3f} Ah" + (f", would be {now:.3f} Ah" if asked else "")
            )
    if told.differing and not asked:
        raise typer.Exit(1)
