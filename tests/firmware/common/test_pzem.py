"""The PZEM-004T v3: real frames, its registers, and which of its answers cannot be true."""

import json

from firmware.common.modbus import GENERAL, Bus, ModbusError, crc16, frame
from firmware.common.pzem import Pzem, Reading, jump, parse
from tests.firmware.common.test_modbus import Wire

VECTORS = __file__.rsplit("/", 3)[0] + "/data/pzem_vectors.json"


def reading(dv=2300, ma=10_000, dw=23_000, wh=1000, dhz=500, pf=100):
    return Reading(dv, ma, dw, wh, dhz, pf, False, 0)


def refused(body):
    try:
        parse(frame(body))
    except ModbusError as e:
        return e.what
    return ""


def registers(words):
    body = bytes((1, 4, 2 * len(words)))
    for word in words:
        body += bytes((word >> 8, word & 0xFF))
    return body


def test_real_frames_mean_what_their_owners_saw():
    with open(VECTORS) as f:
        vectors = json.load(f)
    read = 0
    for vector in vectors:
        whole = bytes.fromhex(vector["hex"])
        assert (crc16(whole) == 0) == vector["crc_ok"], vector
        want = vector.get("decoded")
        if want is None:
            continue
        r = parse(whole)
        read += 1
        assert whole[0] == want["addr"]
        assert r.voltage_dv == round(want["voltage"] * 10)
        assert r.current_ma == round(want["current"] * 1000)
        assert r.power_dw == round(want["power"] * 10)
        assert r.energy_wh == want["energy_wh"]
        assert r.freq_dhz == round(want["freq"] * 10)
        assert r.pf_pct == round(want["pf"] * 100)
        assert r.alarm == bool(want["alarm"])
    assert read == 6


def test_large_values_need_their_high_words_low_word_first():
    r = parse(bytes.fromhex("0104140901117000016ff90002d687001201f4006300002db3"))
    assert (r.voltage_dv, r.current_ma, r.power_dw) == (2305, 70_000, 159_737)
    assert (r.energy_wh, r.pf_pct, r.alarm) == (1_234_567, 99, False)
    r = parse(bytes.fromhex("01041409017d0000001f8200013039000001f40063ffff6135"))
    assert (r.current_ma, r.power_dw, r.alarm) == (32_000, 73_602, True)


def test_without_its_register_the_power_factor_follows_from_the_rest():
    for dv, ma, dw, pf in (
        (2300, 10_000, 23_000, 100),
        (2300, 10_000, 11_500, 50),
        (2300, 0, 0, 0),
    ):
        r = parse(frame(registers([dv, ma, 0, dw, 0, 5, 0, 500])))
        assert (r.pf_pct, r.alarm) == (pf, None)


def test_values_the_device_cannot_mean_are_refused():
    good = [2300, 1000, 0, 2300, 0, 1, 0, 500, 100, 0]
    assert refused(registers(good)) == ""
    for at, word in ((0, 0), (0, 499), (0, 3001), (2, 2), (4, 5), (7, 399), (7, 701), (8, 101)):
        bad = good[:]
        bad[at] = word
        assert refused(registers(bad)) == "impossible", (at, word)
    assert refused(registers([0] * 10)) == "impossible"


def test_jumps_that_physics_does_not_allow():
    old = reading()
    for new, passed_ms, why in (
        (reading(), 200, ""),
        (reading(ma=60_000, dw=138_000), 200, ""),  # a load may switch at any moment
        (reading(ma=0, dw=0), 200, ""),
        (reading(dw=30_000), 200, "power"),  # more than volts times amperes
        (reading(dv=1800, dw=18_000), 200, "voltage"),
        (reading(dv=1800, dw=18_000), 5000, ""),
        (reading(dhz=530), 200, "frequency"),
        (reading(wh=999), 200, "energy"),
        (reading(wh=1002), 200, ""),
        (reading(wh=1010), 200, "energy"),
        (reading(wh=1010), 60_000, ""),  # 2300 W for a minute is 38 Wh
    ):
        assert jump(old, new, passed_ms) == why, (why, passed_ms)


def ask(pzem, wire, answer, at):
    wire.sent = b""
    pzem.ask(at)
    sent = wire.sent
    wire.waiting = answer
    return sent, pzem.answer(at + 60)


def test_questions_differ_so_that_a_late_answer_is_told_from_the_right_one():
    wire = Wire()
    pzem = Pzem(Bus(wire), 1)
    asked = []
    for n in range(6):
        wire.sent = b""
        pzem.ask(1000 * n)
        asked.append(wire.sent[5])
        late = registers([2300, 1000, 0, 2300, 0, 1, 0, 500, 100, 0][: asked[n - 1]]) if n else b""
        wire.waiting = frame(late) if n else b""
        assert pzem.answer(1000 * n + 60) is None
    assert asked == [9, 8, 7, 10, 9, 8]


def test_a_question_that_was_not_answered_is_not_put_again_for_a_second():
    wire = Wire()
    pzem = Pzem(Bus(wire, 250), 1)
    asked = []
    for at in (0, 260, 520, 600, 680, 760, 1020, 1250, 1400):
        wire.sent = b""
        pzem.ask(at)
        asked.append(wire.sent[5])
        if at in (0, 760):  # these two are not
            try:
                pzem.answer(at + 250)
                raise AssertionError("answered")
            except ModbusError as e:
                assert e.what == "silence"
        else:
            words = [2300, 1000, 0, 2300, 0, 1, 0, 500, 100, 0][: asked[-1]]
            wire.waiting = frame(registers(words))
            assert pzem.answer(at + 60) is not None
    assert asked == [9, 8, 7, 10, 8, 7, 10, 9, 8]


def test_garbage_and_refusals_may_be_late_answers_so_the_question_stays_open():
    wire = Wire()
    pzem = Pzem(Bus(wire, 250), 1)
    asked = []
    for at in (0, 260, 340, 420, 500, 1020):
        wire.sent = b""
        if not pzem.ask(at):
            asked.append(0)
            continue
        asked.append(wire.sent[5])
        # The late answer to another question, as long as this one's own; then refusals.
        other = frame(registers([2300, 1000, 0, 2300, 0, 1, 0, 500, 100, 0]))
        wire.waiting = other if at == 0 else frame(b"\x01\x84\x04")
        try:
            while pzem.answer(at + 250 if at == 0 else at + 60) is None:
                pass
            raise AssertionError("taken")
        except ModbusError as e:
            assert e.what == ("crc" if at == 0 else "exception")
    # 9, 8, 7 and 10 registers are owed; before the first second is over there is no more to ask.
    assert asked == [9, 8, 7, 10, 0, 9]


def test_a_device_at_an_unknown_address_is_asked_for_it_first():
    wire = Wire()
    bus = Bus(wire)
    pzem = Pzem(bus, GENERAL)
    sent, got = ask(pzem, wire, frame(bytes((GENERAL, 3, 2, 0, 5))), 0)
    assert sent == bytes.fromhex("f8030002000131a3")
    assert got is None
    assert not bus.waiting
    assert pzem.address == 5
    sent, got = ask(pzem, wire, b"", 1000)
    assert sent[:2] == b"\x05\x04"


class Obedient(Wire):
    """A UART with a device that says yes."""

    def write(self, data):
        self.sent = data
        if data[1] in (6, 0x42):
            self.waiting = data
        elif data[1] == 3:
            self.waiting = bytes.fromhex("01030459d80001a954")


def test_settings_of_the_device():
    wire = Obedient()
    pzem = Pzem(Bus(wire), 1)
    assert pzem.settings() == (23_000, 1)
    assert wire.sent == bytes.fromhex("01030001000295cb")
    pzem.set_alarm(2300)
    assert wire.sent == bytes.fromhex("0106000108fcdf8b")
    pzem.reset_energy()
    assert wire.sent == bytes.fromhex("01428011")
    pzem.set_address(5)
    assert wire.sent == bytes.fromhex("010600020005e809")
    assert pzem.address == 5


def test_settings_the_device_has_not_are_refused_before_they_are_sent():
    wire = Obedient()
    pzem = Pzem(Bus(wire), 1)
    for call, value in (
        (pzem.set_alarm, -1),
        (pzem.set_alarm, 25_001),
        (pzem.set_address, 0),
        (pzem.set_address, 248),
    ):
        try:
            call(value)
            said = ""
        except ValueError as e:
            said = str(e)
        assert "not in" in said, value
    assert wire.sent == b""
