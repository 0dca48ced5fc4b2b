"""The simulated clock and network of a scenario: what happens next, and messages on their way."""

from __future__ import annotations

import heapq
import random
import time
from collections.abc import Callable

from simulator.scenario import Network

Action = Callable[[], None]


class Clock:
    """Runs actions in order of time; those of one instant in the order they were asked for."""

    def __init__(self) -> None:
        self.now_ms = 0
        self._queue: list[tuple[int, int, Action]] = []
        self._asked = 0

    def at(self, at_ms: int, action: Action) -> None:
        """Do this then (now, if that is past)."""
        self._asked += 1
        heapq.heappush(self._queue, (max(at_ms, self.now_ms), self._asked, action))

    def run(
        self, until_ms: int, speed: float = 0, progress: Callable[[int], None] | None = None
    ) -> None:
        """Everything up to and including `until_ms`; `speed` simulated seconds a second, 0: as
        fast as it goes.
        """
        began = time.monotonic() - (self.now_ms / 1000 / speed if speed else 0)
        shown = time.monotonic()
        while self._queue and self._queue[0][0] <= until_ms:
            at_ms, _, action = heapq.heappop(self._queue)
            if speed:
                wait_s = began + at_ms / 1000 / speed - time.monotonic()
                if wait_s > 0:
                    if progress:
                        progress(self.now_ms)
                    time.sleep(wait_s)
            self.now_ms = at_ms
            action()
            if progress and self._asked & 255 == 0 and time.monotonic() - shown > 0.2:
                shown = time.monotonic()
                progress(self.now_ms)
        self.now_ms = until_ms
        if progress:
            progress(until_ms)


class Wire:
    """The links between the devices and the manager, through the broker.

    A link keeps order, as TCP does; each message takes its own time, may be lost, or come twice.
    While the network is down nothing gets through.
    """

    def __init__(self, clock: Clock, network: Network, seed: int) -> None:
        self.clock = clock
        self.up = True
        self.messages = 0
        self.bytes = 0
        self.lost = 0
        self._network = network
        self._chance = random.Random(seed)  # the scenario's own: the same seed, the same run
        self._last: dict[str, int] = {}

    def send(
        self, link: str, topic: str, data: bytes, deliver: Callable[[str, bytes], None]
    ) -> None:
        """Put a message on its way; `link` names the direction whose order is kept."""
        self.messages += 1
        self.bytes += len(data)
        net = self._network
        if not self.up or (net.loss and self._chance.random() < net.loss):
            self.lost += 1
            return
        copies = 2 if net.duplicate and self._chance.random() < net.duplicate else 1
        for _ in range(copies):
            at_ms = self.clock.now_ms + self._chance.randint(*net.delay_ms)
            at_ms = max(at_ms, self._last.get(link, 0))
            self._last[link] = at_ms
            self.clock.at(at_ms, lambda: self._arrive(topic, data, deliver))

    def _arrive(self, topic: str, data: bytes, deliver: Callable[[str, bytes], None]) -> None:
        if self.up:
            deliver(topic, data)
        else:
            self.lost += 1
