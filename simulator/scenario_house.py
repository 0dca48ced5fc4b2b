"""What the building itself draws in a scenario: its steps, or a recording, as (ms, mA on each
phase).

A recording is a CSV file, plain or gzipped: comment lines, one line with the unit (`amps` or
`watts`), then one value a line from midnight on, as many in a day as there are seconds or minutes.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

from simulator.scenario import VOLTS, House, Scenario, ScenarioError

_DATA = Path(__file__).parent / "data"
RECORDINGS = {
    "uci": _DATA / "house_uci_1min.csv.gz",
    "tracebase": _DATA / "house_tracebase_1s.csv.gz",
}
_DAY_S = 86_400


def recording(name: str) -> tuple[int, list[int]]:
    """(seconds a value stands for, values in mA) of a shipped recording or a file."""
    path = RECORDINGS.get(name, Path(name))
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
    except (OSError, UnicodeDecodeError, EOFError) as e:
        known = ", ".join(RECORDINGS)
        raise ScenarioError(
            "house.recording", f"{name}: cannot be read ({known}, or a file)"
        ) from e
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    if not lines or lines[0] not in ("amps", "watts"):
        raise ScenarioError("house.recording", f"{name}: the first line must be amps or watts")
    factor = 1000 if lines[0] == "amps" else 1000 / VOLTS
    values: list[int] = []
    for n, line in enumerate(lines[1:], 1):
        try:
            # A minute nobody recorded is taken to be as the one before.
            values.append(round(float(line) * factor) if line else values[-1] if values else 0)
        except ValueError as e:
            raise ScenarioError("house.recording", f"{name}: value {n} is {line!r}") from e
    if not values:
        raise ScenarioError("house.recording", f"{name}: has no values")
    # A day of seconds, or days of minutes.
    return (1 if len(values) == _DAY_S else 60), values


def draws(scenario: Scenario, house: House) -> Iterator[tuple[int, tuple[int, ...]]]:
    """What `house` (or the sun) does, in order of time, from 0 to the scenario's end. A recording
    that ends begins again.
    """
    if not house.recording:
        yield from house.steps
        return
    period_s, values = recording(house.recording)
    first = [
        (house.from_s + phase * house.shift_days * _DAY_S) // period_s
        for phase in range(scenario.phases)
    ]
    last: tuple[int, ...] = ()
    for n in range(scenario.duration_ms // 1000 // period_s + 1):
        amps = tuple(round(values[(at + n) % len(values)] * house.scale) for at in first)
        if amps != last:
            last = amps
            yield n * period_s * 1000, amps
