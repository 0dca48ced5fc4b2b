"""Real cars at real chargers, replayed: what the chargers measured of their pilot goes through our reading of a
window and our state machine.

Times, offers, plateaus and states are those that two makes of charger wrote into their logs, as their owners showed
them in public threads: an EVBox Elvi (github.com/evcc-io/evcc, pull request 14733, coderph0x, July 2024; the same,
issue 12821, jpwenzel, March 2024; github.com/lbbrhzn/ocpp, issue 221, dreimer1986, December 2021) and a WARP3
(github.com/evcc-io/evcc, issue 23145, alex-voigt, August 2025; issue 13739, Logirius, May 2024). They tell what they
measure now and then, so between two lines the last one holds.
"""

from firmware.charger.pilot import Calibration, Pilot
from tests.firmware.charger.rig import STEP_MS, Rig
from tests.shared.test_protocol import Dice

# s, what was offered (A), high and low plateau (mV; None with a steady line), the state, what the car drew (mA).
ELVI_JULY = (
    (0, 6, 8380, -12_224, "B", 0),  # 2024-07-11 15:15:36 UTC
    (2, 6, 5772, -12_231, "C", 0),
    (328, 0, 8924, None, "B", 0),  # the charger had taken its offer back
    (24_286, 0, 11_087, None, "A", 0),  # 22:00:22
    (24_372, 16, 5932, -12_096, "C", 0),  # no line tells of the B before
    (24_468, 16, 5932, -12_096, "C", 0),
)
ELVI_JULY_PLUG = ((0, 0, 8924, None, "B", 0),)  # 2024-07-10 18:23:00
ELVI_MARCH = (
    (0, 0, 9069, None, "B", 0),  # 2024-03-09 15:30:26
    (17, 0, 12_028, None, "A", 0),
)
ELVI_DECEMBER = ((0, 10, 8398, -10_229, "B", 0),)  # 2021-12-07 18:38:13
WARP3_AUGUST = (
    (0, 6, 6043, -11_891, "C", 6069),  # 2025-08-21 15:07:04
    (8, 6, 6050, -11_884, "C", 6049),
)
WARP3_MAY = ((0, 0, 9138, None, "B", 0),)  # 2024-05-04 14:31:05
LOGS = (ELVI_JULY, ELVI_JULY_PLUG, ELVI_MARCH, ELVI_DECEMBER, WARP3_AUGUST, WARP3_MAY)

SAMPLES = 250
SETTLED_MS = 60  # three windows
LONGEST_S = 8  # of a stretch in which nothing happens, so much is enough


class Replay(Rig):
    """A rig whose pilot is read from samples; `line` is the log's line that holds."""

    def __init__(self):
        self.calibration = Calibration()
        self.pilot = Pilot(self.calibration)
        self.dice = Dice(7)
        self.windows = {}  # some of each kind, taken in turn
        self.shown: tuple[int, int, int, int | None, str, int] = (0, 0, 12_000, None, "A", 0)
        Rig.__init__(self)

    def window(self, duty):
        """One of a few windows for what is on the line now."""
        key = (self.shown, duty)
        if key not in self.windows:
            self.windows[key] = [self.sampled(duty) for _ in range(5)]
        some = self.windows[key]
        return list(some[self.dice.roll(len(some))])

    def sampled(self, duty):
        """What an ADC with 10 mV of noise, read every 45 to 52 us, says of the two plateaus."""
        high = self.shown[2]
        low = -12_000 if self.shown[3] is None else self.shown[3]
        samples = []
        at = self.dice.roll(1000)
        for _ in range(SAMPLES):
            at += 45 + self.dice.roll(8)
            shows = high if duty and at % 1000 < duty else low
            if not duty:
                shows = -12_000
            samples.append(self.calibration.node_mv(shows) + self.dice.roll(21) - 10)
        return samples

    def step(self, ms=STEP_MS):
        self.now += ms
        i = self.i
        i.letter = self.pilot.read(self.window(self.out.duty), self.out.duty)
        i.high_mv, i.low_mv, i.diode = self.pilot.high_mv, self.pilot.low_mv, self.pilot.diode
        i.rcm = self.out.rcm_test
        i.mains = self.out.contactor
        i.currents_ma = [self.shown[5] if self.out.contactor else 0]
        return self.evse.step(i, self.now)


def test_every_line_is_read_as_the_charger_that_wrote_it_read_it():
    for log in LOGS:
        for shown in log:
            rig = Replay()
            rig.shown = shown
            rig.i.limit_a = shown[1]
            rig.run(200)
            assert rig.out.state[0] == shown[4], (shown, rig.out.state)
            assert rig.out.state[1] == ("2" if shown[1] and shown[4] != "A" else "1"), shown
            assert rig.out.offer_a == (shown[1] if shown[4] != "A" else 0), shown
            assert rig.out.faults == [], (shown, rig.out.faults)


def test_the_logs():
    for log in LOGS:
        rig = Replay()
        for k, shown in enumerate(log):
            rig.shown = shown
            rig.i.limit_a = shown[1]
            began = rig.now
            was_closed = rig.out.contactor
            if shown[4] == "C":
                took = rig.run(4000, lambda r=rig: r.out.contactor)
                assert rig.out.contactor, (shown, rig.out.why, rig.out.faults)
                assert took <= 3100, (shown, took)
                assert was_closed or took >= 500, (shown, took)
            elif was_closed:
                took = rig.run(1000, lambda r=rig: not r.out.contactor)
                assert took <= 100, (shown, took)
            until_s = log[k + 1][0] if k + 1 < len(log) else shown[0] + LONGEST_S
            while rig.now - began < min(until_s - shown[0], LONGEST_S) * 1000:
                rig.step()
                if rig.now - began > SETTLED_MS:
                    assert rig.out.state[0] == shown[4], (shown, rig.out.state)
                    assert rig.out.contactor == (shown[4] == "C"), shown
                assert rig.out.faults == [], (shown, rig.out.faults)
