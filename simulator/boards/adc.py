"""`machine.ADC`: 12 bits with an ESP32's faults, or an ESP8266's one pin.

ESP32 at 11 dB: dead below about 142 mV, linear to 2450 mV, compressed above; each chip has its
own gain (read_u16 is not corrected, up to 6 % off) and what the eFuse calibration leaves
(read_uv, up to 1.5 % and 10 mV, in steps of 1 mV); noise of some millivolts, now and then a
spike. A read takes about 40 us of the board's time, with jitter: that is the virtual sample clock
against which a voltage that follows a PWM pin is sampled.
"""

import host
import micropython
import pins
import pwm
import wiring

_ESP32 = wiring.CHIP == "esp32"
_ADC1 = (32, 33, 34, 35, 36, 37, 38, 39)
_ADC2 = (0, 2, 4, 12, 13, 14, 15, 25, 26, 27)
_LUMP_US = 500  # told to the board's clock at a time
# By attenuation: dead below (mV), full scale of the linear part (mV)
_RANGES = ((60, 950), (60, 1250), (80, 1750), (142, 2450))

_seed = 1
for _byte in (host.getenv("BOARD_UID") or "0242ac110002").encode():
    _seed = (_seed * 31 + _byte) & 0x7FFFFFFF
_GAIN_PPM = 1_000_000 + (_seed % 120_001) - 60_000  # of the raw reading
_LEFT_PPM = 1_000_000 + ((_seed >> 7) % 30_001) - 15_000  # of the calibrated one
_LEFT_UV = ((_seed >> 11) % 20_001) - 10_000


def wifi_is_on():
    """ADC2 belongs to the Wi-Fi driver while a station or access point is active; network.py
    replaces this."""
    return False


class ADC:
    """An analogue pin. ESP32: GPIO 32-39, and ADC2's pins while Wi-Fi is off; ESP8266: ADC(0), 0
    to 1 V."""

    ATTN_0DB, ATTN_2_5DB, ATTN_6DB, ATTN_11DB = 0, 1, 2, 3
    WIDTH_9BIT, WIDTH_10BIT, WIDTH_11BIT, WIDTH_12BIT = 9, 10, 11, 12

    def __init__(self, pin, *, atten=None, sample_ns=None):
        if not _ESP32:
            if pin != 0:
                raise ValueError("not a valid ADC Channel: %s" % pin)
            self._id = 17
        else:
            self._id = pin.board_id() if isinstance(pin, pins.Pin) else pin
            if self._id not in _ADC1 and self._id not in _ADC2:
                raise ValueError("invalid pin")
        self._bits = 12
        self._shift = 4
        self._random = (_seed * 7 + self._id) & 0x7FFFFFFF or 1
        self._counts = [0, 0]
        self._microvolts = [0, 0]
        self._high_us = 0
        self._period_us = 0
        self._follows = -1
        self._us = 0
        self._owed = 0
        self._atten = 0
        self.atten(0 if atten is None else atten)
        wiring.analog_changed.append(self._rewired)

    def atten(self, atten=None):
        """Attenuation: what can be read at all."""
        if atten is None:
            return self._atten
        if atten not in (0, 1, 2, 3):
            raise ValueError("invalid attenuation")
        self._atten = atten
        self._rewired(self._id)
        return None

    def width(self, bits):
        """Resolution of read()."""
        if bits not in (9, 10, 11, 12):
            raise ValueError("invalid width")
        self._bits = bits

    def _rewired(self, pin):
        """Work out both plateaus anew, so that a read has little left to do."""
        if pin not in (self._id, -1):
            return
        follows, high_uv, low_uv = wiring.voltages.get(self._id, (-1, 0, 0))
        self._follows = follows
        self._counts = [self._count(low_uv), self._count(high_uv)]
        if follows >= 0:
            high, period = pwm.by_pin.get(follows) or (
                1_000_000 if pins.drives_high(follows) else 0,
                1000,
            )
            if high in (0, 1_000_000):
                self._period_us = 0
                self._high_us = high
            else:
                self._period_us = period
                self._high_us = high * period // 1_000_000
        else:
            self._period_us = 0
            self._high_us = 1

    def _count(self, uv):
        """16-bit reading of so many microvolts without noise."""
        if not _ESP32:
            return max(0, min(65535, uv * 65535 // 1_000_000))
        dead, full = _RANGES[self._atten]
        mv10 = uv // 100
        if mv10 < dead * 10:
            return 0
        linear = min(mv10, full * 10) - dead * 10
        linear += max(0, mv10 - full * 10) * 6 // 10
        # 4095 counts would be reached at 4/3 of the linear range
        count = linear * 46_000 // ((full - dead) * 10)
        return max(0, min(65520, count * (_GAIN_PPM // 100) // 10_000))

    @micropython.native
    def _sample(self):
        us = 40
        r = (self._random * 1103515245 + 12345) & 0x7FFFFFFF
        self._random = r
        us += (r >> 12) & 7
        self._us = t = (self._us + us) & 0x3FFFFFFF
        owed = self._owed + us
        if owed >= _LUMP_US:
            wiring.busy(owed)
            owed = 0
        self._owed = owed
        period = self._period_us
        counts = self._counts
        if period:
            at = t % period
            high = self._high_us
            if at < high:
                count = counts[1]
                since = at
                other = counts[0]
            else:
                count = counts[0]
                since = at - high
                other = counts[1]
            if since < 6:
                # Still rising or falling: the pilot's edge and the divider's 1.9 us.
                count = other + (count - other) * since // 6
        else:
            count = counts[1 if self._high_us else 0]
        # Two throws make a triangle of +-12 counts of 12 bits.
        noise = ((r >> 3) & 0xFF) + ((r >> 20) & 0xFF) - 255
        if (r >> 15) & 1023 < 6:  # now and then a spike
            noise *= 5
        if count:
            count += noise * 3 // 4
            if count < 0:
                count = 0
            elif count > 65520:
                count = 65520
        elif noise > 200:
            count = noise - 200
        return count

    def read_u16(self):
        """0..65535, uncalibrated. OSError where the chip cannot convert."""
        if _ESP32 and self._id in _ADC2 and wifi_is_on():
            raise OSError(-258, "ESP_ERR_INVALID_STATE")
        count = self._sample()
        return (count & 0xFFF0) | (count >> 12)

    def read(self):
        """The same in `width` bits."""
        if not _ESP32:
            return self._sample() >> 6
        return self.read_u16() >> (16 - self._bits)

    @micropython.native
    def read_uv(self):
        """Microvolts by the chip's calibration, in steps of 1 mV. ESP32 only."""
        if not _ESP32:
            raise AttributeError("'ADC' object has no attribute 'read_uv'")
        if self._id in _ADC2 and wifi_is_on():
            raise OSError(-258, "ESP_ERR_INVALID_STATE")
        dead, full = _RANGES[self._atten]
        count = self._sample() * 10_000 // (_GAIN_PPM // 100)
        mv = dead + count * (full - dead) // 46_000
        return (mv * _LEFT_PPM + _LEFT_UV * 1000) // 1_000_000 * 1000


class ADCBlock:
    """An ESP32's converter; `connect(pin)` gives an ADC."""

    def __init__(self, id, *, bits=12):
        if id not in (1, 2):
            raise ValueError("invalid ADC block")
        self._pins = _ADC1 if id == 1 else _ADC2
        self._bits = bits

    def connect(self, channel, pin=None):
        """The ADC of a pin of this block."""
        pin = channel if pin is None else pin
        id = pin.board_id() if isinstance(pin, pins.Pin) else pin
        if id not in self._pins:
            raise ValueError("invalid pin for this block")
        adc = ADC(id)
        adc.width(self._bits)
        return adc
