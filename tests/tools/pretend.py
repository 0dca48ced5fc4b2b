"""A pretend board in a process of its own, and `make deploy` onto it."""

import contextlib
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from tests.real_parts import real_part

ROOT = Path(__file__).resolve().parent.parent.parent


class Pretend:
    """A pretend board in a process of its own."""

    def __init__(self, kind: str, folder: Path, *more: str) -> None:
        folder.mkdir()
        self.kind = kind
        self.flash = folder / "flash.img"
        self.bench = folder / "bench.sock"
        self._command = [sys.executable, "-m", "simulator.pretend_board", kind]
        self._command += ["--flash", str(self.flash), "--bench", str(self.bench), *more]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self.process.stdout is not None
        self.port = self.process.stdout.readline().strip()
        assert self.port.startswith("/dev/"), "the pretend board did not start"

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(10)

    def _bench(self, line: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as bench:
            bench.connect(str(self.bench))
            bench.sendall(line)
            return bench.makefile("rb").readline()

    def press_reset(self) -> None:
        self._bench(b'{"reset": true}\n')

    def at_speed(self, speed: int) -> None:
        """Let the board's clock run so much faster."""
        self._bench(b'{"speed": %d, "get": true}\n' % speed)

    def resets(self) -> int:
        """How often the board has started anew; soft resets, of which mpremote makes one before
        nearly every command, are none."""
        resets = json.loads(self._bench(b'{"get": true}\n'))["resets"]
        return int(sum(resets.values()) - resets.get("soft", 0))

    @contextlib.contextmanager
    def restarting(self) -> Iterator[None]:
        """What is done in it ends with a reset of the board; wait for that. mpremote does not,
        and what is typed to a board in the last moment before it is lost."""
        before = self.resets()
        yield
        ends = time.monotonic() + 60
        while self.resets() == before:
            assert time.monotonic() < ends, "the board did not restart"
            time.sleep(0.05)

    def reset(self) -> None:
        """mpremote's own command, until it is done."""
        with self.restarting():
            self.mpremote("reset")

    def mpremote(self, *command: str) -> str:
        line = [real_part("mpremote"), "connect", self.port, *command]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


class Start(Protocol):
    """Starts a pretend board of a kind, with more options."""

    def __call__(self, kind: str, *more: str) -> Pretend: ...


def deploy(
    port: str, kind: str, *more: str, tree: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tools.deploy", "--board", kind, "--port", port, *more]
    return subprocess.run(
        command, cwd=tree, capture_output=True, text=True, timeout=120, check=False
    )


def deploy_with_reset(board: Pretend, tree: Path) -> subprocess.CompletedProcess[str]:
    """The same with a person beside it, who presses the reset button when asked to."""
    command = [sys.executable, "-m", "tools.deploy", "--board", board.kind, "--port", board.port]
    with subprocess.Popen(
        command, cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if "Press its reset button" in line:
                board.press_reset()
    return subprocess.CompletedProcess(command, process.returncode, said, "")


def counts(done: subprocess.CompletedProcess[str]) -> tuple[int, int, int]:
    """Written, removed, unchanged."""
    found = re.search(r"(\d+) written, (\d+) removed, (\d+) unchanged, all verified", done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert found, done.stdout
    written, removed, unchanged = found.groups()
    return int(written), int(removed), int(unchanged)
