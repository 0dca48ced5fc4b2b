"""What a charger is wired to: the car's pilot circuit, cable, earth, residual current monitor,
contactor, mains, sensors.

Pure: the bench sets what the world does, the board what it drives; `levels` and `voltages` say
what its pins see then. Values are those of the usual circuit: pilot source 1 kΩ from ±12 V; in
the car a diode and 2.74 kΩ (B), 882 Ω (C) or 246 Ω (D) to earth; 100 kΩ / 22 kΩ to 3.3 V / 16 kΩ
to ground before the board's converter; 1 kΩ pull-up for the cable's resistor; 10 kΩ NTC (B 3950)
beside 27 kΩ to ground under 10 kΩ to 3.3 V.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

EV_OHM = {"A": None, "B": 2740.0, "C": 882.0, "D": 246.0}
PP_OHM_32A = 220.0
DIODE_MV = 700
_RELAY_CLOSES_MS, _RELAY_OPENS_MS = 20, 15
_PULL_UP_MV = 3300
# A residual current monitor (6 mA DC, 30 mA AC): multiple of its threshold -> it trips within so
# many ms.
_RCM_TRIP_MS = ((5.0, 15), (2.0, 60), (1.0, 170))
_RCM_TEST_MS = 30


class BenchError(ValueError):
    """A line to the bench that cannot be: what and why, in words."""


@dataclass
class Pilot:
    """The charger's half of the pilot circuit; the defaults are nominal, the ranges those a bench
    must bear."""

    plus_mv: int = 12_000
    minus_mv: int = -12_000
    source_ohm: float = 1000.0
    top_ohm: float = 100_000.0
    up_ohm: float = 22_000.0
    down_ohm: float = 16_000.0

    def cp_mv(self, driven_mv: int, ev_ohm: float | None, diode: bool, shorted: bool) -> int:
        """The line's voltage while the source drives `driven_mv`, with a car of `ev_ohm` (None:
        none)."""
        if shorted:
            return 0
        # The divider loads the line towards about 1.4 V behind 109 kΩ.
        tail = 1 / (self.top_ohm + 1 / (1 / self.up_ohm + 1 / self.down_ohm))
        tail_mv = _PULL_UP_MV * self.down_ohm / (self.up_ohm + self.down_ohm)
        conductance = 1 / self.source_ohm + tail
        current = driven_mv / self.source_ohm + tail_mv * tail
        if ev_ohm is not None:
            drop = DIODE_MV if diode else 0
            if not diode or current / conductance > drop:
                conductance += 1 / ev_ohm
                current += drop / ev_ohm
        return round(current / conductance)

    def node_uv(self, cp_mv: int) -> int:
        """Microvolts at the converter's pin; the clamp keeps them within 0 and 3.6 V."""
        node = (cp_mv / self.top_ohm + _PULL_UP_MV / self.up_ohm) / (
            1 / self.top_ohm + 1 / self.up_ohm + 1 / self.down_ohm
        )
        return round(max(0.0, min(3600.0, node)) * 1000)


def ntc_uv(temp_c: float | None) -> int:
    """Microvolts of a 10 kΩ NTC (B 3950) beside 27 kΩ to ground under 10 kΩ to 3.3 V; None: the
    sensor is open."""
    ohm = 27_000.0
    if temp_c is not None:
        ntc = 10_000 * math.exp(3950 * (1 / (temp_c + 273.15) - 1 / 298.15))
        ohm = ntc * ohm / (ntc + ohm)
    return round(_PULL_UP_MV * 1000 * ohm / (ohm + 10_000))


@dataclass
class Installation:
    """One charger's surroundings. `pins` is a pin table of firmware/charger (pins_esp32.py names
    every field)."""

    pins: ModuleType
    ev: str = "A"
    ev_ohm: float | None = None
    diode: bool = True
    shorted: bool = False
    pp_ohm: float | None = PP_OHM_32A
    residual_ma: dict[str, float] = field(default_factory=lambda: {"ac": 0.0, "dc": 0.0})
    rcm_works: bool = True
    pe: bool = True
    weld: bool = False
    stuck_open: bool = False
    temp_c: dict[str, float | None] = field(default_factory=lambda: {"terminal": 25.0})
    mains_dv: int = 2300
    car_ma: list[int] = field(default_factory=lambda: [0, 0, 0])
    card: str | None = None
    card_ndef: str | None = None  # makes the card an NTAG 424 DNA that says this (hex)
    reader: bool = True  # the card reader answers
    button: bool = False
    power: bool = True
    pilot: Pilot = field(default_factory=Pilot)
    # what the board drives
    duty_u16: int = 0
    freq_hz: int = 0
    coil: bool = False
    rcm_test: bool = False
    led: str = "off"
    # what follows late
    contacts: bool = False
    rcm_tripped: bool = False
    _contacts_due: tuple[int, bool] | None = None
    _rcm_due: tuple[int, bool] | None = None

    # -- the world

    def set(self, inputs: dict[str, Any], now_ms: int) -> None:
        """Take one line to the bench. BenchError names what cannot be; then nothing is changed."""
        checked: dict[str, Any] = {}
        for name, value in inputs.items():
            checked.update(_checked(name, value))
        for name, value in checked.items():
            if name == "temp_c":
                self.temp_c.update(value)
            elif name == "residual_ma":
                self.residual_ma.update(value)
            elif name == "pilot":
                for part, number in value.items():
                    setattr(self.pilot, part, number)
            else:
                setattr(self, name, value)
        self._rcm(now_ms)
        self._relay(now_ms)

    # -- the board

    def drive(self, pin: int, level: int, now_ms: int) -> bool:
        """The board drives a pin; was it one that means something here?"""
        if pin == self.pins.CONTACTOR:
            self.coil = bool(level)
            self._relay(now_ms)
        elif pin == self.pins.RCM_TEST:
            self.rcm_test = bool(level)
            self._rcm(now_ms)
        elif pin == self.pins.LED:
            self.led = "on" if level else "off"
        elif pin == self.pins.PILOT_PWM:
            self.duty_u16, self.freq_hz = (65535 if level else 0), 0
        else:
            return False
        return True

    def pwm(self, pin: int, duty_u16: int, freq_hz: int) -> bool:
        """The board runs a PWM on a pin."""
        if pin == self.pins.PILOT_PWM:
            self.duty_u16, self.freq_hz = duty_u16, freq_hz
        elif pin == self.pins.LED:
            self.led = "off" if not duty_u16 else f"{round(duty_u16 * 100 / 65535)}%"
        else:
            return False
        return True

    def reset(self, now_ms: int) -> None:
        """Every pin floats: the coil's pull-down opens the contactor, the pilot stage's makes it
        a steady -12 V."""
        self.coil = self.rcm_test = False
        self.duty_u16 = self.freq_hz = 0
        self.led = "off"
        self._relay(now_ms)
        self._rcm(now_ms)

    # -- what follows late

    def _relay(self, now_ms: int) -> None:
        want = (self.coil and self.power) or self.weld
        if self.stuck_open:
            want = False
        if self.weld and self.contacts:
            want = True
        if want == self.contacts:
            self._contacts_due = None
        elif self._contacts_due is None or self._contacts_due[1] != want:
            self._contacts_due = (now_ms + (_RELAY_CLOSES_MS if want else _RELAY_OPENS_MS), want)

    def _rcm(self, now_ms: int) -> None:
        times = max(self.residual_ma["dc"] / 6.0, self.residual_ma["ac"] / 30.0)
        delay = next((ms for multiple, ms in _RCM_TRIP_MS if times >= multiple), None)
        if self.rcm_test:
            delay = _RCM_TEST_MS if delay is None else min(delay, _RCM_TEST_MS)
        if not self.rcm_works:
            delay = None
        if delay is not None:
            if not self.rcm_tripped and (self._rcm_due is None or not self._rcm_due[1]):
                self._rcm_due = (now_ms + delay, True)
        elif self.rcm_tripped and times < 0.5:
            if self._rcm_due is None or self._rcm_due[1]:
                self._rcm_due = (now_ms + 20, False)
        else:
            self._rcm_due = None

    def due_ms(self) -> int | None:
        """When something changes by itself."""
        return min((due[0] for due in (self._contacts_due, self._rcm_due) if due), default=None)

    def tick(self, now_ms: int) -> None:
        """Let what is due happen."""
        if self._contacts_due and now_ms >= self._contacts_due[0]:
            self.contacts, self._contacts_due = self._contacts_due[1], None
        if self._rcm_due and now_ms >= self._rcm_due[0]:
            self.rcm_tripped, self._rcm_due = self._rcm_due[1], None

    # -- what is to be seen

    @property
    def live(self) -> bool:
        """Is there voltage after the contactor?"""
        return self.contacts and self.mains_dv >= 500 and self.power

    def levels(self) -> dict[int, int]:
        """Digital inputs: pin -> level."""
        pins = self.pins
        found = {
            pins.RCM_TRIP: int(self.rcm_tripped),
            pins.PE_PROOF: int(not self.pe),
            pins.MAINS_SENSE: int(not self.live),
            pins.BUTTON: int(not self.button),
        }
        return {pin: level for pin, level in found.items() if pin is not None}

    def plateaus_mv(self) -> tuple[int, int]:
        """The pilot line while the board's pin is high, and while it is low."""
        ohm = self.ev_ohm if self.ev_ohm is not None else EV_OHM.get(self.ev)
        if not self.power:
            return 0, 0
        short = self.shorted or self.ev == "E"
        return (
            self.pilot.cp_mv(self.pilot.plus_mv, ohm, self.diode, short),
            self.pilot.cp_mv(self.pilot.minus_mv, ohm, self.diode, short),
        )

    def pilot_mv(self) -> tuple[int, int]:
        """The plateaus that are really there: both the same while the pilot is steady."""
        high, low = self.plateaus_mv()
        if self.duty_u16 == 65535:
            return high, high
        if self.duty_u16 == 0:
            return low, low
        return high, low

    def voltages(self) -> dict[int, tuple[int, int, int]]:
        """Analogue inputs: pin -> (the pin whose PWM it follows or -1, microvolts while that is
        high, while low)."""
        pins = self.pins
        high, low = self.plateaus_mv()
        # A pilot driven as a plain output follows its level, not a PWM.
        follows = pins.PILOT_PWM
        found: dict[int, tuple[int, int, int]] = {
            pins.PILOT_ADC: (follows, self.pilot.node_uv(high), self.pilot.node_uv(low))
        }
        if pins.PROXIMITY_ADC is not None:
            ohm = self.pp_ohm
            uv = (
                _PULL_UP_MV * 1000
                if ohm is None
                else round(_PULL_UP_MV * 1000 * ohm / (ohm + 1000))
            )
            found[pins.PROXIMITY_ADC] = (-1, uv, uv)
        names = ["terminal", *(name for name in self.temp_c if name != "terminal")]
        for pin, name in zip(pins.TEMPERATURE_ADC, names, strict=False):
            uv = ntc_uv(self.temp_c[name])
            found[pin] = (-1, uv, uv)
        return found

    def state(self) -> str:
        """The state on the line: the car's letter, 2 while the pilot oscillates; F while it is at
        -12 V."""
        if self.duty_u16 == 0:
            return "F"
        letter = self.ev
        if self.shorted:
            letter = "E"
        elif self.ev_ohm is not None:
            letter = min(
                (name for name in EV_OHM if name != "A"),
                key=lambda name: abs((EV_OHM[name] or 0) - (self.ev_ohm or 0)),
            )
        return letter + ("1" if self.duty_u16 == 65535 else "2") if letter != "E" else "E"

    def meter_ma(self) -> list[int]:
        """What the charger's own meter sees: the car's current, if the contactor lets it."""
        return [ma if self.live else 0 for ma in self.car_ma]


def _number(name: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise BenchError(f"{name}: a number from {low:g} to {high:g}, not {value!r}")
    return float(value)


def _truth(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise BenchError(f"{name}: true or false, not {value!r}")
    return value


def _table(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BenchError(f"{name}: an object, not {value!r}")
    return value


def _checked(name: str, value: Any) -> dict[str, Any]:
    if name == "ev":
        if not isinstance(value, str) or value not in {"A", "B", "C", "D", "E"}:
            raise BenchError(f"ev: one of A, B, C, D, E, not {value!r}")
        return {"ev": value, "ev_ohm": None, "shorted": value == "E"}
    if name == "ev_ohm":
        return {"ev_ohm": None if value is None else _number(name, value, 1, 1e7)}
    if name == "pp_ohm":
        return {"pp_ohm": None if value is None else _number(name, value, 0, 1e7)}
    if name in {"diode", "pe", "weld", "power", "button", "rcm_works", "reader"}:
        return {name: _truth(name, value)}
    if name == "contactor_stuck_open":
        return {"stuck_open": _truth(name, value)}
    if name == "residual_ma":
        parts = _table(name, value)
        if not set(parts) <= {"ac", "dc"}:
            raise BenchError(f"residual_ma: parts are ac and dc, not {sorted(parts)}")
        return {
            name: {part: _number(f"residual_ma.{part}", n, 0, 10_000) for part, n in parts.items()}
        }
    if name == "temp_c":
        return {
            name: {
                sensor: None if c is None else _number(f"temp_c.{sensor}", c, -60, 200)
                for sensor, c in _table(name, value).items()
            }
        }
    if name == "mains_dv":
        return {name: int(_number(name, value, 0, 5000))}
    if name == "car_ma":
        if not isinstance(value, list) or not 1 <= len(value) <= 3:
            raise BenchError(f"car_ma: a list of one to three currents in mA, not {value!r}")
        return {name: [int(_number("car_ma", ma, 0, 100_000)) for ma in value]}
    if name == "card":
        if value is not None:
            try:
                size = len(bytes.fromhex(value))
            except (ValueError, TypeError):
                size = 0
            if size not in {4, 7, 10}:
                raise BenchError(f"card: a UID of 4, 7 or 10 bytes in hex, or null, not {value!r}")
        return {name: value}
    if name == "card_ndef":
        if value is not None:
            try:
                bytes.fromhex(value)
            except (ValueError, TypeError) as e:
                raise BenchError(f"card_ndef: hex, or null, not {value!r}") from e
        return {name: value}
    if name == "pilot":
        ranges = {
            "plus_mv": (10_000, 14_000),
            "minus_mv": (-14_000, -8_000),
            "source_ohm": (900, 1100),
            "top_ohm": (90_000, 110_000),
            "up_ohm": (19_800, 24_200),
            "down_ohm": (14_400, 17_600),
        }
        parts = _table(name, value)
        for part, n in parts.items():
            if part not in ranges:
                raise BenchError(f"pilot: parts are {', '.join(ranges)}, not {part!r}")
            _number(f"pilot.{part}", n, *ranges[part])
        return {
            name: {part: int(n) if part.endswith("mv") else float(n) for part, n in parts.items()}
        }
    raise BenchError(f"{name!r} is nothing this bench knows")
