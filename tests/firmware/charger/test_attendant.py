"""Sessions by what the safety lane reports: each Wh the meter counts is in one, however late the network lane is."""

from firmware.charger.attendant import Attendant
from firmware.charger.exchange import Report
from shared import protocol
from tests.firmware.charger.test_sessions import Flash, off, on
from tests.shared.test_protocol import Dice

CARD = "04a1b2c3d4e5f6"
CONFIG = {
    "access": "free",
    "own_meter": 1,
    "list_key": "",
    "key": "00" * 32,
    "picc_key": "",
    "sun_key": "",
}


class Charger:
    """A charger's report, its attendant and its flash; `wh` is what the meter says."""

    def __init__(self, access="free"):
        self.flash = Flash()
        self.config = dict(CONFIG)
        self.config["access"] = access
        self.now = 0
        self.wh = 1000
        self.told = {}  # energy by session, and why it ended
        self.why = ""
        self.r = Report()
        on(self.flash)
        self.start()

    def start(self):
        """The power comes (back)."""
        plugged = self.r.plugged
        self.r = Report()
        self.r.why = "no_car"
        self.r.plugged = plugged
        self.r.plugs = int(plugged)
        self.attendant = Attendant(self.config, self.say)
        self.measures(settled=False)

    def say(self, message):
        if message["code"] == protocol.SESSION_END:
            self.why = message["why"]
            wh = message["energy_wh"]
            assert self.told.setdefault(message["session"], wh) == wh
        return 1

    def measures(self, settled=True):
        """The meter answers; `settled`: it was asked long after the contactor opened."""
        self.r.load = [0, 2300, 0, self.wh, 0]
        self.r.loads += 1
        self.r.settled = settled and not self.r.contactor

    def plug(self, plugged):
        if plugged and not self.r.plugged:
            self.r.plugs += 1
        self.r.plugged = plugged

    def round(self, ms=20):
        self.now += ms
        self.attendant.step(self.r, True, True, self.now)

    def power(self, on):
        self.r.contactor = on
        self.r.settled = False

    def ended(self):
        """Energy by session that has ended, Wh: those told, and those still in flash."""
        sessions = self.attendant.sessions
        found = dict(self.told)
        for number in sessions.waiting:
            kept = sessions.read(number)
            assert kept is not None
            wh = kept["wh"]
            assert found.setdefault(number, wh) == wh
        return found

    @property
    def running(self):
        return self.attendant.sessions.running


def on_a_charger(test):
    def runs(access="free"):
        c = Charger(access)
        try:
            test(c)
        finally:
            off()

    return runs


@on_a_charger
def ends_when_counted(c):
    c.plug(True)
    c.round()
    c.power(True)
    c.wh += 40
    c.measures()
    c.round()
    c.wh += 1  # after the last reading, before the contactor opens
    c.plug(False)
    c.power(False)
    c.round()
    c.measures(settled=False)
    c.round()
    assert c.ended() == {}
    c.measures()
    c.round()
    c.round()
    assert c.ended() == {1: 41}
    assert c.why == "unplugged"


def test_a_session_ends_with_what_the_meter_says_when_all_that_flowed_is_counted():
    ends_when_counted()


@on_a_charger
def stopped_by_card(c):
    c.attendant.start(0)
    c.plug(True)
    c.round()
    c.power(True)
    c.wh += 100
    c.measures()
    c.attendant.stop()
    c.round()
    c.wh += 12  # the car takes its six seconds
    c.measures()
    c.round()
    assert c.ended() == {}
    assert c.running["why"] == "manager"
    c.power(False)
    c.start()  # and the power goes
    for _ in range(3):
        c.round()
        assert not c.attendant.access.allowed, "it began anew"
    assert c.ended() == {}
    c.measures()
    c.round()
    c.round()
    assert c.ended() == {1: 112}
    assert c.why == "manager"
    assert c.running is None


def test_a_stopped_session_takes_the_wait_for_the_car_with_it_and_a_power_cut_does_not_begin_it_anew():
    stopped_by_card("card")


@on_a_charger
def lane_hangs(c):
    c.round()
    c.plug(True)  # while the network lane hangs a car comes, charges,
    c.power(True)
    c.wh += 700
    c.measures()
    c.round()  # and is seen only now
    assert c.running["from_wh"] == 1000
    c.wh += 50
    c.power(False)
    c.plug(False)
    c.measures()
    c.round()
    c.round()
    c.round()
    assert c.ended() == {1: 750}
    c.plug(True)  # one that comes and goes unseen
    c.wh += 30
    c.plug(False)
    c.plug(True)
    c.measures()
    c.round()
    assert c.running["n"] == 2
    c.wh += 8
    c.measures()
    c.plug(False)
    c.plug(True)  # another car, and the lane saw neither going nor coming
    c.round()
    c.round()
    assert c.ended() == {1: 750, 2: 38}
    assert c.running["n"] == 3


def test_a_lane_that_hangs_loses_nothing():
    lane_hangs()


@on_a_charger
def next_car(c):
    c.attendant.start(0)
    assert c.attendant.plug(c.r) == 1
    c.plug(True)
    c.round()
    assert c.attendant.plug(c.r) == 1
    c.plug(False)
    c.plug(True)  # unseen
    c.round()
    assert not c.attendant.access.allowed
    c.round()
    assert list(c.ended()) == [1]
    assert c.running is None


def test_a_card_is_not_for_the_next_car():
    next_car("card")


@on_a_charger
def other_meter(c):
    c.round()
    for wh, begins in ((500_000, 500_000), (20, 20), (90_000, 20)):
        c.wh = wh
        c.measures()
        c.plug(True)
        c.round()
        assert c.running["from_wh"] == begins, wh
        c.plug(False)
        c.round()
        c.round()


def test_another_meter_is_no_energy():
    other_meter()


@on_a_charger
def silent(c):
    c.plug(True)
    c.round()
    c.power(True)
    c.wh += 90
    c.measures()
    c.round()
    c.r.meter_lost = True
    c.plug(False)
    c.power(False)
    c.round()
    c.round()
    c.round()
    assert c.ended() == {1: 90}


def test_a_meter_that_is_silent_at_the_end_has_said_what_it_said():
    silent()


@on_a_charger
def waits_for_meter(c):
    c.attendant.start(0)
    c.plug(True)
    c.round()
    c.wh += 25
    c.start()
    c.r.load = []
    c.round()
    assert c.running["n"] == 1
    assert not c.running["why"], "ended before the meter had said a word"
    c.measures()
    c.round()
    assert c.attendant.access.allowed
    assert c.running["n"] == 1


def test_after_a_power_cut_the_meter_is_waited_for():
    waits_for_meter("card")


@on_a_charger
def any_life(c):
    dice = Dice(3)
    c.round()
    first = c.wh
    for _ in range(8_000):
        what = dice.roll(12)
        if what == 0:
            c.plug(not c.r.plugged)
            c.power(False)
        elif what == 1 and c.r.plugged:
            c.power(not c.r.contactor)
        elif what == 2 and dice.roll(4) == 0:
            c.power(False)
            if dice.roll(2):
                c.r.plugged = False
            c.start()
        elif what < 8:
            c.round(dice.roll(3000))
        if c.r.contactor:
            c.wh += dice.roll(3)
        if dice.roll(3) == 0:
            c.measures(dice.roll(2))
        waiting = c.attendant.sessions.waiting
        if waiting and dice.roll(3) and waiting[0] in c.told:
            c.attendant.heard({"code": protocol.SESSION_ACK, "session": waiting[0]}, c.now)
    c.plug(False)
    c.power(False)
    for _ in range(20):
        c.measures()
        c.round(10_000)
        for number in list(c.attendant.sessions.waiting):
            c.attendant.heard({"code": protocol.SESSION_ACK, "session": number}, c.now)
            break
    ended = c.ended()
    assert len(ended) > 100, len(ended)
    assert sorted(ended) == list(range(1, len(ended) + 1))
    unseen = c.wh - first - sum(ended.values())
    # What flowed after the last session's end, before anybody saw a car: the next one's.
    assert unseen == c.wh - c.attendant.sessions.at_wh


def test_whatever_happens_the_sessions_are_the_meter():
    any_life()
