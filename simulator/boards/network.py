"""`network`: Wi-Fi that joins when asked to, an access point, Ethernet. The computer's own
network stands behind them."""

import adc
import host
import wiring

STA_IF, AP_IF = 0, 1
STAT_IDLE, STAT_CONNECTING, STAT_GOT_IP = (
    (0, 1, 5) if wiring.CHIP == "esp8266" else (1000, 1001, 1010)
)
STAT_WRONG_PASSWORD, STAT_NO_AP_FOUND, STAT_CONNECT_FAIL = (
    (2, 3, 4) if wiring.CHIP == "esp8266" else (202, 201, 203)
)
AUTH_OPEN, AUTH_WEP, AUTH_WPA_PSK, AUTH_WPA2_PSK, AUTH_WPA_WPA2_PSK = 0, 1, 2, 3, 4
MODE_11B, MODE_11G, MODE_11N = 1, 2, 3
PHY_LAN8720, PHY_LAN8710, PHY_IP101, PHY_RTL8201, PHY_DP83848 = 0, 0, 1, 2, 3
ETH_INITIALIZED, ETH_STARTED, ETH_STOPPED, ETH_CONNECTED, ETH_DISCONNECTED, ETH_GOT_IP = (
    0,
    1,
    2,
    3,
    4,
    5,
)

_JOIN_US = int(host.getenv("BOARD_JOIN_MS") or 100) * 1000
_hostname = "mpy-" + wiring.CHIP
_country = "XX"
_made = {}


def hostname(name=None):
    """The board's name in the network."""
    global _hostname
    if name is None:
        return _hostname
    if len(name) > 32:
        raise ValueError("hostname too long")
    _hostname = name
    return None


def country(code=None):
    """Two letters."""
    global _country
    if code is None:
        return _country
    _country = code
    return None


def phy_mode(mode=None):
    """ESP8266: 802.11 b, g or n."""
    return MODE_11N


class _Interface:
    def __init__(self):
        self._active = False
        self._address = ("0.0.0.0", "255.255.255.0", "0.0.0.0", "0.0.0.0")  # noqa: S104

    def ifconfig(self, settings=None):
        """(ip, mask, gateway, dns)."""
        if settings is None:
            return self._shown()
        if settings != "dhcp":
            self._address = tuple(settings)
        return None

    def ipconfig(self, *args, **kwargs):
        """The newer form of ifconfig."""
        if args:
            ip = self._shown()
            return {"addr4": (ip[0], ip[1]), "gw4": ip[2], "dhcp4": True}[args[0]]
        return None


class WLAN(_Interface):
    """`WLAN(WLAN.IF_STA)`, `WLAN(WLAN.IF_AP)`; the same interface is the same object."""

    IF_STA, IF_AP = 0, 1
    SEC_OPEN, SEC_WPA, SEC_WPA2 = 0, 2, 3
    PM_NONE, PM_PERFORMANCE, PM_POWERSAVE = 0, 1, 2

    def __new__(cls, interface=0, *args):
        if interface not in (0, 1):
            raise ValueError("invalid WLAN interface identifier")
        if interface not in _made:
            _made[interface] = object.__new__(cls)
        return _made[interface]

    def __init__(self, interface=0):
        if hasattr(self, "_which"):
            return
        _Interface.__init__(self)
        self._which = interface
        self._joining_since = None
        self._joined = False
        self._config = {
            "ssid": "",
            "hidden": False,
            "security": 0,
            "channel": 1,
            "mac": b"\x02\x42\xac\x11\x00\x02",
            "txpower": 20,
            "password": "",
            "reconnects": -1,
            "pm": 1,
        }
        if interface == 1:
            # An ESP8266 brings its own access point up by itself, with a password everybody knows.
            self._active = wiring.CHIP == "esp8266"
            self._config["ssid"] = "MicroPython-110002"
            self._config["password"] = "micropythoN"  # noqa: S105 - the boards' own
            self._address = ("192.168.4.1", "255.255.255.0", "192.168.4.1", "0.0.0.0")  # noqa: S104

    def active(self, on=None):
        """Switch the interface; ADC2 is Wi-Fi's while any is on."""
        if on is None:
            return self._active
        self._active = bool(on)
        if not on:
            self._joined, self._joining_since = False, None
        return None

    def connect(self, ssid=None, key=None, *, bssid=None, **_):
        """Begin to join; OSError or RuntimeError when switched off or busy, as the boards do."""
        if self._which != 0:
            raise OSError("STA required")
        if not self._active and wiring.CHIP == "esp32":
            raise OSError("Wifi Internal State Error")
        if self._joining_since is not None and not self._joined and wiring.CHIP == "esp32":
            raise OSError("Wifi Internal Error")
        if ssid is not None:
            self._config["ssid"] = ssid
        self._joining_since, self._joined = wiring.now_us(), False

    def disconnect(self):
        """Leave."""
        self._joined, self._joining_since = False, None

    def isconnected(self):
        """Station: joined and with an address. Access point: somebody is on it."""
        wiring.look()
        if self._which == 1:
            return False
        if wiring.faults[wiring.WIFI]:
            if self._joined:
                # Lost; the driver tries again by itself.
                self._joined, self._joining_since = False, wiring.now_us()
            return False
        if self._active and self._joining_since is not None and not self._joined:
            self._joined = (
                bool(self._config["ssid"]) and wiring.now_us() - self._joining_since >= _JOIN_US
            )
        return self._active and self._joined

    def _shown(self):
        if self._which == 1:
            return self._address
        if not self.isconnected():
            return ("0.0.0.0", "0.0.0.0", "0.0.0.0", "0.0.0.0")  # noqa: S104
        if self._address[0] == "0.0.0.0":  # noqa: S104
            return (host.getenv("BOARD_IP") or "127.0.0.1", "255.0.0.0", "127.0.0.1", "127.0.0.1")
        return self._address

    def status(self, what=None):
        """One of STAT_*, or the station's signal in dBm."""
        if what == "rssi":
            if wiring.CHIP == "esp32" and not self.isconnected():
                raise OSError("Wifi Internal Error")
            return -61 if self.isconnected() else 31
        if what is not None and what != "stations":
            raise ValueError("unknown status param")
        if what == "stations":
            return []
        if self.isconnected():
            return STAT_GOT_IP
        if self._joining_since is None:
            return STAT_IDLE
        return STAT_NO_AP_FOUND if wiring.faults[wiring.WIFI] else STAT_CONNECTING

    def config(self, *args, **kwargs):
        """Read or set a property; ValueError for an unknown one."""
        names = {"essid": "ssid", "authmode": "security", "key": "password"}
        if args:
            if args[0] == "password" or args[0] == "key":
                raise ValueError("unknown config param")
            return self._config[self._known(names.get(args[0], args[0]))]
        for name, value in kwargs.items():
            self._config[self._known(names.get(name, name))] = value
        return None

    def _known(self, name):
        if name not in self._config:
            raise ValueError("unknown config param")
        return name

    def scan(self):
        """What can be seen: (ssid, bssid, channel, rssi, security, hidden)."""
        if not self._active:
            raise OSError("STA must be active")
        wiring.sleep_us(500_000)
        if wiring.faults[wiring.WIFI]:
            return []
        return [(b"home", b"\x02\x00\x00\x00\x00\x01", 6, -61, 3, False)]


def _wifi_on():
    return any([isinstance(each, WLAN) and each._active for each in _made.values()])


adc.wifi_is_on = _wifi_on

if wiring.CHIP == "esp32":

    class LAN(_Interface):
        """An ESP32-POE's Ethernet."""

        def __init__(
            self, id=None, *, mdc=None, mdio=None, power=None, phy_type=None, phy_addr=None, **_
        ):
            _Interface.__init__(self)
            if mdc is None or mdio is None or phy_type is None or phy_addr is None:
                raise ValueError("'mdc', 'mdio', 'phy_type' and 'phy_addr' are required")
            self._since = None

        def active(self, on=None):
            """Switch it on or off."""
            if on is None:
                return self._active
            self._active, self._since = bool(on), wiring.now_us()
            return None

        def isconnected(self):
            """Link and address."""
            wiring.look()
            return (
                self._active
                and not wiring.faults[wiring.WIFI]
                and wiring.now_us() - self._since >= _JOIN_US
            )

        def status(self):
            """One of ETH_*."""
            return (
                ETH_GOT_IP
                if self.isconnected()
                else ETH_STARTED
                if self._active
                else ETH_INITIALIZED
            )

        def config(self, *args, **kwargs):
            """MAC address."""
            return b"\x02\x42\xac\x11\x00\x03" if args else None

        def _shown(self):
            if not self.isconnected():
                return ("0.0.0.0", "0.0.0.0", "0.0.0.0", "0.0.0.0")  # noqa: S104
            return (host.getenv("BOARD_IP") or "127.0.0.1", "255.0.0.0", "127.0.0.1", "127.0.0.1")
