"""Joining the network: Wi-Fi as a station, or the ESP32-POE's Ethernet. Asked often, never
waits."""

from firmware.common.ticks import ticks_diff

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass

_RETRY_MS = (
    20_000  # an ESP8266 needs up to about 10 s for a join; a new attempt ends the one under way
)


class Wifi:
    """Keeps a station joined. `wlan` is the board's station interface."""

    def __init__(self, wlan: "Any", ssid: str, password: str) -> None:
        self._wlan = wlan
        self._ssid = ssid
        self._password = password
        self._tried: int | None = None

    def step(self, now_ms: int) -> bool:
        """Try to join when there is cause; True while joined."""
        if self._wlan.isconnected():
            return True
        if self._tried is None or ticks_diff(now_ms, self._tried) > _RETRY_MS:
            self._tried = now_ms
            try:
                self._wlan.active(True)
                self._wlan.connect(self._ssid, self._password)
            except (OSError, RuntimeError):
                # ESP32 raises "Wifi Internal Error" while a join is under way; the next attempt
                # comes by itself
                pass
        return False

    def address(self) -> str:
        """The board's IP address, "0.0.0.0" while it has none."""
        return str(self._wlan.ifconfig()[0])

    def name_server(self) -> str:
        """The network's name server."""
        return str(self._wlan.ifconfig()[3])

    def rssi(self) -> int | None:
        """Signal in dBm (-127..0), None if the port cannot tell."""
        try:
            dbm = int(self._wlan.status("rssi"))
            return dbm if -127 <= dbm <= 0 else None  # an ESP8266 says 31 for "none"
        except (OSError, ValueError, TypeError):
            return None


class Wire:
    """The same for an Ethernet interface (`network.LAN` on an ESP32-POE), which joins by
    itself."""

    def __init__(self, lan: "Any") -> None:
        self._lan = lan
        self._started = False

    def step(self, now_ms: int) -> bool:
        """Switch it on once; True while the cable has a link and an address."""
        if not self._started:
            try:
                self._lan.active(True)
                self._started = True
            except OSError:
                return False
        return bool(self._lan.isconnected())

    def address(self) -> str:
        """The board's IP address, "0.0.0.0" while it has none."""
        return str(self._lan.ifconfig()[0])

    def name_server(self) -> str:
        """The network's name server."""
        return str(self._lan.ifconfig()[3])

    def rssi(self) -> int | None:
        """A cable has no signal strength."""
        return None
