"""New firmware over the network: signed by the manager, checked whole, put in place all or
nothing.

The bundle is text lines and bytes: "IEVCC1\n", then for each file "<path> <size>\n" and its bytes.
It comes in pieces as the device asks for them, onto the flash; only when the SHA-256 of the whole
is the one in the signed offer are the files laid beside those they replace (".new"), and one file,
the plan, says so. The change itself happens at the next start (update_start.py): cut at any
moment, it is finished or undone by the start after that.

Where our byte code lies in a ROMFS partition, as on an ESP8266, a bundle is that partition's whole
image under the name "rom.img"; elsewhere it is files below lib/. Neither takes the other's: a file
below /lib would hide its whole package in the partition.
"""

import hashlib
import json
import os

from firmware.common.config import write_whole
from firmware.common.ticks import ticks_diff
from firmware.common.update_start import COPY, NEW, PLAN, ROM, exists, remove, rom, rom_bytes
from shared import protocol

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass

_BUNDLE = "update.bundle"
_FIRST_LINE = b"IEVCC1\n"
_ASK_AGAIN_MS = 2000
_ASKS_MOST = 30
_ROOT = "lib/"  # all a bundle may change: main.py and boot.py are the way back in
_KEPT = "update_start"  # and so is this
_IN_ROM = ("/rom/lib/firmware/common/", "/rom/firmware/common/")  # where it lies in a partition


def permitted(path: str) -> bool:
    """May a bundle replace this? Files below lib/, plain letters, and not what undoes updates; or
    the ROMFS partition."""
    if path == ROM:
        return True
    if not path.startswith(_ROOT) or ".." in path or "//" in path or _KEPT in path:
        return False
    for c in path:
        if not ("a" <= c <= "z" or "A" <= c <= "Z" or "0" <= c <= "9" or c in "_-./"):
            return False
    return path[-1] not in "./" and len(path) <= 80


class BundleError(ValueError):
    """A bundle that is not one, or that wants what it may not."""


class Update:
    """One update under way. `restart` becomes True when everything lies ready for the next
    start."""

    def __init__(self, link: "Any") -> None:
        self._link = link
        self._offer: "dict[str, Any] | None" = None
        self._file: "Any" = None
        self._at = 0
        self._asked = 0
        self._asks = 0
        self.restart = False

    def heard(self, message: "dict[str, Any]", now_ms: int) -> None:
        """An offer or a piece has come."""
        try:
            if message["code"] == protocol.UPDATE_OFFER:
                self._begin(message, now_ms)
            elif self._offer is not None and message["update"] == self._offer["update"]:
                self._piece(message, now_ms)
        except (OSError, ValueError, MemoryError) as e:
            self._fail(str(e) or "no room", message["update"])

    def step(self, now_ms: int) -> None:
        """Ask again for a piece that did not come."""
        if self._offer is not None and ticks_diff(now_ms, self._asked) >= _ASK_AGAIN_MS:
            self._asks += 1
            if self._asks > _ASKS_MOST:
                self._fail("no more pieces came", self._offer["update"])
            else:
                self._ask(now_ms)

    def _begin(self, offer: "dict[str, Any]", now_ms: int) -> None:
        if not self._link.signed:
            raise ValueError("this device has no key: it takes no update")
        if self._file is not None:
            self._file.close()
        self._file = open(_BUNDLE, "wb")  # noqa: SIM115 - stays open over many pieces
        self._offer = offer
        self._at = 0
        self._asks = 0
        self._ask(now_ms)

    def _say(self, number: int, state: str, words: str = "") -> None:
        message = {
            "code": protocol.UPDATE_STATUS,
            "update": number,
            "state": state,
            "offset": self._at,
        }
        if words:
            message["words"] = words[:64]
        self._link.publish(message)

    def _ask(self, now_ms: int) -> None:
        self._asked = now_ms
        if self._offer is not None:
            self._say(self._offer["update"], "loading")

    def _piece(self, piece: "dict[str, Any]", now_ms: int) -> None:
        offer = self._offer
        if offer is None or piece["offset"] != self._at:
            return  # one asked for twice
        data = bytes.fromhex(piece["data"])
        self._file.write(data)
        self._at += len(data)
        self._asks = 0
        if self._at > offer["size"]:
            raise BundleError("longer than offered")
        if self._at < offer["size"]:
            self._ask(now_ms)
            return
        self._file.close()
        self._file = None
        self._offer = None
        self._check(offer)
        files = unpack(_BUNDLE)
        os.remove(_BUNDLE)
        try:
            fits(files)
        except (OSError, ValueError):
            for path in files:
                remove(path + NEW)
            raise
        plan = {"update": offer["update"], "version": offer["version"], "stage": "swap"}
        plan["files"] = files
        plan["added"] = [path for path in files if not exists(path)]
        write_whole(PLAN, json.dumps(plan))  # from this moment on the next start changes over
        self._say(offer["update"], "ready")
        self.restart = True

    def _check(self, offer: "dict[str, Any]") -> None:
        digest = hashlib.sha256()
        with open(_BUNDLE, "rb") as f:
            while True:
                part = f.read(256)
                if not part:
                    break
                digest.update(part)
        if digest.digest() != bytes.fromhex(offer["sha256"]):
            raise BundleError("not what was signed")

    def _fail(self, why: str, number: int) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self._offer = None
        remove(_BUNDLE)
        self._say(number, "failed", why)


def fits(files: "list[str]") -> None:
    """BundleError if what lies unpacked is not for this board. For a partition's image: lay the
    copy of update_start.py that can write it."""
    memory = rom()
    folder = ""
    for each in _IN_ROM:
        if memory is not None and exists(each + COPY):
            folder = each
    if not folder:
        if ROM in files:
            raise BundleError("this board runs nothing from a partition")
        return
    if files != [ROM]:
        raise BundleError("this board takes a whole partition only")
    size = os.stat(ROM + NEW)[6]
    with open(ROM + NEW, "rb") as f:
        if rom_bytes(f.read(8)) != size or size > len(memory):
            raise BundleError("no image, or too large for the partition")
    with open(folder + COPY, "rb") as f, open(COPY + ".tmp", "wb") as out:
        while True:
            part = f.read(256)
            if not part:
                break
            out.write(part)
    os.rename(COPY + ".tmp", COPY)


def unpack(name: str) -> "list[str]":
    """Lay the bundle's files beside those they replace; their paths. BundleError: none is left."""
    files: "list[str]" = []
    try:
        with open(name, "rb") as f:
            if f.read(len(_FIRST_LINE)) != _FIRST_LINE:
                raise BundleError("not a bundle")
            while True:
                line = f.readline()
                if not line:
                    break
                words = str(line, "utf-8").split(" ")
                if len(words) != 2 or not permitted(words[0]):
                    raise BundleError("may not replace " + words[0][:30])
                size = int(words[1])
                _make_folders(words[0])
                files.append(words[0])
                with open(words[0] + NEW, "wb") as out:
                    while size:
                        part = f.read(min(256, size))
                        if not part:
                            raise BundleError("cut short")
                        out.write(part)
                        size -= len(part)
        if not files:
            raise BundleError("empty")
    except (OSError, ValueError):
        for path in files:
            remove(path + NEW)
        raise
    return files


def _make_folders(path: str) -> None:
    at = path.find("/")
    while at > 0:
        try:
            os.mkdir(path[:at])
        except OSError:
            pass  # there already
        at = path.find("/", at + 1)


def bundle(files: "dict[str, bytes]") -> bytes:
    """The bundle of these files, by path on the board. BundleError for one that no board takes."""
    out = _FIRST_LINE
    for path in sorted(files):
        if not permitted(path):
            raise BundleError("may not replace " + path)
        out += b"%s %d\n" % (path.encode(), len(files[path])) + files[path]
    return out
