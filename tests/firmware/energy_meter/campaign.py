"""Readings by the thousand from a PZEM that is not ours, with everything a line can do to them.

`readings(count, ...)` runs the firmware's own reader (firmware/energy_meter/meter.py) against
pymodbus. Every answer carries values of its own, so that a reading that is not the one to the
question asked cannot pass for it.
"""

import os
import random
import select
import time
from dataclasses import dataclass, field

from firmware.common.modbus import Bus
from firmware.common.ticks import ticks_ms
from firmware.energy_meter.meter import Reader
from simulator.pzem_slave import FAULTS, Exchange, LineThread, Pzem

SETTINGS = {"phases": 1, "poll_ms": 1}
ALL_FAULTS = dict.fromkeys(FAULTS, 0.02)


class Tty:
    """A machine.UART on the line's tty, with the ESP8266's 63 places."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        self._ring = b""

    def any(self) -> int:
        if select.select([self._fd], [], [], 0)[0]:
            self._ring = (self._ring + os.read(self._fd, 256))[:63]
        return len(self._ring)

    def read(self, size: int) -> bytes | None:
        part, self._ring = self._ring[:size], self._ring[size:]
        return part or None

    def write(self, data: bytes) -> int:
        return os.write(self._fd, data)

    def close(self) -> None:
        os.close(self._fd)


@dataclass
class Result:
    """What came of it. `slowest`: most polls between a fault's end and the next good reading."""

    asked: int = 0
    right_answers: int = 0
    taken: int = 0  # of the right answers
    wrong: list[str] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)
    slowest: int = 0
    seconds: float = 0.0


def readings(
    count: int, *, paced: bool, rates: dict[str, float] = ALL_FAULTS, seed: int = 1
) -> Result:
    """So many polls, faults drawn by `rates`."""
    dice = random.Random(seed)
    pzem = Pzem(1, update_s=0)

    def new_values(_: Exchange | None = None) -> None:
        pzem.set(
            voltage_dv=dice.randrange(2000, 2600),
            current_ma=dice.randrange(0, 100_000),
            pf_pct=dice.randrange(1, 101),
        )

    new_values()
    result = Result()
    began = time.monotonic()
    with LineThread([pzem], paced=paced, seed=seed) as line:
        line.heard = new_values
        tty = Tty(line.path)
        reader = Reader(SETTINGS, Bus(tty), ticks_ms())
        phase = reader.phases[0]
        _turn(reader)  # asks for the address
        line.fault_rates = rates
        missed = 0
        while result.asked < count:
            before = len(line.log)
            got = _turn(reader)
            result.asked += 1
            said = list(line.log)[before:]
            fault = said[-1].fault if said else ""
            result.faults[fault] = result.faults.get(fault, 0) + 1
            right = bool(said) and said[-1].right
            result.right_answers += right
            if got:
                r = phase.reading
                seen = [r.voltage_dv, r.current_ma & 0xFFFF, r.current_ma >> 16]
                seen += [r.power_dw & 0xFFFF, r.power_dw >> 16]
                # The registers as they were for this very question, and no other.
                if not said or seen != said[-1].registers[:5]:
                    result.wrong.append(f"{fault}: {seen} for {said}")
                result.taken += right
                missed = 0
            elif fault in {"", "split", "echo", "noise"}:
                missed += 1
                result.slowest = max(result.slowest, missed)
        tty.close()
    result.seconds = time.monotonic() - began
    return result


def _turn(reader: Reader) -> bool:
    """One question and its answer, or what came instead."""
    errors = reader.errors
    while True:
        waiting = reader.bus.waiting
        if reader.poll(ticks_ms()):
            return True
        if reader.errors != errors or (waiting and not reader.bus.waiting):
            return False
        time.sleep(0.0005)
