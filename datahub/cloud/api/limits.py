"""How often somebody may ask: a token bucket each, bounded in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict

_MOST = 50_000


class Bucket:
    """`rate` requests a second on average, `burst` at once, for every name by itself."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, name: str, now_s: float) -> float:
        """0 if it may, else the seconds to wait."""
        with self._lock:
            left, at = self._left.pop(name, (self._burst, now_s))
            left = min(self._burst, left + (now_s - at) * self._rate)
            wait = 0.0 if left >= 1 else (1 - left) / self._rate
            self._left[name] = (left - 1 if left >= 1 else left, now_s)
            while len(self._left) > _MOST:
                self._left.popitem(last=False)
            return wait
