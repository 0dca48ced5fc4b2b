"""A simulated board in a thread of its own, for tests: what it prints, and its bench."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from simulator.board import Board


def until(holds: Callable[[], Any], s: float, what: str) -> Any:
    """Wait for something; AssertionError with `what` after `s` seconds."""
    end = time.monotonic() + s
    while time.monotonic() < end:
        if found := holds():
            return found
        time.sleep(0.005)
    raise AssertionError(f"not within {s} s: {what}")


class Printing(Board):
    """Keeps what the board prints."""

    printed: list[str]

    def _show(self, line: str) -> None:
        self.printed.append(line)


class RunningBoard:
    """`main` is the board's main.py; a context manager."""

    def __init__(
        self,
        folder: Path,
        main: str | None,
        kind: str = "charger",
        *,
        cpython: bool = False,
        **how: Any,
    ) -> None:
        self.folder = folder
        self.path = folder / "bench.sock"
        self.flash = folder / "flash"
        self._kind = kind
        self._main = main
        self._cpython = cpython
        self._how = how
        self.lines: list[dict[str, Any]] = []
        self.board: Printing

    @property
    def printed(self) -> list[str]:
        return self.board.printed

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._failed: BaseException | None = None

        async def live() -> None:
            self._loop = asyncio.get_running_loop()
            self._end = asyncio.Event()
            config = self._how.pop("config", {"id": "board"})
            try:
                self.board = Printing(
                    self._kind, config, self.flash, bench=self.path, cpython=self._cpython, main=self._main,
                    **self._how,
                )  # fmt: skip
                self.board.printed = []
                await self.board.start()
            except BaseException as e:
                self._failed = e
                if hasattr(self, "board"):
                    await self.board.stop()
                raise
            finally:
                ready.set()
            await self._end.wait()
            await self.board.stop()

        def run() -> None:
            with contextlib.suppress(BaseException):  # told by __enter__
                asyncio.run(live())

        self._thread = threading.Thread(target=run)
        self._thread.start()
        ready.wait(20)
        if self._failed is not None:
            raise self._failed
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(self.path))
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError), self._socket.makefile("rb") as lines:
            for line in lines:
                self.lines.append(json.loads(line))

    def put(self, **inputs: Any) -> None:
        """One line to the bench."""
        self.put_raw(json.dumps(inputs).encode())

    def put_raw(self, line: bytes) -> None:
        self._socket.sendall(line + b"\n")

    def get(self) -> dict[str, Any]:
        """What the bench says now."""
        before = len(self.lines)
        self.put(get=True)
        until(lambda: len(self.lines) > before, 5, "an answer to get")
        return self.lines[-1]

    def said(self, words: str, s: float = 30) -> str:
        """The first line printed that has these words in it."""
        end = time.monotonic() + s
        while time.monotonic() < end:
            for line in list(self.printed):
                if words in line:
                    return line
            time.sleep(0.005)
        raise AssertionError(f"{words!r} not printed within {s} s, but {self.printed}")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)
        assert not self._thread.is_alive()
