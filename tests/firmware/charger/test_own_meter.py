"""The charger's own meters on one line: one to three PZEM-004T v3, asked in turn, whatever comes back."""

from firmware.charger.own_meter import LOST_MS, OwnMeter
from firmware.common.modbus import GENERAL, frame
from tests.shared.test_protocol import Dice

VOLTAGE_DV, FREQ_DHZ = 2300, 500
ANSWER_MS = 40


class Line:
    """A serial line with modules of these addresses; `noise` out of 100 steps bring a byte nobody sent."""

    def __init__(self, *addresses, noise=0):
        self.addresses = addresses
        self.silent = set()
        self.ma = {address: 1000 * address for address in addresses}
        self.now = 0
        self.noise = noise
        self.dice = Dice(7)
        self.asked = []
        self._coming = []
        self._there = b""

    def write(self, question):
        address, function, count = question[0], question[1], question[5]
        self.asked.append(address)
        mine = self.addresses[0] if address == GENERAL else address
        if mine not in self.addresses or mine in self.silent:
            return
        if function == 3:
            body = bytes((mine, 3, 2, 0, mine))
        else:
            ma, dw = self.ma[mine], VOLTAGE_DV * self.ma[mine] // 1000
            words = (
                VOLTAGE_DV,
                ma & 0xFFFF,
                ma >> 16,
                dw & 0xFFFF,
                dw >> 16,
                7,
                0,
                FREQ_DHZ,
                100,
                0,
            )
            body = bytes((mine, 4, 2 * count))
            for word in words[:count]:
                body += bytes((word >> 8, word & 0xFF))
        self._coming.append((self.now + ANSWER_MS, frame(body)))

    def any(self):
        while self._coming and self._coming[0][0] <= self.now:
            self._there += self._coming.pop(0)[1]
        if self.dice.roll(100) < self.noise:
            self._there += bytes((self.dice.roll(256),))
        return len(self._there)

    def read(self, size):
        got, self._there = self._there[:size], self._there[size:]
        return got


def run(meter, line, ms, step=20):
    for _ in range(ms // step):
        line.now += step
        meter.step(line.now, line.now)


def test_one_alone_is_asked_for_its_address_and_then_read():
    line = Line(5)
    meter = OwnMeter(line, 1)
    run(meter, line, 1000)
    assert line.asked[0] == GENERAL
    assert set(line.asked[1:]) == {5}
    assert meter.load == [5000, VOLTAGE_DV, 1150, 7, 100]
    assert meter.errors == 0
    assert meter.freq_mhz == 50_000


def test_three_are_asked_in_turn_and_told_together():
    line = Line(1, 2, 3)
    meter = OwnMeter(line, 3)
    run(meter, line, 2000)
    assert line.asked[:6] == [1, 2, 3, 1, 2, 3]
    assert meter.currents_ma == [1000, 2000, 3000]
    assert meter.load[0::5] == [1000, 2000, 3000]
    assert len(meter.load) == 15


def test_one_of_three_that_is_silent_is_all_lost_and_found_again():
    line = Line(1, 2, 3)
    meter = OwnMeter(line, 3)
    run(meter, line, 2000)
    line.silent = {2}
    run(meter, line, LOST_MS + 2000)
    assert meter.lost
    assert (meter.load, meter.currents_ma, meter.voltages_dv) == ([], [], [])
    line.silent = set()
    run(meter, line, 2000)
    assert meter.currents_ma == [1000, 2000, 3000]


def test_noise_is_no_reading_and_stops_nothing():
    for noise in (5, 30, 80):
        for addresses in ((9,), (1, 2, 3)):
            line = Line(*addresses, noise=noise)
            meter = OwnMeter(line, len(addresses))
            for _ in range(80):
                run(meter, line, 300)
                assert meter.currents_ma in ([], [1000 * address for address in addresses])
            line.noise = 0
            run(meter, line, 10_000)
            assert meter.currents_ma == [1000 * address for address in addresses]
