"""Readings by the thousand from a PZEM that is not ours, with everything a line can do to them.

`readings(count, ...)` runs the firmware's own reader (firmware/energy_meter/meter.py) against
pymodbus. Every answer carries values of its own, so that a reading that is not the one to the
question asked cannot pass for it.
"""

import os
import random
import select
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from firmware.common.modbus import Bus
from firmware.common.ticks import ticks_ms
from firmware.energy_meter.meter import Reader
from simulator.pzem_slave import FAULTS, Exchange, LineThread, Pzem

_IN_TIME_S = 0.2  # of the 250 ms for which the reader waits
_LATE_S = 1.0  # after which the driver takes it that no answer will come any more
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
    right_answers: int = 0  # the slave's, whole and in time
    late_here: int = 0  # right ones too, but this computer was busy and they came too late
    held_up: int = 0  # polls that do not count, for this computer was far too busy
    taken: int = 0  # of the right answers
    wrong: list[str] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)
    slowest: int = 0
    seconds: float = 0.0


class Bench:
    """A PZEM whose every answer has values of its own, and the tally of what was made of them."""

    def __init__(self, *, paced: bool, seed: int) -> None:
        self._dice = random.Random(seed)
        self._pzem = Pzem(1, update_s=0)
        self.line = LineThread([self._pzem], paced=paced, seed=seed)
        self.line.heard = self._new_values
        self.result = Result()
        self._missed = 0
        self._before = 0
        self._asked_at = 0.0
        self._stalled_until = 0.0
        self._new_values()

    def _new_values(self, _: Exchange | None = None) -> None:
        self._pzem.set(
            voltage_dv=self._dice.randrange(2000, 2600),
            current_ma=self._dice.randrange(0, 100_000),
            pf_pct=self._dice.randrange(1, 101),
        )

    def asking(self) -> None:
        """A question is about to be put."""
        self._before = len(self.line.log)
        self._asked_at = time.monotonic()

    def got(self, seen: Sequence[int] | None) -> None:
        """Its answer: the first five registers as the master has them, None if it has none."""
        said = list(self.line.log)[self._before :]
        result = self.result
        now = time.monotonic()
        if not said:
            # This computer let the slave sleep through a question: for as long as it may still
            # answer old ones, what comes is later than a PZEM ever is.
            self._stalled_until = now + 2 * _LATE_S
        if now < self._stalled_until:
            result.held_up += 1
            return
        result.asked += 1
        fault = said[-1].fault
        result.faults[fault] = result.faults.get(fault, 0) + 1
        in_time = 0 < said[-1].done < self._asked_at + _IN_TIME_S
        right = in_time and said[-1].right
        result.late_here += said[-1].right and not in_time
        result.right_answers += right
        if seen is not None:
            # The registers as they were for this very question, and no other.
            if list(seen) != said[-1].registers[:5]:
                result.wrong.append(f"{fault}: {seen} for {said}")
            result.taken += right
            self._missed = 0
        elif in_time and fault in {"", "split", "echo", "noise"}:
            self._missed += 1
            result.slowest = max(result.slowest, self._missed)


def readings(
    count: int,
    *,
    paced: bool,
    rates: dict[str, float] = ALL_FAULTS,
    seed: int = 1,
) -> Result:
    """So many polls, faults drawn by `rates`."""
    bench = Bench(paced=paced, seed=seed)
    with bench.line as line:
        tty = Tty(line.path)
        reader = Reader(SETTINGS, Bus(tty), ticks_ms())
        _turn(reader)  # asks for the address
        line.fault_rates = rates
        began = time.monotonic()
        while bench.result.asked < count:
            bench.asking()
            if _turn(reader):
                r = reader.phases[0].reading
                seen = [r.voltage_dv, r.current_ma & 0xFFFF, r.current_ma >> 16]
                bench.got([*seen, r.power_dw & 0xFFFF, r.power_dw >> 16])
            else:
                bench.got(None)
        bench.result.seconds = time.monotonic() - began
        tty.close()
    return bench.result


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
