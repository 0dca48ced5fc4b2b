"""The charger's own rows of the settings table (see firmware/common/config.py)."""

from firmware.charger.records import Settings
from firmware.charger.schedule import ScheduleError, parse
from firmware.common.config import Config, ConfigError

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass

FIRMWARE = "0.1.0"
ROWS = (
    "counter:d:0:24:",  # the meter it hangs under
    "board:e:0:esp32|esp32_poe:esp32",  # which pins_*.py
    "phases:i:1:3:1",
    "wiring:t:0:5:",  # building phase on each of its phases, as 1,2,3; empty: 1, 2, 3 in order
    "min_a:i:6:80:6",
    "max_a:i:6:80:32",  # cable, contactor and circuit
    "failsafe_a:i:0:80:0",  # offered when the lease has run out; 0 pauses
    "mode:e:0:managed|intelligent|manual:managed",
    "manual_a:i:0:80:16",  # mode manual: this much
    "contracted_a:i:0:200:0",  # mode intelligent: what the building may take, per phase
    "buffer_a:i:0:50:3",  # mode intelligent: left unused
    "counter_key:k:0:64:",  # mode intelligent: the meter's key, which signs what it broadcasts
    "meter_sees:e:0:house|all:all",  # mode intelligent: whether the meter sees this charger too
    "schedule:t:0:160:",  # when charging is allowed; empty: always (see schedule.py)
    "access:e:0:free|card:free",  # who may charge
    "list_key:k:0:64:",  # tells a card's number to the list's hashes; empty: `key`
    "picc_key:k:0:16:",  # NTAG 424 DNA: decrypts what the card says it is
    "sun_key:k:0:16:",  # NTAG 424 DNA: checks its signature
    "nfc:e:0:none|i2c|spi|uart:none",
    "own_meter:i:0:1:1",  # PZEM-004T on the supply side, one a phase
    "detachable:i:0:1:0",  # 1: a socket; the cable's rating is read
    "ventilation:i:0:1:0",  # 1: the room is ventilated, cars in state D are charged
    "mains_sense:i:0:1:1",  # 1: the voltage after the contactor is sensed
    "nominal_v:i:100:400:230",
    "start_delay_s:i:0:1800:600",  # after a power cut with a car plugged in: a random time up to this
    "resume_s:i:0:600:60",
    "change_ms:i:0:10000:5000",
    "residual_retry:i:0:1:0",
    "simplified_10a:i:0:1:0",
    "wake_up:i:0:1:1",
    "pilot_high_mv:i:0:3300:0",  # ADC's voltage with the line at +12 V; 0: not calibrated
    "pilot_low_mv:i:0:3300:0",  # and at -12 V
    "portal_password:s:0:64:",  # of the page at the access point
    # 1: the broker must prove itself to ca.der; cert.der and key.der, if there, prove this charger
    "broker_tls:i:0:1:0",
    "utc_s:i:0:4294967295:0",  # the time at which it was set up: a certificate is judged by a clock at least so late
)


class ChargerConfig(Config):
    """The settings, with what a table of single rows cannot say: currents a pilot can say, and a
    schedule one can read."""

    def change(self, changes: "dict[str, Any]") -> None:
        """As Config.change, and ConfigError as well for these."""
        for name in ("failsafe_a", "manual_a"):
            if name in changes and str(changes[name]) in ("1", "2", "3", "4", "5"):
                raise ConfigError("value", name, "a pilot offers 0 or 6..80 A")
        if "schedule" in changes:
            try:
                parse(str(changes["schedule"]))
            except ScheduleError as e:
                raise ConfigError("value", "schedule", str(e)) from None
        if "portal_password" in changes and 0 < len(str(changes["portal_password"])) < 8:
            raise ConfigError("value", "portal_password", "Wi-Fi wants at least 8 letters")
        super().change(changes)


def evse_settings(config: "Any", random_32: "Any") -> Settings:
    """The state machine's settings out of the configuration; `random_32()` gives 32 random bits."""
    s = Settings()
    s.max_a = config["max_a"]
    s.ventilation = bool(config["ventilation"])
    s.detachable = bool(config["detachable"])
    s.mains_sense = bool(config["mains_sense"])
    s.nominal_dv = config["nominal_v"] * 10
    s.resume_ms = config["resume_s"] * 1000
    s.change_ms = config["change_ms"]
    s.residual_retry = bool(config["residual_retry"])
    s.simplified_10a = bool(config["simplified_10a"])
    s.wake_up = bool(config["wake_up"])
    s.calibrated = calibrated(config) is not None
    delay = config["start_delay_s"] * 1000
    if delay:
        s.start_delay_ms = (random_32() & 0x3FFFFFFF) % delay
        s.voltage_delay_ms = (random_32() & 0x3FFFFFFF) % delay
    return s


def calibrated(config: "Any") -> "tuple[int, int] | None":
    """The ADC's two points, mV; None if they have not been measured or cannot be true: the divider
    gives 2289 and 254."""
    high, low = config["pilot_high_mv"], config["pilot_low_mv"]
    return (high, low) if 2100 <= high <= 2480 and 130 <= low <= 400 else None


def wiring(config: "Any") -> "list[int]":
    """The building's phase on each of the charger's phases."""
    text = config["wiring"]
    phases = config["phases"]
    out = []
    for word in text.split(","):
        if word in ("1", "2", "3") and int(word) not in out:
            out.append(int(word))
    return out[:phases] if len(out) >= phases else [1, 2, 3][:phases]
