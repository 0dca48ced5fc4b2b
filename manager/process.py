"""Child processes that end with their parent, and say why when they end early."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from manager.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class ProcessError(Refusal):
    """A child that did not start or ended too early; the words end with its log's last lines."""


def _end_with(parent: int) -> None:
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # the parent died before the kernel was asked to tell us
            os._exit(1)


class Child:
    """A process in a group of its own, output in `log`; it gets SIGTERM when this process dies.

    Start it from a thread that lives as long as the process: the signal comes when that ends.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.log = log
        parent = os.getpid()
        with log.open("ab") as out:
            try:
                self._popen = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    env=None if env is None else dict(env),
                    cwd=cwd,
                    # A terminal's Ctrl-C goes to the foreground group: ours alone, so that we
                    # end our children in order.
                    start_new_session=True,
                    preexec_fn=lambda: _end_with(parent),  # noqa: PLW1509 - two system calls
                )
            except OSError as e:
                raise ProcessError(f"{name}: cannot start {command[0]}: {e.strerror}") from e
        self.pid = self._popen.pid

    def status(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self._popen.poll()

    def words(self) -> str:
        """How it ended, with the tail of its log."""
        status = self.status()
        how = (
            "is running"
            if status is None
            else (
                f"was ended by {signal.Signals(-status).name}"
                if status < 0
                else f"ended with status {status}"
            )
        )
        return f"{self.name} {how}\n{self.tail()}".rstrip()

    def tail(self, lines: int = 12) -> str:
        """The log's last lines, indented."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join("    " + line for line in text.splitlines()[-lines:])

    def terminate(self) -> None:
        """Ask the whole group to end."""
        self._signal(signal.SIGTERM)

    def end(self, within_s: float = 2.0) -> None:
        """Ask, wait, and kill what is left of its group. Safe to call twice."""
        self.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(within_s)
        self._signal(signal.SIGKILL)
        self._popen.wait()

    def kill(self) -> None:
        """End the whole group at once, as a power cut would."""
        self._signal(signal.SIGKILL)
        self._popen.wait()

    def _signal(self, number: int) -> None:
        # The group outlives its leader if a grandchild does: signalled even with the leader gone.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


def wait_until_ended(children: Sequence[Child], within_s: float) -> None:
    """Ask all at once, then wait for all: ending ten takes as long as the slowest, not the sum."""
    for child in children:
        child.terminate()
    deadline = time.monotonic() + within_s
    for child in children:
        while child.status() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        child.end(0)
