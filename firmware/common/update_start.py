"""What a start does about an update: change over, give the new firmware three tries, or go back.

The plan is one file; each of its stages can be cut short at any moment and is gone on with at the
next start. No update replaces this file, so that there is always a way back. Where the byte code
lies in a ROMFS partition the update is the whole partition: a copy of this file then lies in the
root for as long as the update lasts, because nothing can run from what is being erased.
"""

import json
import os

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass

PLAN = "update.plan"
NEW, OLD = ".new", ".old"
ROM = "rom.img"  # in a plan: the ROMFS partition, as a file
COPY = "update_start.mpy"
_STEP = 512  # bytes read and written at once; a multiple of what a flash wants
_TRIES = 3  # starts without reaching the manager before the old firmware comes back


def remove(path: str) -> None:
    """Delete a file if it is there."""
    try:
        os.remove(path)
    except OSError:
        pass


def exists(path: str) -> bool:
    """Is there such a file?"""
    try:
        os.stat(path)
    except OSError:
        return False
    return True


def plan() -> "dict[str, Any] | None":
    """The update under way, None if there is none (or its plan is no plan)."""
    try:
        with open(PLAN) as f:
            got = json.load(f)
        return got if type(got) is dict and "added" in got else None
    except (OSError, ValueError):
        return None


def _write(new: "dict[str, Any]") -> None:
    with open(PLAN + ".tmp", "w") as f:
        f.write(json.dumps(new))
    os.rename(PLAN + ".tmp", PLAN)


def rom() -> "Any":
    """The ROMFS partition's memory, None where there is none."""
    try:
        import vfs
    except ImportError:
        return None  # a computer's Python
    ioctl = getattr(vfs, "rom_ioctl", None)
    if ioctl is None or ioctl(1) < 1:
        return None
    return memoryview(ioctl(2, 0))


def rom_bytes(start: bytes) -> int:
    """How long the image is that begins so; 0 if none does. (ROMFS: a mark of three bytes, then
    the length of the rest, seven bits a byte.)"""
    if start[:3] != b"\xd2\xcd\x31":
        return 0
    size = 0
    for at in range(3, min(8, len(start))):
        size = size << 7 | start[at] & 0x7F
        if not start[at] & 0x80:
            return at + 1 + size
    return 0


def _save_rom(path: str) -> None:
    memory = rom()
    size = rom_bytes(bytes(memory[:8]))
    with open(path + ".tmp", "wb") as f:
        for at in range(0, size, _STEP):
            f.write(memory[at : min(at + _STEP, size)])
    os.rename(path + ".tmp", path)


def _write_rom(path: str) -> None:
    import vfs

    try:
        vfs.umount("/rom")
    except OSError:
        pass  # what is in it is no image: an update was cut short
    size = os.stat(path)[6]
    if vfs.rom_ioctl(3, 0, size) < 0:
        raise OSError(28)
    with open(path, "rb") as f:
        for at in range(0, size, _STEP):
            part = f.read(_STEP)
            part += bytes(_STEP - len(part))
            if vfs.rom_ioctl(4, 0, at, part) < 0:
                raise OSError(5)
    vfs.rom_ioctl(5, 0)


def _swap(path: str) -> None:
    if not exists(path + NEW):
        return  # done before the power went
    if path == ROM:
        if not exists(ROM + OLD):
            _save_rom(ROM + OLD)
        _write_rom(ROM + NEW)
        os.remove(ROM + NEW)
        return
    if exists(path) and not exists(path + OLD):
        os.rename(path, path + OLD)
    os.rename(path + NEW, path)


def at_start() -> bool:
    """Do what the plan says; before anything an update may have replaced is imported. True if the
    board must start anew, because its partition has another content."""
    now = plan()
    if now is None:
        return False
    before = now["stage"]
    if now["stage"] == "swap":
        for path in now["files"]:
            _swap(path)
        now["stage"] = "try"
        now["starts"] = 1
        _write(now)
    elif now["stage"] == "try":
        now["starts"] += 1
        if now["starts"] > _TRIES:
            now["stage"] = "back"
        _write(now)
    if now["stage"] == "back":
        for path in now["files"]:
            if path == ROM:
                if exists(ROM + OLD):
                    _write_rom(ROM + OLD)
            elif exists(path + OLD):
                os.rename(path + OLD, path)
            elif path in now["added"]:
                remove(path)
        now["stage"] = "reverted"
        _write(now)
    return ROM in now["files"] and now["stage"] != before


def settle() -> "tuple[int, str] | None":
    """The manager has been reached: keep what runs. (number, "done" or "reverted") of an update
    that has come to its end, None if there is none."""
    now = plan()
    if now is None or now["stage"] not in ("try", "reverted"):
        return None
    done = now["stage"] == "try"
    for path in now["files"]:
        if done or path == ROM:
            remove(path + OLD)
    remove(PLAN)
    remove(COPY)
    return now["update"], "done" if done else "reverted"
