"""PZEM-004T v3.0: what its registers mean, how to ask for them, and which of its answers cannot be
true.

Peacefair's datasheet: 9600 8N1; input registers 0 voltage 0.1 V, 1-2 current 1 mA, 3-4 power 0.1
W, 5-6 energy 1 Wh (low word first), 7 frequency 0.1 Hz, 8 power factor 0.01, 9 alarm; holding
registers 1 alarm threshold 1 W, 2 address. The device takes a new measurement about once a second,
and lives from the mains it measures.
"""

from firmware.common.modbus import GENERAL, READ_HOLDING, READ_INPUT, WRITE_SINGLE, ModbusError
from firmware.common.ticks import ticks_add, ticks_diff

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass

_RESET_ENERGY = 0x42
_ALARM_REGISTER = 1
_ADDRESS_REGISTER = 2
ALARM_MAX_W = 25_000

# How many registers successive questions ask for. An answer that comes too late is told from the
# one to the present question by its length: taken for it, a reading would be older than it says.
_COUNTS = (10, 9, 8, 7)
_LATE_MS = 1000  # an answer that has not come by then will not come


class Reading:
    """One measurement of one phase: voltage_dv, current_ma, power_dw (0.1 W), energy_wh, freq_dhz
    (0.1 Hz), pf_pct, alarm (None if not asked for), and `asked`, the ticks of the question: it can
    only be younger than that."""

    def __init__(
        self,
        voltage_dv: int,
        current_ma: int,
        power_dw: int,
        energy_wh: int,
        freq_dhz: int,
        pf_pct: int,
        alarm: bool | None,
        asked: int,
    ) -> None:
        self.voltage_dv = voltage_dv
        self.current_ma = current_ma
        self.power_dw = power_dw
        self.energy_wh = energy_wh
        self.freq_dhz = freq_dhz
        self.pf_pct = pf_pct
        self.alarm = alarm
        self.asked = asked


def parse(whole: bytes, asked: int = 0, freq_dhz: int = 500) -> Reading:
    """The reading in an answer to 7 to 10 input registers from 0; `freq_dhz` where it has none.

    ModbusError "impossible" for values outside what the device can measure: below 50 V it has no
    supply to answer with, so a frame of zeros is not a reading.
    """
    word = [whole[i] << 8 | whole[i + 1] for i in range(3, 3 + whole[2], 2)]
    freq = word[7] if len(word) > 7 else freq_dhz
    voltage, current, power = word[0], word[1] | word[2] << 16, word[3] | word[4] << 16
    if not (
        500 <= voltage <= 3000 and current <= 110_000 and power <= 270_000 and 400 <= freq <= 700
    ):
        raise ModbusError("impossible")
    if len(word) > 8:
        pf = word[8]
        if pf > 100:
            raise ModbusError("impossible")
    else:
        apparent = voltage * current // 1000  # 0.1 VA
        pf = min(100, (power * 100 + apparent // 2) // apparent) if apparent else 0
    alarm = word[9] == 0xFFFF if len(word) > 9 else None
    return Reading(voltage, current, power, word[5] | word[6] << 16, freq, pf, alarm, asked)


def jump(old: Reading, new: Reading, passed_ms: int) -> str:
    """Why `new` is hard to believe `passed_ms` after `old`: "" or one of power, voltage,
    frequency, energy.

    A load may switch at any moment, so a jump of the current alone is believed. What physics ties
    together is not allowed to part: power is at most volts times amperes, energy only grows, by no
    more than power times time.
    """
    apparent = new.voltage_dv * new.current_ma // 1000  # 0.1 VA
    if new.power_dw > apparent + apparent // 20 + 50:
        return "power"
    if passed_ms < 2000:
        if abs(new.voltage_dv - old.voltage_dv) > 400:
            return "voltage"
        if abs(new.freq_dhz - old.freq_dhz) > 20:
            return "frequency"
    grown = new.energy_wh - old.energy_wh
    # Twice the larger of the two powers, and 2 Wh for rounding and the device's own second.
    if (
        grown < 0
        or grown > 2 + max(old.power_dw, new.power_dw) // 5 * (passed_ms // 1000 + 2) // 3600
    ):
        return "energy"
    return ""


class Pzem:
    """One device on a bus. `address`: 1 to 247, or GENERAL when it is alone on the line: it is then
    asked for its address first, so that its readings can be told from another device's."""

    def __init__(self, bus: "Any", address: int = GENERAL) -> None:
        self.bus = bus
        self.address = address
        self._turn = 0
        self._late: "list[int | None]" = [None] * len(_COUNTS)  # an answer may come until then
        self._freq_dhz = 500

    def ask(self, now_ms: int) -> bool:
        """Ask for a reading; the bus must be `quiet` and not `waiting`. False: not asked, for the
        answers to all questions of the last second are still owed."""
        if self.address == GENERAL:
            body = bytes((GENERAL, READ_HOLDING, 0, _ADDRESS_REGISTER, 0, 1))
            self.bus.ask(body, bytes((GENERAL, READ_HOLDING, 2)), 7, now_ms)
            return True
        turn = self._next(now_ms)
        if turn < 0:
            return False
        self._turn = turn
        count = _COUNTS[turn]
        head = bytes((self.address, READ_INPUT, 2 * count))
        self.bus.ask(
            bytes((self.address, READ_INPUT, 0, 0, 0, count)), head, 5 + 2 * count, now_ms
        )
        return True

    def _next(self, now_ms: int) -> int:
        """Which count to ask for: not one whose answer may still be on its way, nor the last
        one's again, for a device may repeat itself; -1 if there is none."""
        for k in range(1, len(_COUNTS)):
            turn = (self._turn + k) % len(_COUNTS)
            late = self._late[turn]
            if late is None or ticks_diff(now_ms, late) >= 0:
                self._late[turn] = None
                return turn
        return -1

    def answer(self, now_ms: int) -> Reading | None:
        """The reading, ModbusError if there will be none; None while it is still to come, and once
        after the device has told its address, when the bus is no longer `waiting`."""
        try:
            whole = self.bus.answer(now_ms)
        except ModbusError:
            # Whatever came instead, garbage or a refusal, may have been the late answer to an
            # earlier question: this one's own may still be on its way.
            self._late[self._turn] = ticks_add(self.bus.asked, _LATE_MS)
            raise
        if whole is None:
            return None
        if self.address != GENERAL:
            reading = parse(whole, self.bus.asked, self._freq_dhz)
            self._freq_dhz = reading.freq_dhz
            return reading
        if not whole[3] and 1 <= whole[4] <= 247:
            self.address = whole[4]
        return None

    def settings(self) -> "tuple[int, int]":
        """(alarm threshold in W, address); waits for the answer."""
        head = bytes((self.address, READ_HOLDING, 4))
        whole = self.bus.transact(
            bytes((self.address, READ_HOLDING, 0, _ALARM_REGISTER, 0, 2)), head, 9
        )
        return whole[3] << 8 | whole[4], whole[5] << 8 | whole[6]

    def _set(self, register: int, value: int) -> None:
        body = bytes((self.address, WRITE_SINGLE, 0, register, value >> 8, value & 0xFF))
        self.bus.transact(body, body, 8)

    def set_alarm(self, watts: int) -> None:
        """Above this power the device raises its alarm: 0..25000 W. ValueError outside it."""
        if not 0 <= watts <= ALARM_MAX_W:
            raise ValueError("alarm threshold not in 0..%d W" % ALARM_MAX_W)
        self._set(_ALARM_REGISTER, watts)

    def set_address(self, address: int) -> None:
        """Give the device another address, 1..247; ValueError outside it. Kept by the device over
        power cuts."""
        if not 1 <= address <= 247:
            raise ValueError("address not in 1..247")
        self._set(_ADDRESS_REGISTER, address)
        if self.address != GENERAL:
            self.address = address

    def reset_energy(self) -> None:
        """Set the device's energy counter to 0."""
        body = bytes((self.address, _RESET_ENERGY))
        self.bus.transact(body, body, 4)
