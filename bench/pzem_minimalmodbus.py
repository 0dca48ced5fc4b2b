"""Reading a PZEM: the meter's driver beside minimalmodbus, on the same independent slave.

Both put question after question to pymodbus at 9600 baud. On the clean line it is speed; then a
quarter of the answers are altered, cut, split, late, missing, somebody else's, old or all zero.
"""

from __future__ import annotations

import time

import minimalmodbus

from bench.table import Row
from simulator.pzem_campaign import Bench, Result, readings
from simulator.pzem_slave import FAULTS

TITLE = "PZEM-004T: our driver and minimalmodbus on one slave"
_BAD_LINE = dict.fromkeys(FAULTS, 0.25 / len(FAULTS))


def _theirs(count: int, rates: dict[str, float], seed: int = 1) -> Result:
    bench = Bench(paced=True, seed=seed)
    with bench.line as line:
        device = minimalmodbus.Instrument(line.path, 1)
        device.serial.baudrate = 9600
        device.serial.timeout = 0.25
        device.clear_buffers_before_each_transaction = True
        line.fault_rates = rates
        began = time.monotonic()
        for _ in range(count):
            bench.asking()
            try:
                bench.got(device.read_registers(0, 10, functioncode=4)[:5])
            except (minimalmodbus.ModbusException, OSError, ValueError):
                bench.got(None)
        bench.result.seconds = time.monotonic() - began
        device.serial.close()
    return bench.result


def measure(small: bool) -> list[Row]:
    """Readings a second on a clean line; on a bad one, how many right answers were taken and how
    many wrong ones were believed."""
    count = 40 if small else 240
    rows = []
    for name, run in (
        ("ours", lambda n, rates: readings(n, paced=True, rates=rates)),
        ("minimalmodbus", _theirs),
    ):
        clean = run(count, {})
        rows.append(Row(f"{name}: clean line", clean.asked / clean.seconds, unit="readings/s"))
        bad = run(count, _BAD_LINE)
        taken = 100 * bad.taken / max(1, bad.right_answers)
        rows.append(
            Row(
                f"{name}: bad line, right answers taken",
                taken,
                unit="%",
                note=f"of {bad.right_answers}",
            )
        )
        rows.append(
            Row(
                f"{name}: bad line, wrong readings believed",
                len(bad.wrong),
                note=f"of {bad.asked}",
            )
        )
    return rows
