"""What a charger proves about itself: everything once at start, the dangerous things again before every close.

Pure and stepped like the state machine it serves. The order is that of docs/charger.md: rails of the pilot, the
contactor's far side dead, protective earth, residual current monitor trips and recovers, temperature sensors.
"""

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass

SETTLE_MS = 150  # for the line after a change of the steady level
DEAD_MS = 250  # so long the far side of an open contactor must be dead
TRIP_MS = 500  # within this the monitor must answer its test
CLEAR_MS = 1000  # and within this recover from it
RAIL_MV = 12_000
RAIL_OFF_MV = 600  # IEC 61851-1: 12 V +- 5 %
UNCALIBRATED_MV = (
    600  # what the ADC may be wrong by, seen at the pilot, before it has been calibrated
)

_IDLE = 0
_HIGH = 1
_LOW = 2
_DEAD = 3
_EARTH = 4
_READY = 5
_TRIP = 6
_RECOVER = 7
_SENSORS = 8


class SelfTest:
    """`begin`, then `step` until it gives True: then `failure` is "" or the fault it found.

    `duty` is the steady level the test needs (-1: any); `rcm_test` the monitor's test input. `testing_rcm`: a trip of
    the monitor now is what the test asked for.
    """

    def __init__(self, calibrated: bool = True) -> None:
        """`calibrated`: the ADC's error has been measured and taken out, so the rails can be judged to 5 %."""
        self._off_mv = RAIL_OFF_MV + (0 if calibrated else UNCALIBRATED_MV)
        self._phase = _IDLE
        self._since = 0
        self._whole = False
        self.duty = -1
        self.rcm_test = False
        self.failure = ""

    @property
    def running(self) -> bool:
        """Whether a test is under way."""
        return self._phase != _IDLE

    @property
    def testing_rcm(self) -> bool:
        """Whether the residual current monitor is being made to trip."""
        return self._phase in (_TRIP, _RECOVER)

    def begin(self, whole: bool, now_ms: int) -> None:
        """Start: `whole` at boot, else only what is proven before every close."""
        self._whole = whole
        self.failure = ""
        self._enter(_HIGH if whole else _DEAD, now_ms)

    def abandon(self) -> None:
        """Stop without a result; the monitor's test input is let go."""
        self._end("")

    def _enter(self, phase: int, now_ms: int) -> None:
        self._phase = phase
        self._since = now_ms
        self.duty = 1000 if phase == _HIGH else 0 if phase == _LOW else 1000 if self._whole else -1
        self.rcm_test = phase == _TRIP

    def _end(self, failure: str) -> bool:
        self._phase = _IDLE
        self.duty = -1
        self.rcm_test = False
        self.failure = failure
        return True

    def step(self, i: "Any", now_ms: int) -> bool:
        """One step with the state machine's inputs; True when the test is over."""
        phase = self._phase
        spent = now_ms - self._since
        if phase == _HIGH:
            if spent < SETTLE_MS or not i.fresh:
                return False
            if not i.letter and spent < 2 * SETTLE_MS + 100:
                return False  # a plug may just be going in
            # With a car on the line its resistance hides the rail.
            if abs(i.high_mv - RAIL_MV) > self._off_mv and i.letter not in ("B", "C", "D"):
                return self._end("pilot_fault")
            self._enter(_LOW, now_ms)
        elif phase == _LOW:
            if spent < SETTLE_MS or not i.fresh:
                return False
            if abs(i.low_mv + RAIL_MV) > self._off_mv:
                return self._end("pilot_fault")
            self._enter(_DEAD, now_ms)
        elif phase == _DEAD:
            if i.mains:
                return self._end("welded_contactor")
            if i.mains is None or spent >= (DEAD_MS if self._whole else 0):
                self._enter(_EARTH, now_ms)
        elif phase == _EARTH:
            if not i.pe:
                return self._end("ground_failure")
            self._enter(_READY, now_ms)
        elif phase == _READY:
            if not i.rcm:
                self._enter(_TRIP, now_ms)
            elif spent > CLEAR_MS:
                return self._end("residual_self_test")
        elif phase == _TRIP:
            if i.rcm:
                self._enter(_RECOVER, now_ms)
            elif spent > TRIP_MS:
                return self._end("residual_self_test")
        elif phase == _RECOVER:
            if not i.rcm:
                if not self._whole:
                    return self._end("")
                self._enter(_SENSORS, now_ms)
            elif spent > CLEAR_MS:
                return self._end("residual_self_test")
        elif phase == _SENSORS:
            for c in i.temperatures_c:
                if c is None or not -30 <= c <= 100:
                    return self._end("temperature_sensor")
            return self._end("")
        return False
