"""A board's settings: one flat JSON file, checked against a table, replaced whole or not at all.

A row of the table is ``name:kind:low:high:default``; kinds: d device name, i whole number, t text
(length), s text that is never shown, x hex (bytes), k hex that is never shown, e one of the words
in the fourth place separated by ``|``. Every board has the rows of COMMON; it adds its own.
"""

import json
import os

from shared import protocol

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass

COMMON = (
    "id:d:0:24:",  # the board's own name; empty: never configured
    "site:d:1:24:home",
    "key:k:0:64:",  # signs what is said to the manager; empty: unsigned
    "wifi_ssid:t:0:32:",
    "wifi_password:s:0:64:",
    "broker_host:t:0:64:",
    "broker_port:i:1:65535:1883",
    "broker_user:t:0:32:",
    "broker_password:s:0:64:",
    "keepalive_s:i:5:3600:15",  # the broker calls the board gone after one and a half of it
    "repl_window_ms:i:0:10000:2000",  # how long a start leaves the way in open
)


class ConfigError(ValueError):
    """A setting that cannot be. `what` is one of unreadable, unknown, value; `name` is the
    setting."""

    def __init__(self, what: str, name: str = "", why: str = "") -> None:
        super().__init__("configuration: " + (name + ": " if name else "") + (why or what))
        self.what = what
        self.name = name


def _wrong(kind: str, low: str, high: str, value: "Any") -> str:
    """What is wrong with a value, or "" if nothing is."""
    if kind == "i":
        if type(value) is not int or not int(low) <= value <= int(high):
            return "not a whole number in %s..%s" % (low, high)
        return ""
    if type(value) is not str:
        return "not text"
    if kind == "e":
        return "" if value in high.split("|") else "not one of " + high
    if kind == "d":
        if (value or int(low)) and not protocol.is_device_name(value):
            return "not a device name: letters, digits, - and _, at most 24"
        return ""
    size = len(value.encode())
    if kind in "xk":
        try:
            bytes.fromhex(value)
        except ValueError:
            return "not hex"
        size //= 2
    if not int(low) <= size <= int(high):
        return "not %s to %s bytes" % (low, high)
    return ""


def write_whole(path: str, text: str) -> None:
    """Replace a file so that a power cut leaves the old one or the new one, never half of one."""
    tmp = path + ".tmp"
    with open(tmp, "w") as f:
        f.write(text)
    # rename() replaces atomically on littlefs and on POSIX
    os.rename(tmp, path)


class Config:
    """The settings in the file `path`; a setting not in the file has its default, and one not in
    the table is kept.

    A row is taken apart each time it is asked for: kept taken apart the table would fill an eighth
    of an ESP8266.
    """

    def __init__(self, rows: "tuple[str, ...]" = (), path: str = "config.json") -> None:
        """Read the file; no file is an empty one. ConfigError if it is not JSON or holds a value
        its row refuses."""
        self._path = path
        self._rows = rows
        self._values: "dict[str, Any]" = {}
        try:
            with open(path) as f:
                values = json.load(f)
        except OSError:
            values = {}
        except ValueError:
            raise ConfigError("unreadable", "", path + " is not JSON") from None
        if type(values) is not dict:
            raise ConfigError("unreadable", "", path + " is not a JSON object")
        for name in values:
            self._check(name, values[name])
        self._values = values

    def _row(self, name: str) -> "list[str]":
        """Name, kind, lowest, highest (or words), default; empty if there is no such setting."""
        start = name + ":"
        for rows in (COMMON, self._rows):
            for row in rows:
                if row.startswith(start):
                    return row.split(":", 4)
        return []

    def _check(self, name: str, value: "Any") -> None:
        row = self._row(name)
        why = _wrong(row[1], row[2], row[3], value) if row else ""
        if why:
            raise ConfigError("value", name, why)

    def __getitem__(self, name: str) -> "Any":
        row = self._row(name)
        if not row:
            raise ConfigError("unknown", name, "no such setting")
        if name in self._values:
            return self._values[name]
        return int(row[4]) if row[1] == "i" else row[4]

    def names(self) -> "list[str]":
        """Every setting of this board."""
        return [row.split(":", 1)[0] for row in COMMON + self._rows]

    def kind(self, name: str) -> "tuple[str, str]":
        """The letter of its kind, and for a choice its words."""
        row = self._row(name)
        if not row:
            raise ConfigError("unknown", name, "no such setting")
        return row[1], row[3]

    def is_secret(self, name: str) -> bool:
        """Is it a key or a password?"""
        return self.kind(name)[0] in "sk"

    def shown(self, name: str) -> "Any":
        """The value as people may see it: of a key or password only whether there is one."""
        value = self[name]
        if self.is_secret(name):
            return "***" if value else ""
        return value

    def change(self, changes: "dict[str, Any]") -> None:
        """Check all, then keep and write all, or raise ConfigError and change nothing. Numbers may
        come as text."""
        new = self._values.copy()
        for name in changes:
            row = self._row(name)
            if not row:
                raise ConfigError("unknown", name, "no such setting")
            value = changes[name]
            if row[1] == "i" and type(value) is str:
                try:
                    value = int(value)
                except ValueError:
                    pass
            self._check(name, value)
            new[name] = value
        write_whole(self._path, json.dumps(new))
        self._values = new


def raise_boot(path: str = "boot") -> int:
    """The number of this start, one above that of the last; 1 the first time. Kept twice: a boot
    number that fell would make every message of this board a replay to the manager."""
    boot = 0
    for name in (path, path + ".bak"):
        try:
            with open(name) as f:
                boot = max(boot, int(f.read()))
        except (OSError, ValueError):
            pass
    boot += 1
    for name in (path, path + ".bak"):
        write_whole(name, str(boot))
    return boot
