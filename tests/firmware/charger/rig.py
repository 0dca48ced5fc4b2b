"""A charger's state machine with a car, a cable and an installation around it, on a clock of its own."""

from firmware.charger.evse import Evse, Inputs, Settings

STEP_MS = 20
PLATEAU_MV = {"A": 12_000, "B": 9_000, "C": 6_000, "D": 3_000, "E": 0}


class Rig:
    """`car` is what the car's resistor says ("A".."E"); everything else starts healthy, offering 16 A."""

    def __init__(self, settings=None, latches=None, limit_a=16, boot=True):
        self.settings = settings or Settings()
        self.evse = Evse(self.settings, latches, 0)
        self.i = Inputs()
        self.i.pe = True
        self.i.mains = False
        self.i.limit_a = limit_a
        self.i.temperatures_c = [30]
        self.i.voltages_dv = [2300]
        self.i.currents_ma = [0]
        self.i.freq_mhz = 50_000
        self.i.pp_ohm = 220
        self.car = "A"
        self.diode = True
        self.meter = True  # it answers
        self.line = True  # False: no window can be read
        self.weld = False
        self.stuck_open = False
        self.residual = False
        self.monitor = True  # the residual current monitor answers its test
        self.now = 0
        self.opened_at = None
        self.closed_at = None
        self.watch = None  # called after each step
        # Kept by random walks: when the car last left C, came to C, and since when there is no current.
        self.left_c = self.since_c = self.no_current = 0
        self.was_none = False
        if boot:
            self.run(2000)
            assert self.evse.proven is False
            assert self.out.state == "A1", (self.out.state, self.out.faults)

    @property
    def out(self):
        return self.evse.out

    def step(self, ms=STEP_MS):
        self.now += ms
        i = self.i
        duty = self.out.duty
        i.letter = ""
        i.diode = False
        if duty == 0:
            i.high_mv = i.low_mv = -12_000
        elif not self.line:
            i.high_mv = i.low_mv = 0
        else:
            high = PLATEAU_MV[self.car]
            i.letter = self.car
            i.high_mv = high
            i.low_mv = high
            if duty < 1000:
                i.low_mv = (
                    0 if self.car == "E" else -12_000 if self.diode or self.car == "A" else -high
                )
                i.diode = i.low_mv <= -10_000
        i.rcm = self.residual or (self.monitor and self.out.rcm_test)
        if self.i.mains is not None:
            i.mains = self.weld or (self.out.contactor and not self.stuck_open)
        if self.meter:
            i.asked_ms = self.now - 200
        before = self.out.contactor
        out = self.evse.step(i, self.now)
        if out.contactor != before:
            if out.contactor:
                self.closed_at = self.now
            else:
                self.opened_at = self.now
        if self.watch:
            self.watch(self)
        return out

    def run(self, ms, until=None):
        """Step for so long, or until `until()` is true; gives the ms that took."""
        start = self.now
        while self.now - start < ms:
            self.step()
            if until is not None and until():
                break
        return self.now - start

    def charge(self, car="C"):
        """Plug in, have the car ask for power, and get it."""
        self.car = "B"
        self.run(1000)
        assert self.out.state == "B2", (self.out.state, self.out.why, self.out.faults)
        self.car = car
        self.run(3000, lambda: self.out.contactor)
        assert self.out.contactor, (self.out.state, self.out.why, self.out.faults)
        return self

    def until_open(self, ms=20_000):
        """Run until the contactor is open; ms it took, or None."""
        took = self.run(ms, lambda: not self.out.contactor)
        return None if self.out.contactor else took
