"""The house on a live bench: a recording played from a time of day on, or steps, or set by hand.

house = House(phases=1, recording="uci", from_s=64_800, scale=1.0, speed=1)
house.ma(at_s)      mA on each phase, `at_s` seconds after the start
"""

from __future__ import annotations

from collections.abc import Sequence

from simulator.scenario_house import recording as recorded

_SHIFT_S = 5400  # one recording for three phases: each begins so much later


class House:
    """What the building draws without its cars. `speed`: how much faster the recording is played.

    `steps` are (second, amperes, or a list of amperes by phase); they go before a recording.
    """

    def __init__(
        self,
        *,
        phases: int = 1,
        recording: str | None = None,
        from_s: int = 0,
        scale: float = 1.0,
        speed: float = 1.0,
        steps: Sequence[tuple[float, float | Sequence[float]]] = (),
    ) -> None:
        """ScenarioError if the recording cannot be read, ValueError for steps out of order."""
        self.phases = phases
        self._from_s = from_s
        self._scale = scale
        self._speed = speed
        self._steps = [(float(at), self._amps(amps)) for at, amps in steps]
        if any(a[0] >= b[0] for a, b in zip(self._steps, self._steps[1:], strict=False)):
            raise ValueError("house: steps must be in order of time")
        self._period_s, self._values = recorded(recording) if recording else (1, [0])
        self._by_hand: list[int] | None = None

    def _amps(self, amps: float | Sequence[float]) -> list[int]:
        parts = [amps] * self.phases if isinstance(amps, (int, float)) else list(amps)
        if len(parts) != self.phases:
            raise ValueError(f"house: {len(parts)} currents for {self.phases} phases")
        return [round(a * 1000) for a in parts]

    def set(self, amps: float | Sequence[float] | None) -> None:
        """From now on this much on each phase; None: back to steps and recording."""
        self._by_hand = None if amps is None else self._amps(amps)

    def ma(self, at_s: float) -> list[int]:
        """mA on each phase."""
        if self._by_hand is not None:
            return list(self._by_hand)
        if self._steps:
            past = [amps for at, amps in self._steps if at <= at_s]
            return list(past[-1]) if past else [0] * self.phases
        played = self._from_s + at_s * self._speed
        size = len(self._values)
        return [
            round(
                self._values[int((played + phase * _SHIFT_S) // self._period_s) % size]
                * self._scale
            )
            for phase in range(self.phases)
        ]
