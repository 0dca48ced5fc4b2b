"""The interlock matrix: each row's pilot, contactor, latch and way back, as the table of docs/charger.md has them."""

from firmware.charger.evse import Evse, Settings
from firmware.charger.interlocks import INTERLOCKS, NO
from tests.firmware.charger.rig import Rig

# What the matrix must say: row, pilot, contactor, latched.
MATRIX = {
    "ev_not_ready": ("keep", "now", "no"),
    "no_current": ("x1", "soft", "no"),
    "self_test": ("keep", "now", "no"),
    "diode_fault": ("f-x1", "now", "unplug"),
    "pilot_fault": ("x1", "now", "no"),
    "ventilation": ("x1", "now", "no"),
    "residual_current": ("f-x1", "now", "user"),
    "residual_self_test": ("f", "now", "user"),
    "welded_contactor": ("f", "now", "service"),
    "contactor_missing": ("x1", "now", "unplug"),
    "ground_failure": ("x1", "now", "no"),
    "over_current": ("f-x1", "now", "unplug"),
    "over_temperature": ("x1", "hot", "no"),
    "temperature_sensor": ("x1", "soft", "no"),
    "under_voltage": ("x1", "soft", "no"),
    "over_voltage": ("x1", "soft", "no"),
    "over_voltage_far": ("x1", "soft", "no"),
    "frequency": ("x1", "soft", "no"),
    "proximity_fault": ("x1", "now", "unplug"),
    "cable_unrated": ("x1", "never close", "unplug"),
    "starvation": ("x1", "now", "no"),
}


def replug(rig):
    """Unplug, wait out every lock-out, plug in and ask for power again."""
    rig.car = "A"
    rig.run(1000)
    rig.car = "B"
    rig.run(1000)
    rig.car = "C"
    return rig


def closes_again(rig, within_ms):
    return rig.run(within_ms, lambda: rig.out.contactor) <= within_ms and rig.out.contactor


def after_reboot(rig):
    """A new machine with what the old one left in flash."""
    return Rig(rig.settings, dict(rig.out.latches), boot=False)


def test_the_matrix_is_the_one_that_was_agreed():
    assert {row[0]: (row[3], row[4], row[5]) for row in INTERLOCKS} == MATRIX


def test_the_car_leaving_c_opens_within_two_windows_and_five_seconds_pass_before_the_next_close():
    for to in ("B", "A"):
        rig = Rig().charge()
        rig.run(2000)
        rig.car = to
        assert rig.until_open() <= 2 * 20
        assert rig.out.state == to + ("2" if to == "B" else "1")
        assert rig.out.faults == []
        opened = rig.now
        rig.car = "B"
        rig.run(100)
        rig.car = "C"
        assert closes_again(rig, 20_000)
        assert 5000 <= rig.now - opened <= 5600


def test_one_window_of_b_does_not_open():
    rig = Rig().charge()
    rig.run(2000)
    rig.car = "B"
    rig.step()
    rig.car = "C"
    assert rig.until_open(2000) is None


def test_right_after_closing_only_what_lasts_opens():
    rig = Rig().charge()
    rig.car = "B"
    took = rig.until_open()
    assert 60 <= took <= 80, took


def test_no_current_waits_for_the_car_or_six_seconds():
    rig = Rig().charge()
    rig.i.limit_a = 0
    rig.step()
    assert rig.out.duty == 1000
    assert rig.out.state == "C1"
    assert rig.out.contactor
    assert 5900 <= rig.until_open() <= 6100
    rig = Rig().charge()
    rig.i.limit_a = 5
    rig.run(1000)
    assert rig.out.contactor
    rig.car = "B"
    assert rig.until_open() <= 40
    # Back only when there has been enough for a minute.
    rig.i.limit_a = 6
    rig.car = "C"
    rig.run(50_000)
    assert rig.out.duty == 1000
    rig.i.limit_a = 5
    rig.run(1000)
    rig.i.limit_a = 6
    rig.run(59_900)
    assert rig.out.duty == 1000
    assert closes_again(rig, 3000)
    assert rig.out.offer_a == 6


def test_a_first_offer_does_not_wait():
    rig = Rig(limit_a=0)
    rig.car = "B"
    rig.run(1000)
    assert rig.out.state == "B1"
    rig.i.limit_a = 6
    rig.step()
    assert rig.out.state == "B2"
    assert rig.out.duty == 100


def test_diode():
    rig = Rig().charge()
    rig.run(1000)
    rig.diode = False
    took = rig.until_open()
    assert 100 <= took <= 140, took
    assert rig.out.state == "F1"
    rig.run(340)
    assert rig.out.state[1] == "1"
    assert rig.out.duty == 1000
    assert rig.out.faults == ["diode_fault"]
    rig.diode = True
    rig.run(60_000)
    assert rig.out.faults == ["diode_fault"]  # only unplugging ends it
    rig.car = "A"
    rig.run(100)
    assert rig.out.faults == []
    assert closes_again(replug(rig), 40_000)


def test_a_car_without_its_diode_never_gets_power():
    rig = Rig()
    rig.diode = False
    rig.car = "B"
    rig.run(2000)
    rig.car = "C"
    rig.run(5000)
    assert rig.closed_at is None
    assert rig.out.faults == ["diode_fault"]


def test_pilot_shorted():
    rig = Rig().charge()
    rig.run(1000)
    rig.car = "E"
    assert rig.until_open() <= 40
    assert rig.out.duty == 1000
    assert rig.out.faults == ["pilot_fault"]
    rig.car = "C"
    rig.run(10_000)
    assert rig.out.faults == ["pilot_fault"]  # C does not prove that the line is well
    rig.car = "B"
    rig.run(1900)
    assert rig.out.faults
    rig.run(200)
    assert not rig.out.faults
    rig.car = "C"
    rig.run(29_500)
    assert not rig.out.contactor
    assert closes_again(rig, 3000)


def test_a_plug_going_in_as_the_lane_was_held_up_is_no_fault():
    for held_up_ms in (20, 99, 100, 300):
        for letter in ("A", "B"):  # plugging in, and out again
            rig = Rig()
            rig.car = letter
            rig.run(1000)
            rig.line = False  # half a window with the plug and half without
            rig.step(held_up_ms)
            rig.line = True
            rig.car = "B" if letter == "A" else "A"
            rig.run(1000)
            assert rig.out.faults == []
            assert rig.out.state == ("B2" if letter == "A" else "A1")
            rig.line = False
            rig.step(held_up_ms)
            rig.step(100)
            assert rig.out.faults == ["pilot_fault"]  # two windows, and 100 ms


def test_pilot_not_readable():
    rig = Rig().charge()
    rig.run(1000)
    rig.line = False
    assert rig.until_open() <= 120
    assert rig.out.faults == ["pilot_fault"]


def test_ventilation():
    rig = Rig()
    rig.car = "B"
    rig.run(500)
    rig.car = "D"
    rig.run(5000)
    assert rig.closed_at is None
    assert rig.out.state == "D1"
    assert rig.out.faults == ["ventilation"]
    rig.car = "C"
    assert closes_again(rig, 3000)
    assert rig.out.faults == []
    rig.run(500)
    rig.car = "D"
    assert rig.until_open() <= 40
    settings = Settings()
    settings.ventilation = True
    assert Rig(settings).charge("D").out.state == "D2"


def test_residual_current():
    rig = Rig().charge()
    rig.residual = True
    rig.step()
    assert not rig.out.contactor
    assert rig.out.state == "F1"
    rig.residual = False
    rig.run(340)
    assert rig.out.duty == 1000
    replug(rig).run(40_000)
    assert rig.out.faults == ["residual_current"]
    rig = after_reboot(rig)
    rig.run(3000)
    assert rig.out.faults == ["residual_current"]
    rig.i.clear = "residual_current"
    rig.step()
    rig.i.clear = ""
    assert rig.out.faults == []
    assert rig.out.latches == {}
    rig.car = "B"
    rig.run(1000)
    rig.car = "C"
    assert closes_again(rig, 40_000)


def test_residual_current_is_not_cleared_while_it_lasts():
    rig = Rig().charge()
    rig.residual = True
    rig.i.clear = "*"
    rig.run(1000)
    assert rig.out.faults == ["residual_current"]


def test_residual_current_tries_again_four_times_if_it_may():
    settings = Settings()
    settings.residual_retry = True
    rig = Rig(settings).charge()
    for tries in range(1, 5):
        rig.residual = True
        rig.run(40)
        rig.residual = False
        rig.run(899_000)
        assert rig.out.faults == ["residual_current"], tries
        assert closes_again(rig, 40_000), tries
        assert rig.out.latches["residual_tries"] == tries
    rig.residual = True
    rig.run(40)
    rig.residual = False
    rig.run(2_000_000)
    assert rig.out.faults == ["residual_current"]


def test_residual_current_monitor_fails_its_test():
    rig = Rig()
    rig.monitor = False
    rig.car = "B"
    rig.run(500)
    rig.car = "C"
    rig.run(3000)
    assert rig.closed_at is None
    assert rig.out.faults == ["residual_self_test"]
    assert rig.out.state == "F1"
    rig.monitor = True
    rig = after_reboot(rig)
    rig.run(3000)
    assert rig.out.faults == ["residual_self_test"]
    rig.i.clear = "*"
    rig.run(100)
    rig.i.clear = ""
    rig.run(3000)
    assert rig.out.faults == []
    assert rig.out.state == "A1"


def test_a_user_clears_a_failed_test_without_a_restart_and_the_next_test_decides():
    for at_start in (False, True):
        rig = Rig(boot=not at_start)
        rig.monitor = False
        rig.run(2000)
        rig.car = "B"
        rig.run(500)
        rig.car = "C"
        for _ in range(2):  # the second time the monitor is still broken
            rig.run(70_000)
            assert rig.closed_at is None
            assert rig.out.faults == ["residual_self_test"], at_start
            assert rig.out.state == "F1"
            rig.i.clear = "residual_self_test"
            rig.step()
            rig.i.clear = ""
        rig.run(70_000)
        rig.monitor = True
        rig.run(10_000)
        assert rig.out.faults == ["residual_self_test"]  # nobody has said that it is well
        rig.i.clear = "*"
        rig.step()
        rig.i.clear = ""
        assert closes_again(rig, 70_000)
        assert rig.out.faults == []
        assert rig.out.latches == {}


def test_welded_contactor():
    rig = Rig().charge()
    rig.weld = True
    rig.car = "B"
    assert rig.until_open() <= 80
    rig.run(1900)
    assert rig.out.faults == []
    rig.run(200)
    assert rig.out.faults == ["welded_contactor"]
    assert rig.out.state == "F1"
    rig.weld = False
    rig = after_reboot(rig)
    rig.i.clear = "*"
    rig.run(5000)
    assert rig.out.faults == ["welded_contactor"]
    assert rig.out.duty == 0
    rig.i.service = True
    rig.step()
    assert rig.out.faults == []


def test_welded_contactor_seen_by_the_meter_alone():
    settings = Settings()
    settings.mains_sense = False
    rig = Rig(settings)
    rig.i.mains = None
    rig.charge()
    rig.i.currents_ma = [16_000]
    rig.car = "B"
    rig.until_open()
    rig.run(4900)
    assert rig.out.faults == []
    rig.run(200)
    assert rig.out.faults == ["welded_contactor"]


def test_a_meter_that_falls_silent_as_the_contactor_opens_is_no_welded_contactor():
    rig = Rig().charge()
    rig.i.currents_ma = [16_000]
    rig.run(10_000)
    rig.meter = False  # what it said last stays until it is given up
    rig.car = "B"
    rig.until_open()
    rig.run(60_000)
    assert rig.out.faults == []
    rig.meter = True  # and a current it shows then is one
    rig.run(1100)
    assert rig.out.faults == ["welded_contactor"]


def test_contactor_missing():
    rig = Rig()
    rig.stuck_open = True
    rig.charge()
    assert 2900 <= rig.until_open() <= 3100
    assert rig.out.faults == ["contactor_missing"]
    rig.stuck_open = False
    rig.run(60_000)
    assert rig.out.faults == ["contactor_missing"]
    assert closes_again(replug(rig), 40_000)


def test_ground_failure():
    rig = Rig().charge()
    rig.i.pe = False
    assert rig.until_open() <= 60
    assert rig.out.faults == ["ground_failure"]
    rig.i.pe = True
    rig.run(59_900)
    assert rig.out.faults
    rig.run(200)
    assert not rig.out.faults
    assert closes_again(rig, 40_000)


def test_over_current_counts_from_six_seconds_after_the_last_change():
    for offer_a, ma, trips in (
        (16, 18_150, False),
        (16, 18_151, True),
        (6, 7_150, False),
        (6, 7_151, True),
        (32, 35_751, True),
    ):
        rig = Rig(limit_a=offer_a).charge()
        rig.run(10_000)
        rig.i.currents_ma = [ma]
        took = rig.until_open(20_000)
        assert (took is not None) == trips, (offer_a, ma)
        if trips:
            assert 6980 <= took <= 7100
    rig = Rig().charge()
    rig.i.currents_ma = [16_000]
    rig.run(10_000)
    rig.i.limit_a = 8
    took = rig.until_open()
    assert 12_900 <= took <= 13_200, took  # six for the car, seven of its own


def test_over_current_three_times_a_day_is_the_end():
    rig = Rig()
    for times in (1, 2, 3):
        rig.i.currents_ma = [0]
        replug(rig)
        assert closes_again(rig, 60_000), times
        rig.i.currents_ma = [30_000]
        rig.until_open()
        assert rig.out.faults == ["over_current"]
    rig.i.currents_ma = [0]
    replug(rig).run(60_000)
    assert rig.out.faults == ["over_current"]
    rig.car = "A"
    rig.run(1000)
    rig.i.clear = "over_current"
    rig.run(1000)
    assert rig.out.faults == []


def test_temperature_steps_the_offer_down_and_stops():
    rig = Rig().charge()
    rig.i.temperatures_c = [30]
    for c in range(31, 66):
        rig.i.temperatures_c = [c]
        rig.run(1200)
    rig.run(31_000)
    assert rig.out.cap_a == 31
    rig.run(30_000)
    assert rig.out.cap_a == 30
    for c in range(66, 71):
        rig.i.temperatures_c = [c]
        rig.run(1200)
    assert rig.out.offer_a == 6
    assert rig.out.contactor
    for c in range(71, 76):
        rig.i.temperatures_c = [c]
        rig.run(1100)
        if c < 75:
            assert rig.out.contactor
    assert 3700 <= rig.until_open() <= 4000  # five seconds since 75 was reached
    assert rig.out.faults == ["over_temperature"]
    for c in range(74, 58, -1):
        rig.i.temperatures_c = [c]
        rig.run(1200)
    rig.run(57_000)
    assert rig.out.faults == ["over_temperature"]
    rig.run(3000)
    assert rig.out.faults == []
    rig.run(60_000)
    rig.run(31_000)
    assert rig.out.cap_a > 6


def test_broken_temperature_sensor():
    rig = Rig().charge()
    rig.i.temperatures_c = [None]
    rig.run(100)
    assert rig.out.offer_a == 6
    rig.run(59_000)
    assert rig.out.faults == []
    rig.run(1000)
    assert rig.out.faults == ["temperature_sensor"]
    assert 5000 <= rig.until_open() <= 6100


def test_a_leap_of_temperature_is_a_broken_sensor():
    rig = Rig().charge()
    rig.run(2000)
    rig.i.temperatures_c = [50]
    rig.run(1100)
    assert rig.out.cap_a == 6


def test_voltage():
    for dv, name, held in (
        (1954, "under_voltage", 3000),
        (2531, "over_voltage", 3000),
        (2646, "over_voltage_far", 1000),
    ):
        rig = Rig().charge()
        rig.i.voltages_dv = [dv]
        rig.run(held - 40)
        assert rig.out.faults == [], name
        rig.run(60)
        assert rig.out.faults == [name]
        assert rig.out.duty == 1000
        assert rig.out.contactor
        assert 5900 <= rig.until_open() <= 6100
    for dv in (1955, 2530):
        rig = Rig().charge()
        rig.i.voltages_dv = [dv]
        rig.run(10_000)
        assert rig.out.faults == [], dv
    for inside, back in ((2070, True), (2069, False), (2507, True), (2508, False)):
        rig = Rig().charge()
        rig.i.voltages_dv = [1900 if inside < 2300 else 2540]
        rig.run(10_000)
        rig.i.voltages_dv = [inside]
        rig.run(61_000)
        assert (rig.out.faults == []) == back, inside


def test_the_random_delay_after_a_voltage_out_of_range():
    settings = Settings()
    settings.voltage_delay_ms = 30_000
    rig = Rig(settings).charge()
    rig.i.voltages_dv = [1900]
    rig.run(10_000)
    rig.i.voltages_dv = [2300]
    rig.run(89_000)
    assert rig.out.faults == ["under_voltage"]
    rig.run(2000)
    assert rig.out.faults == []


def test_frequency():
    for mhz, trips in ((47_500, False), (47_499, True), (51_500, False), (51_501, True)):
        rig = Rig().charge()
        rig.i.freq_mhz = mhz
        rig.run(3100)
        assert (rig.out.faults == ["frequency"]) == trips, mhz


def test_proximity():
    settings = Settings()
    settings.detachable = True
    for ohm, bad in ((220, False), (263, False), (265, True), (175, True), (-1, True)):
        rig = Rig(settings).charge()
        assert rig.out.cap_a == 32
        rig.i.pp_ohm = ohm
        took = rig.until_open(500)
        assert (took is not None) == bad, ohm
        if bad:
            assert took <= 60
            assert rig.out.faults == ["proximity_fault"]
            rig.i.pp_ohm = 220
            rig.run(10_000)
            assert rig.out.faults == ["proximity_fault"]
            assert closes_again(replug(rig), 40_000)


def test_the_cable_limits_the_offer():
    settings = Settings()
    settings.detachable = True
    settings.max_a = 63
    for ohm, amps in (
        (100, 63),
        (220, 32),
        (680, 20),
        (1500, 13),
        (150, 63),
        (160, 32),
        (350, 20),
        (980, 13),
    ):
        rig = Rig(settings, limit_a=63)
        rig.i.pp_ohm = ohm
        rig.charge()
        assert rig.out.offer_a == amps, ohm
    for ohm in (-1, 59, 4501):
        rig = Rig(settings, limit_a=63)
        rig.i.pp_ohm = ohm
        rig.car = "B"
        rig.run(500)
        rig.car = "C"
        rig.run(5000)
        assert rig.closed_at is None
        assert rig.out.state[1] == "1"
        assert "cable_unrated" in rig.out.faults
        rig.i.pp_ohm = 220
        assert closes_again(replug(rig), 40_000), ohm


def test_starvation():
    rig = Rig().charge()
    rig.step(2001)
    assert not rig.out.contactor
    assert rig.out.faults == ["starvation"]
    rig = Rig().charge()
    rig.step(1999)
    assert rig.out.contactor


def test_every_latch_survives_a_reboot():
    for row in INTERLOCKS:
        if row[5] != NO:
            rig = Rig(latches={row[0]: 1}, boot=False)
            rig.car = "B"
            rig.run(3000)
            rig.car = "C"
            rig.run(60_000)
            assert rig.closed_at is None, row[0]
            assert row[0] in rig.out.faults, row[0]


def test_a_current_no_pilot_can_say_is_refused():
    settings = Settings()
    settings.max_a = 5
    try:
        Evse(settings)
    except ValueError:
        return
    raise AssertionError("5 A taken")


def test_a_converter_that_gives_nothing():
    rig = Rig().charge()
    rig.run(1000)
    rig.i.fresh = False
    assert rig.until_open() <= 120
    assert rig.out.faults == ["pilot_fault"]
