"""Sessions in flash: cut the power anywhere, and each session is there once, with its energy to the Wh."""

import os

from firmware.charger import card_list, latches, sessions
from firmware.charger.sessions import PZEM_ROLLOVER_WH, Sessions, grown
from firmware.common import config
from tests.shared.test_protocol import Dice

MODULES = (sessions, config, latches, card_list)


class Cut(BaseException):
    """The power goes."""


class Flash:
    """A flash in a dictionary, in place of the one of the modules; dies at the `at`-th write if asked to."""

    def __init__(self):
        self.files = {}
        self.at = -1

    def tick(self):
        if self.at == 0:
            self.at = -1
            raise Cut
        if self.at > 0:
            self.at -= 1

    def open(self, name, mode="r"):
        return File(self, name, mode)

    def rename(self, a, b):
        self.tick()
        self.files[b] = self.files.pop(a)
        self.tick()

    def remove(self, name):
        self.tick()
        del self.files[name]
        self.tick()

    def listdir(self, folder):
        if folder not in self.files:
            raise OSError(2)
        return [name.split("/")[1] for name in self.files if name.startswith(folder + "/")]

    def mkdir(self, folder):
        self.files[folder] = ""


class File:
    def __init__(self, flash, name, mode):
        self.flash, self.name = flash, name
        if "w" in mode:
            flash.tick()
            flash.files[name] = ""
        elif name not in flash.files:
            raise OSError(2)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def read(self, *_):
        return self.flash.files[self.name]

    def write(self, text):
        half = len(text) // 2
        self.flash.files[self.name] = text[:half]
        self.flash.tick()
        self.flash.files[self.name] = text


def on(flash):
    """Let the modules use this flash."""
    for module in MODULES:
        module.open = flash.open
    sessions.os = config.os = flash


def off():
    for module in MODULES:
        if hasattr(module, "open"):
            del module.open
    sessions.os = config.os = os


def test_energy_between_two_readings():
    for before, now, wh in ((0, 0, 0), (100, 350, 250), (9_999_990, 15, 25), (500, 20, 20)):
        assert grown(before, now) == wh
    assert PZEM_ROLLOVER_WH == 10_000_000


def test_a_session():
    flash = Flash()
    on(flash)
    try:
        s = Sessions()
        assert s.running is None
        s.begin("card", "04a1b2c3", 1000)
        assert s.measured(1234) == 234
        s = Sessions()  # a restart
        assert s.after_cut
        assert s.running["n"] == 1
        s.save(1500, 60)
        assert s.measured(1600) == 600
        s.over(30, "unplugged")
        assert s.running["why"] == "unplugged"
        s.end(2000)
        assert s.waiting == [1]
        got = s.read(1)
        assert (got["wh"], got["s"], got["why"], got["card"]) == (
            1000,
            90,
            "unplugged",
            "04a1b2c3",
        )
        s.begin("free", "", 2000)
        assert s.running["n"] == 2
        assert not s.acknowledged(2)
        assert s.acknowledged(1)
        assert not s.acknowledged(1)
        assert Sessions().waiting == []
    finally:
        off()


def test_none_is_lost_or_doubled_over_a_thousand_cuts():
    dice = Dice(11)
    flash = Flash()
    on(flash)
    try:
        manager = {}  # what the manager has on disk, by number
        truth = {}  # energy that went into the car of each session
        meter = 100
        cuts = 0
        s = Sessions()
        while cuts < 1000:
            flash.at = dice.roll(24)
            try:
                while True:
                    what = dice.roll(6)
                    if s.running is None:
                        s.begin("free", "", meter)
                    elif what == 0:
                        s.save(meter, 1)
                    elif what == 1:
                        number = s.running["n"]
                        truth[number] = meter - s.running["from_wh"]
                        s.over(1, "unplugged")
                        s.end(meter)
                    elif what == 2 and s.waiting:
                        number = s.waiting[0]
                        got = s.read(number)
                        assert got is not None
                        assert manager.setdefault(number, got["wh"]) == got["wh"]
                        s.acknowledged(number)
                    else:
                        meter += dice.roll(50)
                        s.measured(meter)
                        flash.tick()
            except Cut:
                cuts += 1
            flash.at = -1
            s = Sessions()
            if s.running is None and s.at_wh >= 0:
                assert s.at_wh == meter, "not where the last one ended"
        while s.waiting:
            got = s.read(s.waiting[0])
            assert manager.setdefault(s.waiting[0], got["wh"]) == got["wh"]
            s.acknowledged(s.waiting[0])
        last = s.running["n"] if s.running else max(manager)
        numbers = sorted(manager)
        assert numbers == list(range(1, last if s.running else last + 1))
        for number in numbers:
            assert manager[number] == truth[number], number
    finally:
        off()


def test_latches_survive_a_thousand_cuts():
    dice = Dice(5)
    flash = Flash()
    on(flash)
    try:
        names = ("residual_current", "welded_contactor", "over_current")
        saved = {}
        for _ in range(1000):
            new = {name: 1 for name in names if dice.roll(2)}
            flash.at = dice.roll(12)
            try:
                latches.save(new)
                saved = new
                flash.at = -1
                assert latches.load() == saved
            except Cut:
                got = latches.load()
                assert got in (saved, new), (got, saved, new)
                saved = got
        for name in ("latches", "latches.bak"):
            flash.files[name] = "{"
        assert latches.load() == {"residual_current": 1}
    finally:
        off()
