"""`machine.PWM`: LEDC of an ESP32 (16 bit at 1 kHz), software of an ESP8266 (10 bit, 1 to 1000
Hz)."""

import pins
import wiring

_ESP32 = wiring.CHIP == "esp32"
by_pin = {}  # pin -> (high part in millionths of a period, period in us); what the ADC shim samples


class PWM:
    """`PWM(pin, freq=1000)` without a duty starts at 50 %, as on the boards."""

    def __init__(self, dest, *args, **kwargs):
        self._pin = dest if isinstance(dest, pins.Pin) else pins.Pin(dest)
        id = self._pin.board_id()
        if _ESP32 and id in (34, 35, 36, 37, 38, 39):
            raise ValueError("invalid pin")
        if not _ESP32 and id == 16:
            raise ValueError("invalid pin")
        was = self._pin.pwm
        self._freq = was._freq if was else (5000 if _ESP32 else 500)
        self._duty = was._duty if was else (32768 if _ESP32 else 0)
        self._invert = False
        self._live = True
        self.init(*args, **kwargs)

    def init(self, freq=None, duty=None, *, duty_u16=None, duty_ns=None, invert=None):
        """Set what is given. ValueError out of range."""
        if freq is not None:
            limit = 40_000_000 if _ESP32 else 1000
            if not 1 <= freq <= limit:
                raise ValueError("freq must be from 1Hz to %d" % limit)
            self._freq = freq
        if [duty, duty_u16, duty_ns].count(None) < 2:
            raise ValueError("only one of parameters 'duty', 'duty_u16' or 'duty_ns' is allowed")
        if duty is not None:
            self._check("duty", duty, 1023)
            # 1023 is meant as always high
            self._duty = 65535 if duty == 1023 else duty << 6
        if duty_u16 is not None:
            self._check("duty_u16", duty_u16, 65535)
            self._duty = duty_u16
        if duty_ns is not None:
            self._check("duty_ns", duty_ns, 1_000_000_000 // self._freq)
            self._duty = min(65535, duty_ns * self._freq * 65536 // 1_000_000_000)
        if invert is not None:
            self._invert = bool(invert)
        self._live = True
        self._pin.pwm = self
        self._apply()

    @staticmethod
    def _check(name, value, most):
        if type(value) is not int or not 0 <= value <= most:
            raise ValueError("%s must be from 0 to %d" % (name, most))

    def _apply(self):
        duty = 65535 - self._duty if self._invert else self._duty
        period = 1_000_000 // self._freq
        # 65535 is snapped to steady high
        high = 1_000_000 if duty == 65535 else duty * 1_000_000 // 65536
        by_pin[self._pin.board_id()] = (high, period or 1)
        wiring.say(80, self._pin.board_id(), duty, self._freq)  # "P"
        for hook in wiring.analog_changed:
            hook(-1)

    def freq(self, hz=None):
        """Hz."""
        if hz is None:
            return self._freq
        self.init(freq=hz)
        return None

    def duty(self, value=None):
        """0..1023."""
        if value is None:
            return self._duty >> 6
        self.init(duty=value)
        return None

    def duty_u16(self, value=None):
        """0..65535; 65535 is steady high."""
        if value is None:
            return self._duty
        self.init(duty_u16=value)
        return None

    def duty_ns(self, value=None):
        """The high part in ns."""
        if value is None:
            return self._duty * (1_000_000_000 // self._freq) >> 16
        self.init(duty_ns=value)
        return None

    def deinit(self):
        """Stop; the pin idles low."""
        self._pin.pwm = None
        self.released()
        wiring.say(80, self._pin.board_id(), 0, 0)

    def released(self):
        """(Of the shim.) The pin was taken for something else."""
        self._live = False
        self._pin.pwm = None
        by_pin.pop(self._pin.board_id(), None)
        for hook in wiring.analog_changed:
            hook(-1)
