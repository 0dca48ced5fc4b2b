"""A piece of the bench: how long the core takes to decide, on sites of up to a thousand chargers."""

from __future__ import annotations

import time

from bench.table import Row, summed_up
from manager.core.commands import Send
from manager.core.decide import decide
from manager.core.events import Announced, Report, Tick
from manager.core.site import Site, site
from shared import protocol

TITLE = "decisions of the core"


def house_reading(seq: int, ma: int, phases: int = 3) -> Report:
    """The house's meter, the same current on every phase."""
    return Report("Counter-1", {
        "code": protocol.COUNTER_LOAD, "boot": 1, "seq": seq, "current_ma": [ma] * phases,
        "voltage_dv": [2300] * phases, "power_w": [ma * 230 // 1_000_000] * phases,
        "energy_wh": [0] * phases, "age_ms": 0,
    })  # fmt: skip


def charging_site(count: int) -> tuple[Site, int, int]:
    """A site with so many chargers that all charge; the time, and the meter's last seq."""
    now = site(count * 10, phases=3, max_chargers=count, update_interval_ms=5_000, policy="fair")
    at, seq = 0, 1
    now, _ = decide(now, Announced("hello/new", {
        "code": protocol.NEW_COUNTER, "boot": 1, "seq": seq, "id": "Counter-1", "phases": 3, "role": "house",
    }), at)  # fmt: skip
    seqs = {}
    for n in range(count):
        name = f"c{n}"
        seqs[name] = 2
        now, _ = decide(now, Announced("Counter-1/new", {
            "code": protocol.NEW_CHARGER, "boot": 1, "seq": 1, "id": name, "counter": "Counter-1",
            "min_a": 6, "max_a": 32, "phases": 1, "wiring": [n % 3 + 1], "failsafe_a": 0,
        }), at)  # fmt: skip
    leases = dict.fromkeys(seqs, 0)
    for second in range(8):
        at = second * 1000
        for name, seq_of in seqs.items():
            seqs[name] = seq_of + 1
            now, commands = decide(now, status(name, seq_of + 1, leases[name]), at)
        seq += 1
        now, commands = decide(now, house_reading(seq, count * 1000), at)
        now, more = decide(now, Tick(), at + 500)
        for command in [*commands, *more]:
            if isinstance(command, Send) and "lease" in command.message:
                leases[command.device] = command.message["lease"]
    return now, at + 1000, seq


def status(name: str, seq: int, lease: int) -> Report:
    """A charger whose car charges, going by this lease."""
    return Report(name, {
        "code": protocol.CHARGER_STATUS, "boot": 1, "seq": seq, "state": "C2", "offer_a": 6,
        "lease": lease, "lease_ms": 15_000, "contactor": 1, "mode": "managed", "faults": [],
        "rejected": 0, "uptime_s": 1,
    })  # fmt: skip


def measure(small: bool) -> list[Row]:
    """A cut for every charger; a tick with nothing to do; a charger's own reading."""
    rows = []
    for count in (3, 54) if small else (3, 54, 1000):
        start, at, seq = charging_site(count)
        cuts, ticks, loads = [], [], []
        sent = 0
        for _ in range(10 if small else 40):
            begin = time.perf_counter()
            after, commands = decide(start, house_reading(seq + 1, count * 7000), at)
            cuts.append((time.perf_counter() - begin) * 1000)
            sent = sum(1 for c in commands if isinstance(c, Send))
            begin = time.perf_counter()
            decide(after, Tick(), at + 100)
            ticks.append((time.perf_counter() - begin) * 1000)
            begin = time.perf_counter()
            decide(start, Report("c1", {
                "code": protocol.CHARGER_LOAD, "boot": 1, "seq": 99, "current_ma": [6000],
                "voltage_dv": [2300], "power_w": [1380], "energy_wh": [0], "age_ms": 0,
            }), at)  # fmt: skip
            loads.append((time.perf_counter() - begin) * 1000)
        rows.append(summed_up(f"{count} chargers: a cut", cuts, "ms", f"{sent} leases sent"))
        rows.append(summed_up(f"{count} chargers: a tick", ticks, "ms"))
        rows.append(summed_up(f"{count} chargers: one charger's reading", loads, "ms"))
    return rows
