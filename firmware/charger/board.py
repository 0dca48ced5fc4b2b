"""The charger's hardware objects, made from one of the pin tables (pins_*.py); nobody else knows a pin.

The order of making is the order of safety: the contactor's pin is driven low before anything else exists, and the
pilot starts at -12 V (F): PWM() without a duty would start at 50 %, an offer of 30 A.
"""

import os
import time

import machine
import network

from firmware.charger import pilot, proximity

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass

SAMPLES = 250  # of a window: 40 to 60 us each, so 10 to 15 ms, at least ten periods
_LOOK_EVERY = 32  # samples between two looks at the residual current monitor: under 2 ms


def pins(name: str) -> "Any":
    """The pin table of a board: "esp32" or "esp32_poe"."""
    package = __import__("firmware.charger.pins_" + name)
    return getattr(package.charger, "pins_" + name)


class Board:
    """One of it exists. `table` is a pin table; `safe()` may be called at any time and from anywhere."""

    def __init__(self, table: "Any", calibrated: "tuple[int, int] | None" = None) -> None:
        pin = machine.Pin
        self.table = table
        self._contactor = pin(table.CONTACTOR, pin.OUT, value=0)
        self._pilot = machine.PWM(pin(table.PILOT_PWM), freq=1000, duty_u16=0)
        self._rcm_test = pin(table.RCM_TEST, pin.OUT, value=0)
        self._rcm = pin(table.RCM_TRIP, pin.IN, pin.PULL_UP)
        self._pe = pin(table.PE_PROOF, pin.IN, pin.PULL_UP)
        self._mains = (
            None if table.MAINS_SENSE is None else pin(table.MAINS_SENSE, pin.IN, pin.PULL_UP)
        )
        self._adc = machine.ADC(pin(table.PILOT_ADC), atten=machine.ADC.ATTN_11DB)
        self._pp = None
        if table.PROXIMITY_ADC is not None:
            self._pp = machine.ADC(pin(table.PROXIMITY_ADC), atten=machine.ADC.ATTN_11DB)
        self._ntcs = [
            machine.ADC(pin(n), atten=machine.ADC.ATTN_11DB) for n in table.TEMPERATURE_ADC
        ]
        self._led = None if table.LED is None else pin(table.LED, pin.OUT, value=0)
        self._button = None if table.BUTTON is None else pin(table.BUTTON, pin.IN, pin.PULL_UP)
        self.calibration = pilot.Calibration(*calibrated) if calibrated else pilot.Calibration()
        self._samples = [0] * SAMPLES
        self._offer = -1
        self._dog: "Any" = None
        self.tripped = False  # the monitor has tripped since this was last set to False
        # The handler is soft: it runs between two byte codes of the main thread, which never blocks.
        self._rcm.irq(handler=self._trip, trigger=pin.IRQ_RISING)

    def _trip(self, pin: "Any") -> None:
        if pin.value():
            self._contactor.off()
            self.tripped = True

    # -- out

    def safe(self) -> None:
        """Contactor open, pilot at -12 V."""
        self._contactor.off()
        self._pilot.duty_u16(0)
        self._offer = -1
        self._rcm_test.off()

    def contactor(self, closed: bool) -> None:
        """Drive the coil; not against a trip that came after the state machine had looked."""
        self._contactor.value(1 if closed and not self.tripped else 0)

    def line(self, duty: int, offer_a: int) -> None:
        """Put a steady level (duty 0 or 1000 per mille) or the PWM for `offer_a` on the pilot."""
        want = offer_a if offer_a else -1 if duty == pilot.STEADY_LOW else 0
        if want != self._offer:
            self._pilot.duty_u16(0 if want < 0 else pilot.duty_u16(want))
            self._offer = want

    def rcm_test(self, on: bool) -> None:
        """Drive the monitor's test input."""
        self._rcm_test.value(1 if on else 0)

    def led(self, on: bool) -> None:
        """The status light, if there is one."""
        if self._led is not None:
            self._led.value(1 if on else 0)

    # -- in

    def window(self) -> "list[int] | None":
        """A window of the pilot, mV at the ADC; None if a conversion failed. Opens the contactor itself if the residual
        current monitor trips meanwhile. The list is the same every time."""
        samples = self._samples
        read = self._adc.read_uv
        rcm = self._rcm.value
        try:
            for k in range(SAMPLES):
                samples[k] = read() // 1000
                if not k % _LOOK_EVERY and rcm():
                    self._trip(self._rcm)
        except OSError:  # an invalid conversion raises since v1.29
            return None
        return samples

    def rcm(self) -> bool:
        """Whether the monitor reports a residual current now."""
        return bool(self._rcm.value())

    def pe(self) -> bool:
        """Whether protective earth is proven now."""
        return not self._pe.value()

    def mains(self) -> bool | None:
        """Whether there is voltage after the contactor; None if that is not sensed."""
        return None if self._mains is None else not self._mains.value()

    def proximity_ohm(self) -> int:
        """The cable's resistor; -1: open, or no socket."""
        if self._pp is None:
            return -1
        try:
            return proximity.ohm(_steady_mv(self._pp))
        except OSError:
            return -1

    def temperatures_c(self) -> "list[int | None]":
        """Each sensor in degrees, None for a broken one."""
        out: "list[int | None]" = []
        for adc in self._ntcs:
            try:
                out.append(ntc_c(_steady_mv(adc)))
            except OSError:
                out.append(None)
        return out

    def button(self) -> bool:
        """Whether the button is pressed now."""
        return self._button is not None and not self._button.value()

    # -- the rest

    def pzem_uart(self) -> "Any":
        """The serial line to the meters."""
        number, tx, rx = self.table.PZEM_UART
        return machine.UART(
            number, baudrate=9600, tx=machine.Pin(tx), rx=machine.Pin(rx), timeout=0, rxbuf=256
        )

    def card_reader(self, bus: str) -> "Any":
        """The bus of the card reader, as pn532.Reader wants it: "i2c", "spi" or "uart"; None if
        the board has no pins for it."""
        from firmware.charger import pn532

        pin = machine.Pin
        table = self.table
        if bus == "i2c" and table.NFC_I2C:
            number, scl, sda = table.NFC_I2C
            # A bus held down costs 3 ms and not the driver's own 50: with the transfer itself less than 5.
            return pn532.OverI2C(
                machine.I2C(number, scl=pin(scl), sda=pin(sda), freq=400_000, timeout=3000)
            )
        if bus == "spi" and table.NFC_SPI:
            number, sck, mosi, miso, select = table.NFC_SPI
            spi = machine.SPI(
                number, baudrate=1_000_000, sck=pin(sck), mosi=pin(mosi), miso=pin(miso)
            )
            return pn532.OverSPI(spi, pin(select, pin.OUT, value=1))
        if bus == "uart" and table.NFC_UART:
            number, tx, rx = table.NFC_UART
            return pn532.OverUART(
                machine.UART(
                    number, baudrate=115_200, tx=pin(tx), rx=pin(rx), timeout=0, rxbuf=256
                )
            )
        return None

    def watchdog(self, ms: int) -> None:
        """Start it, or change its time-out: from here on `feed` must be called."""
        self._dog = machine.WDT(timeout=ms)

    def feed(self) -> None:
        """Tell the watchdog that the safety lane is well."""
        if self._dog is not None:
            self._dog.feed()


# 10 k NTC (B 3950) and 27 k side by side to ground under 10 k to 3.3 V: mV at each 10 degrees from -30 to 100.
# R(T) = 10 k * exp(3950 * (1 / (T + 273.15) - 1 / 298.15)), V = 3300 * (R || 27 k) / ((R || 27 k) + 10 k)
# The 27 k keeps an open sensor (2408 mV) inside what the ADC can tell from a cold one.
NTC_MV = (2323, 2252, 2140, 1979, 1768, 1522, 1262, 1013, 794, 612, 468, 357, 273, 210)
NTC_OPEN_MV = 2375


def _steady_mv(adc: "Any") -> int:
    """The middle of three readings, mV: one spike is no temperature and no cable."""
    a, b, c = adc.read_uv(), adc.read_uv(), adc.read_uv()
    middle: int = max(min(a, b), min(max(a, b), c))
    return middle // 1000


def ntc_c(mv: int) -> int | None:
    """Temperature for a voltage over the sensor, whole degrees; None outside -30..100 (open, shorted)."""
    if mv > NTC_OPEN_MV or mv < NTC_MV[-1]:
        return None
    if mv >= NTC_MV[0]:
        return -30
    k = 1
    while mv < NTC_MV[k]:
        k += 1
    return 10 * (k - 4) + 10 * (NTC_MV[k - 1] - mv) // (NTC_MV[k - 1] - NTC_MV[k])


def uid() -> str:
    """The chip's own number in hex."""
    return "".join(["%02x" % b for b in machine.unique_id()])


def network_interface(table: "Any", ssid: str, password: str) -> "Any":
    """Wi-Fi, or Ethernet where the board has it: something with step(now_ms), address(), rssi()."""
    from firmware.common import wifi

    if table.LAN is not None:
        mdc, mdio, power, address = table.LAN
        pin = machine.Pin
        # The board's own build of MicroPython sets the clock's pin; naming it again fails (micropython#14013).
        lan = network.LAN(
            mdc=pin(mdc),
            mdio=pin(mdio),
            power=pin(power),
            phy_type=network.PHY_LAN8720,
            phy_addr=address,
        )
        return wifi.Wire(lan)
    network.WLAN(network.WLAN.IF_AP).active(False)
    return wifi.Wifi(network.WLAN(network.WLAN.IF_STA), ssid, password)


def access_point(name: str, password: str) -> "Any":
    """A WPA2 access point of this name at 192.168.4.1, with the station off."""
    network.WLAN(network.WLAN.IF_STA).active(False)
    wlan = network.WLAN(network.WLAN.IF_AP)
    wlan.active(True)
    wlan.config(ssid=name, security=network.WLAN.SEC_WPA2, key=password)
    return wlan


def restart() -> None:
    """Start the board anew; the coil's pull-down opens the contactor meanwhile."""
    machine.reset()


def reset_cause() -> str:
    """Why the board last started, in a word."""
    words = {
        machine.PWRON_RESET: "power",
        machine.HARD_RESET: "hard",
        machine.WDT_RESET: "watchdog",
        machine.SOFT_RESET: "soft",
    }
    return words.get(machine.reset_cause(), "other")


_EPOCH_2000 = 946_684_800  # a board counts from 2000-01-01


def clock_not_before(utc_s: int) -> None:
    """Set the clock forward if it shows less: after a power cut it shows the year 2000, and no certificate is valid."""
    if utc_s - _EPOCH_2000 > time.time():
        y, month, day, hour, minute, second, weekday, _ = time.gmtime(utc_s - _EPOCH_2000)[:8]
        machine.RTC().datetime((y, month, day, weekday, hour, minute, second, 0))


def random_32() -> int:
    """32 random bits: from the radio's noise on an ESP32."""
    b = os.urandom(4)
    return b[0] << 24 | b[1] << 16 | b[2] << 8 | b[3]
