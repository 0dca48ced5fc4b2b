"""The control pilot: duty and current (IEC 61851-1 Annex A), and what a window of ADC samples says about the car.

Integers only: duty in per mille, current in amperes, voltage at the pilot in mV. Nothing here allocates per window.
"""

STEADY_HIGH = 1000  # per mille: +12 V, nothing offered (X1)
STEADY_LOW = 0  # -12 V: not available (F)

# Between these the nominal 12, 9, 6, 3 and 0 V are decided, mV; safety margin against flutter on top of it.
THRESHOLDS_MV = (10_500, 7_500, 4_500, 1_500)
HYSTERESIS_MV = 300
DIODE_MV = -10_000  # the low plateau of a car with its diode is below this (nominal -12 V)
LETTERS = "ABCDE"
RAGGED_MV = 1_500  # a steady line spread wider than this (5th to 95th percentile) is not steady


def check_amps(amps: int) -> None:
    """ValueError unless the pilot can say it: 0, or 6 to 80 A."""
    if amps and not 6 <= amps <= 80:
        raise ValueError("a pilot offers 0 or 6..80 A, not %d" % amps)


def duty_permille(amps: int) -> int:
    """Duty that offers so much, per mille rounded to nearest; 0 A is the steady line. ValueError outside 0, 6..80.

    Up to 51 A a per cent is 0.6 A, above it is 2.5 A over 64 %. 52 A has no duty of its own (84.8 % reads as 50.9 A
    by the first rule): it is offered as 51 A.
    """
    check_amps(amps)
    if not amps:
        return STEADY_HIGH
    if amps <= 52:
        return (min(amps, 51) * 100 + 3) // 6
    return amps * 4 + 640


def duty_u16(amps: int) -> int:
    """The same for machine.PWM, rounded to nearest: finer than the 5 us a car must tolerate by a factor of 300."""
    check_amps(amps)
    if not amps:
        return 65_535
    if amps <= 52:
        return (min(amps, 51) * 65_535 + 30) // 60
    return ((amps * 4 + 640) * 65_535 + 500) // 1000


def decamps(duty: int) -> int:
    """What a car reads from a duty in per mille, in 0.1 A: 0 below 8 % (5 % asks for digital communication only) and
    above 97 %, 6 A from 8 to 10 %, 80 A from 96 to 97 %. ValueError outside 0..1000."""
    if not 0 <= duty <= 1000:
        raise ValueError("a duty is 0..1000 per mille, not %d" % duty)
    if duty < 80 or duty > 970:
        return 0
    if duty < 100:
        return 60
    if duty <= 850:
        return duty * 6 // 10
    if duty < 960:
        return (duty - 640) * 5 // 2
    return 800


def amps(duty: int) -> int:
    """What a car reads from a duty in per mille, rounded to whole amperes. ValueError outside 0..1000."""
    return (decamps(duty) + 5) // 10


class Calibration:
    """From the voltage at the ADC's pin to that at the pilot, by two points: the node with the
    line at +12 and at -12 V.

    The default is the divider of docs/charger-wiring.md (100 k, 22 k to 3.3 V, 16 k): 2289 mV and 254 mV.
    Commissioning measures the two on the board with the plug out and the steady line, which takes out the tolerance
    of the divider, of the ADC and of the two rails at once.
    """

    def __init__(self, high_mv: int = 2289, low_mv: int = 254) -> None:
        """ValueError if the two are not at least a volt apart: then the ADC is not on the pilot."""
        if high_mv - low_mv < 1000:
            raise ValueError("calibration: %d and %d mV are too close" % (high_mv, low_mv))
        self.high_mv = high_mv
        self.low_mv = low_mv
        self._span = high_mv - low_mv

    def pilot_mv(self, node_mv: int) -> int:
        """The pilot's voltage, mV, for a voltage at the ADC's pin."""
        return (node_mv - self.low_mv) * 24_000 // self._span - 12_000

    def node_mv(self, pilot_mv: int) -> int:
        """The ADC's voltage, mV, for a voltage of the pilot."""
        return (pilot_mv + 12_000) * self._span // 24_000 + self.low_mv


def letter_of(high_mv: int, present: str = "") -> str:
    """The state's letter for the high plateau. `present` widens its own band by 0.3 V, so that a plateau on the border
    does not flutter. A line below -1.5 V is not a car's doing: "" (no state)."""
    if high_mv < -THRESHOLDS_MV[3]:
        return ""
    at = LETTERS.find(present) if present else -1
    i = 0
    while i < 4:
        limit = THRESHOLDS_MV[i]
        if at >= 0:
            # Leaving the present state downwards (its index is i) or coming up into it from below needs 0.3 V more.
            limit += -HYSTERESIS_MV if at <= i else HYSTERESIS_MV
        if high_mv >= limit:
            return LETTERS[i]
        i += 1
    return "E"


class Pilot:
    """Turns windows of samples into plateaus and the state's letter; keeps the letter for its hysteresis.

    After `read`: `letter` ("A".."E", "" if nothing could be told), `high_mv`, `low_mv`, `diode` (low plateau proves the
    car's diode; only with PWM), `why` ("" or what was wrong with the window: few, ragged, line).
    """

    def __init__(self, calibration: Calibration) -> None:
        self._calibration = calibration
        self._held = ""
        self.letter = ""
        self.high_mv = 0
        self.low_mv = 0
        self.diode = False
        self.why = "few"

    def read(self, samples: "list[int]", duty: int) -> str:
        """One window: ADC voltages in mV (sorted in place) taken while `duty` per mille was on the line for all of it.

        Gives the letter. PWM needs at least ten periods and 100 samples; the high and the low part are judged apart,
        each by its median after its edges are dropped (an edge takes up to 13 us).
        """
        samples.sort()
        count = len(samples)
        pilot_mv = self._calibration.pilot_mv
        self.diode = False
        low = pilot_mv(samples[count // 20])
        high = pilot_mv(samples[count - 1 - count // 20])
        if duty in (STEADY_HIGH, STEADY_LOW):
            middle = pilot_mv(samples[count // 2])
            self.high_mv = self.low_mv = middle
            if high - low > RAGGED_MV:
                return self._none("ragged")
            if duty == STEADY_LOW:
                # The board itself holds the line down: nothing about the car can be told.
                return self._none("line" if middle > DIODE_MV else "")
            return self._as(letter_of(middle, self._held))
        if -THRESHOLDS_MV[3] < low and high < THRESHOLDS_MV[3]:
            self.high_mv = high
            self.low_mv = low
            return self._as("E")
        # Samples above 0 V belong to the high part of the wave.
        zero = self._calibration.node_mv(0)
        first = 0
        last = count
        while first < last:
            i = (first + last) // 2
            if samples[i] > zero:
                last = i
            else:
                first = i + 1
        lows = first
        highs = count - first
        if (
            highs * 2500 < count * duty
            or highs < 3
            or lows * 2500 < count * (1000 - duty)
            or lows < 3
        ):
            # Not the wave that was asked for: the generator, the wire or the samples are wrong.
            self.high_mv = high
            self.low_mv = low
            return self._none("line")
        # Of the high part the lowest 30 % and the highest 10 % are dropped, and the middle of the rest is taken. Of the
        # low part more is dropped above: at 80 A it lasts 40 us, of which the edges take up to a half.
        self.high_mv = pilot_mv(samples[lows + highs * 6 // 10])
        self.low_mv = pilot_mv(samples[lows // 5])
        self.diode = self.low_mv <= DIODE_MV
        return self._as(letter_of(self.high_mv, self._held))

    def _none(self, why: str) -> str:
        self.letter = ""
        self.why = why
        return ""

    def _as(self, letter: str) -> str:
        self.letter = letter
        self.why = "" if letter else "line"
        if letter:
            self._held = letter
        return letter
