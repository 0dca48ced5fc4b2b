"""A bundle of new firmware: what is in it, and whether this board may take it.

Text lines and bytes: "IEVCC1\n", then for each file "<path> <size>\n" and its bytes. Where our byte
code lies in a ROMFS partition, as on an ESP8266, a bundle is that partition's whole image under the
name "rom.img"; elsewhere it is files below lib/. Neither takes the other's: a file below /lib would
hide its whole package in the partition.

On a board this is loaded when the last piece has come, after update.py is done with receiving: both at
once in an ESP32's heap left no room for a piece.
"""

import hashlib
import os

from firmware.common.update_start import COPY, NEW, ROM, exists, remove, rom, rom_bytes

_FIRST_LINE = b"IEVCC1\n"
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


def lay_out(name: str, sha256: str) -> "list[str]":
    """Lay the files of the bundle of this name beside those they replace, and throw it away; their paths.
    BundleError, and nothing left of it, if it is not the one that was signed or not for this board."""
    digest = hashlib.sha256()
    with open(name, "rb") as f:
        while True:
            part = f.read(256)
            if not part:
                break
            digest.update(part)
    if digest.digest() != bytes.fromhex(sha256):
        raise BundleError("not what was signed")
    files = unpack(name)
    os.remove(name)
    try:
        fits(files)
    except (OSError, ValueError):
        for path in files:
            remove(path + NEW)
        raise
    return files


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
