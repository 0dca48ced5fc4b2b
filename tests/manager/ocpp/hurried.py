"""A day in minutes: an event loop and a clock that are so many times fast. `peers/hurry.mjs` hurries the others."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Awaitable, Callable
from datetime import UTC
from typing import Any

from manager.run import Clock


class _HurriedSelector(selectors.DefaultSelector):
    """Waits a fraction of the time it is asked to."""

    def __init__(self, speed: float) -> None:
        super().__init__()
        self._speed = speed

    def select(self, timeout: float | None = None) -> Any:
        return super().select(None if timeout is None else timeout / self._speed)


class HurriedLoop(asyncio.SelectorEventLoop):
    """Every sleep and every time-out in it is `speed` times short, those of libraries too."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        super().__init__(_HurriedSelector(speed))

    def time(self) -> float:
        return time.monotonic() * self._speed


class HurriedClock(Clock):
    """Shows `at_ms` (UTC) as it is made, and from then on runs `speed` times fast."""

    def __init__(self, speed: float, at_ms: int) -> None:
        super().__init__(UTC)
        self.speed = speed
        self.at_ms = at_ms
        self.real_ms = time.time_ns() // 1_000_000
        self._began = time.monotonic()

    def now_ms(self) -> int:
        return 1_000_000 + int((time.monotonic() - self._began) * self.speed * 1000)

    def utc_ms(self) -> int:
        return self.at_ms + self.now_ms() - 1_000_000

    def for_peers(self) -> dict[str, float]:
        """What `peers/hurry.mjs` takes."""
        return {"speed": self.speed, "real_ms": self.real_ms, "at_ms": self.at_ms}


def run_hurried(test: Callable[[], Awaitable[None]], speed: float) -> None:
    """Run an async test in a loop that is so fast."""

    async def whole() -> None:
        await test()

    with asyncio.Runner(loop_factory=lambda: HurriedLoop(speed)) as runner:
        runner.run(whole())
