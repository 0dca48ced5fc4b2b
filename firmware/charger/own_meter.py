"""The charger's own meter: one PZEM-004T v3 a phase on one serial line, asked in turn, never waited for."""

from firmware.common.modbus import GENERAL, Bus, ModbusError
from firmware.common.pzem import Pzem, jump

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass

POLL_MS = 200  # least time between two rounds
LOST_MS = 5_000


class OwnMeter:
    """`step` often. `loads` is raised when every phase has been read anew; then `load` holds, phase by phase, mA, dV,
    W, Wh and power factor in %, `currents_ma` and `voltages_dv` the same for the state machine (empty once lost),
    `asked` the ticks of the oldest of these, `suspect` whether a jump is hard to believe."""

    def __init__(self, uart: "Any", phases: int) -> None:
        self._bus = Bus(uart)
        self._pzems = [Pzem(self._bus, k + 1 if phases > 1 else GENERAL) for k in range(phases)]
        self._readings: "list[Any]" = [None] * phases
        self._turn = 0
        self._started = -1
        self._asking = False
        self._answered_ms = 0
        self.load: "list[int]" = []
        self.currents_ma: "list[int]" = []
        self.voltages_dv: "list[int]" = []
        self.freq_mhz = 0
        self.loads = 0
        self.asked = 0
        self.suspect = False
        self.lost = False
        self.errors = 0

    def step(self, ticks: int, now_ms: int) -> None:
        """Ask or listen; `ticks` and `now_ms` are the same moment."""
        if not self._asking:
            if self._turn == 0 and self._started >= 0 and now_ms - self._started < POLL_MS:
                return
            if self._bus.quiet(ticks):
                if self._turn == 0:
                    self._started = now_ms
                self._asking = self._pzems[self._turn].ask(ticks)
            return
        try:
            reading = self._pzems[self._turn].answer(ticks)
            if reading is None:
                # It is still to come; or that was its address, and the next question is for a reading.
                self._asking = self._bus.waiting
                return
        except ModbusError:
            self.errors += 1
            reading = None
        self._asking = False
        if reading is None:
            self._turn = 0
            if now_ms - self._answered_ms > LOST_MS and not self.lost:
                # Old values are not kept: what is not measured is not known.
                self.lost = True
                self.load = []
                self.currents_ma = []
                self.voltages_dv = []
                self.freq_mhz = 0
            return
        k = self._turn
        old = self._readings[k]
        self._readings[k] = reading
        if old is not None and jump(old, reading, max(0, reading.asked - old.asked)):
            self.suspect = True
        self._turn = (k + 1) % len(self._pzems)
        if self._turn == 0 and None not in self._readings:
            self._whole(now_ms)

    def _whole(self, now_ms: int) -> None:
        load = []
        for r in self._readings:
            load += [r.current_ma, r.voltage_dv, (r.power_dw + 5) // 10, r.energy_wh, r.pf_pct]
        self.load = load
        self.currents_ma = [r.current_ma for r in self._readings]
        self.voltages_dv = [r.voltage_dv for r in self._readings]
        self.freq_mhz = self._readings[0].freq_dhz * 100
        self.asked = self._readings[0].asked
        self.lost = False
        self._answered_ms = now_ms
        self.loads += 1
