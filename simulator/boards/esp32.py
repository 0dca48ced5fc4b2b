"""`esp32`: NVS kept over resets and power cuts, and what else the firmware may ask for."""

import json

import host
import wiring

if wiring.CHIP != "esp32":
    raise ImportError("no module named 'esp32'")

_PATH = (host.getenv("BOARD_STATE") or "") + "/nvs.json"
WAKEUP_ALL_LOW, WAKEUP_ANY_HIGH = 0, 1


class NVS:
    """A namespace of i32 numbers and blobs. What is not committed is lost at a reset."""

    def __init__(self, namespace):
        if not 0 < len(namespace) <= 15:
            raise OSError(-4359, "ESP_ERR_NVS_INVALID_NAME")
        self._space = namespace
        try:
            with host.open_host(_PATH, "r") as f:
                self._all = json.load(f)
        except (OSError, ValueError):
            self._all = {}
        self._mine = self._all.setdefault(namespace, {})

    def _get(self, key, kind):
        value = self._mine.get(self._key(key))
        if value is None or value[0] != kind:
            raise OSError(-4354, "ESP_ERR_NVS_NOT_FOUND")
        return value[1]

    @staticmethod
    def _key(key):
        if not 0 < len(key) <= 15:
            raise OSError(-4361, "ESP_ERR_NVS_KEY_TOO_LONG")
        return key

    def set_i32(self, key, value):
        """A whole number of 32 bits."""
        if not -(1 << 31) <= value < 1 << 31:
            raise OverflowError("overflow converting long int to machine word")
        self._mine[self._key(key)] = ["i", value]

    def get_i32(self, key):
        """OSError if there is none."""
        return self._get(key, "i")

    def set_blob(self, key, value):
        """Bytes."""
        import binascii

        self._mine[self._key(key)] = ["b", binascii.hexlify(bytes(value)).decode()]

    def get_blob(self, key, buffer):
        """Into a buffer; how many bytes. OSError if there is none or it does not fit."""
        data = bytes.fromhex(self._get(key, "b"))
        if len(data) > len(buffer):
            raise OSError(-4364, "ESP_ERR_NVS_INVALID_LENGTH")
        buffer[: len(data)] = data
        return len(data)

    def erase_key(self, key):
        """OSError if there is none."""
        if self._mine.pop(self._key(key), None) is None:
            raise OSError(-4354, "ESP_ERR_NVS_NOT_FOUND")

    def commit(self):
        """Write; whole or not at all."""
        # Another namespace may have been committed since this one was opened.
        try:
            with host.open_host(_PATH, "r") as f:
                everything = json.load(f)
        except (OSError, ValueError):
            everything = {}
        everything[self._space] = self._mine
        with host.open_host(_PATH + ".tmp", "w") as f:
            json.dump(everything, f)
        host.rename_host(_PATH + ".tmp", _PATH)


def mcu_temperature():
    """Degrees Celsius, of newer chips; the ESP32 has raw_temperature."""
    return 45


def raw_temperature():
    """Degrees Fahrenheit."""
    return 113


def idf_heap_info(capabilities):
    """[(total, free, largest, minimum free)]."""
    return [(160_000, 90_000, 60_000, 70_000)]


HEAP_DATA, HEAP_EXEC = 4, 1


class Partition:
    """Only what a rollback needs: marking the running application as good does nothing here."""

    BOOT, RUNNING, TYPE_APP, TYPE_DATA = 0, 1, 0, 1

    def __init__(self, which):
        self._which = which

    def info(self):
        """(type, subtype, address, size, label, encrypted)."""
        return (0, 0x10, 0x10000, 1_572_864, "factory", False)

    @staticmethod
    def mark_app_valid_cancel_rollback():
        """Nothing to mark."""
