"""A piece of the bench: a recorded house read every second, two cars beside it, a 16 A contract used to
the last ampere, and what its overloads cost the breaker.

The boards answer at once and a car follows its pilot a second later; what is measured is the core's
own part: how long cars go on being part of an overload after the reading that showed it.
"""

from __future__ import annotations

import gzip
from pathlib import Path

from bench.decisions import house_reading, status
from bench.table import Row
from manager.core.breaker import Account, Icp, Mcb
from manager.core.commands import Send
from manager.core.decide import decide
from manager.core.events import Announced, Report, Tick
from manager.core.site import site
from shared import protocol

TITLE = "a house read every second (tracebase, one day), 16 A, two cars"
RECORDING = Path(__file__).parent.parent / "simulator" / "data" / "house_tracebase_1s.csv.gz"
LIMIT_A = 16
VOLTS = 230


def _house_ma() -> list[int]:
    with gzip.open(RECORDING, "rt", encoding="utf-8") as file:
        return [int(float(line) * 1000 / VOLTS) for line in file if line[0].isdigit()]


def measure(small: bool) -> list[Row]:
    """The busiest hour, or the whole day."""
    house = _house_ma()
    start = 0
    if small:
        start = max(range(0, len(house) - 1800, 600), key=lambda s: sum(house[s : s + 1800]))
        house = house[start : start + 1800]
    now = site(LIMIT_A, update_interval_ms=0, policy="fair", min_off_ms=60_000)
    now, _ = decide(now, Announced("hello/new", {
        "code": protocol.NEW_COUNTER, "boot": 1, "seq": 1, "id": "Counter-1", "phases": 1, "role": "house",
    }), 0)  # fmt: skip
    seqs, leases, pilots, drawn = {}, {}, {}, {}
    for name in ("c1", "c2"):
        seqs[name], leases[name], pilots[name], drawn[name] = 1, 0, 0, 0
        now, _ = decide(now, Announced("Counter-1/new", {
            "code": protocol.NEW_CHARGER, "boot": 1, "seq": 1, "id": name, "counter": "Counter-1",
            "min_a": 6, "max_a": 16, "phases": 1, "wiring": [1], "failsafe_a": 0,
        }), 0)  # fmt: skip
    books = {
        "ICP 16 A": Account(Icp(LIMIT_A * 1000), LIMIT_A * 1000),
        "breaker C16": Account(Mcb("C", LIMIT_A * 1000), LIMIT_A * 1000),
    }
    longest = going = over_s = before = 0
    energy_ma_s = 0
    for second, ma in enumerate(house):
        at = second * 1000
        # The cars still draw what their pilots said a second ago.
        for name in tuple(seqs):
            seqs[name] += 1
            current = drawn[name]
            now, _ = decide(now, Report(name, {
                "code": protocol.CHARGER_LOAD, "boot": 1, "seq": seqs[name], "current_ma": [current],
                "voltage_dv": [2300], "power_w": [0], "energy_wh": [0], "age_ms": 0,
            }), at)  # fmt: skip
        now, commands = decide(now, house_reading(second + 2, ma, 1), at)
        waiting = list(commands)
        now, commands = decide(now, Tick(), at)
        waiting += commands
        if second == 0:
            for name in tuple(seqs):
                seqs[name] += 1
                now, commands = decide(now, status(name, seqs[name], 0), at)
                waiting += commands
        while waiting:
            command = waiting.pop(0)
            if isinstance(command, Send) and "lease" in command.message:
                name = command.device
                pilots[name] = command.message["limit_a"]
                leases[name] = command.message["lease"]
                seqs[name] += 1
                now, more = decide(now, status(name, seqs[name], leases[name]), at)
                waiting += more
        cars = sum(drawn.values())
        energy_ma_s += cars
        for name, book in books.items():
            books[name] = book.after(ma, cars, 1000)
        over = ma + cars > LIMIT_A * 1000 and cars > 0
        over_s += over
        # A further step of the house is a further reading that shows it.
        going = (1 if ma > before else going + 1) if over else 0
        before = ma
        longest = max(longest, going)
        drawn = {name: amps * 1000 for name, amps in pilots.items()}
    wide = sum(max(0, LIMIT_A * 1000 - ma) for ma in house)
    rows = [
        Row("overload with cars, longest after its reading", longest, None, "s", "2 s allowed"),
        Row("overload with cars, in all", over_s, None, "s", f"of {len(house):,} s"),
        Row("used of what the house left", round(100 * energy_ma_s / wide, 1), None, "%"),
    ]
    for name, book in books.items():
        overloads = [*book.overloads, *([book.running] if book.running else [])]
        by_cars = [o for o in overloads if o.cars_mas > 0]
        most = max((o.budget for o in by_cars), default=0.0)
        excess = sum(o.cars_mas for o in by_cars) / 1000
        rows.append(
            Row(
                f"{name}: most of the trip budget one overload used",
                round(100 * most, 2), None, "%",
                f"{len(by_cars)} overloads with cars, {excess:.0f} As by them",
            )
        )  # fmt: skip
    return rows
