"""Duty and current, and what a window of samples says."""

from firmware.charger import pilot
from firmware.charger.pilot import Calibration, Pilot

# IEC 61851-1 Annex A: what is offered, and the duty in per mille that offers it.
DUTY = (
    (0, 1000),
    (6, 100),
    (7, 117),
    (8, 133),
    (9, 150),
    (10, 167),
    (11, 183),
    (12, 200),
    (13, 217),
    (14, 233),
    (15, 250),
    (16, 267),
    (17, 283),
    (18, 300),
    (19, 317),
    (20, 333),
    (21, 350),
    (22, 367),
    (23, 383),
    (24, 400),
    (25, 417),
    (26, 433),
    (27, 450),
    (28, 467),
    (29, 483),
    (30, 500),
    (31, 517),
    (32, 533),
    (33, 550),
    (34, 567),
    (35, 583),
    (36, 600),
    (37, 617),
    (38, 633),
    (39, 650),
    (40, 667),
    (41, 683),
    (42, 700),
    (43, 717),
    (44, 733),
    (45, 750),
    (46, 767),
    (47, 783),
    (48, 800),
    (49, 817),
    (50, 833),
    (51, 850),
    (52, 850),
    (53, 852),
    (54, 856),
    (55, 860),
    (56, 864),
    (57, 868),
    (58, 872),
    (59, 876),
    (60, 880),
    (61, 884),
    (62, 888),
    (63, 892),
    (64, 896),
    (65, 900),
    (66, 904),
    (67, 908),
    (68, 912),
    (69, 916),
    (70, 920),
    (71, 924),
    (72, 928),
    (73, 932),
    (74, 936),
    (75, 940),
    (76, 944),
    (77, 948),
    (78, 952),
    (79, 956),
    (80, 960),
)
# The 16-bit duty of machine.PWM for some of them.
DUTY_U16 = (
    (6, 6554), (8, 8738), (10, 10923), (13, 14199), (16, 17476), (20, 21845), (24, 26214), (32, 34952),
    (40, 43690), (48, 52428), (51, 55705), (60, 57671), (63, 58457), (70, 60292), (80, 62914),
)  # fmt: skip
# What a car reads, duty in per mille and 0.1 A.
READ = (
    (0, 0), (30, 0), (50, 0), (79, 0), (80, 60), (99, 60), (100, 60), (533, 319), (850, 510),
    (851, 527), (852, 530), (960, 800), (970, 800), (971, 0), (1000, 0),
)  # fmt: skip
BY_VOLTAGE = (
    (12_600, "A"), (10_500, "A"), (10_499, "B"), (9_000, "B"), (7_500, "B"), (7_499, "C"), (6_000, "C"),
    (4_500, "C"), (4_499, "D"), (1_500, "D"), (1_499, "E"), (0, "E"), (-1_500, "E"), (-1_501, ""),
)  # fmt: skip


def raises(call, *args):
    try:
        call(*args)
    except ValueError:
        return True
    return False


def test_every_current_has_its_duty():
    offered = [row[0] for row in DUTY]
    assert offered[0] == 0
    assert offered[1:] == list(range(6, 81))
    for amps, duty in DUTY:
        assert pilot.duty_permille(amps) == duty, amps


def test_every_duty_reads_back_as_its_current():
    for amps, duty in DUTY:
        assert pilot.amps(duty) == (51 if amps == 52 else amps), amps


def test_a_car_never_reads_more_than_half_an_ampere_over_the_offer():
    for amps, duty in DUTY:
        assert pilot.decamps(duty) <= amps * 10 + 2, amps


def test_sixteen_bits_of_duty():
    for amps, u16 in DUTY_U16:
        assert abs(pilot.duty_u16(amps) - u16) <= 1, amps
    assert pilot.duty_u16(0) == 65535
    for amps, duty in DUTY[1:]:
        assert abs(pilot.duty_u16(amps) * 1000 - duty * 65535) <= 65535 * 5 // 10 + 500, amps


def test_what_a_car_reads_at_the_ends_of_each_rule():
    for duty, decamps in READ:
        assert pilot.decamps(duty) == decamps, duty


def test_no_other_current_can_be_offered():
    for amps in (-1, 1, 5, 81, 1000):
        assert raises(pilot.duty_permille, amps)
        assert raises(pilot.duty_u16, amps)
    for duty in (-1, 1001):
        assert raises(pilot.decamps, duty)


def test_the_letter_by_voltage():
    for high_mv, letter in BY_VOLTAGE:
        assert pilot.letter_of(high_mv) == letter, high_mv


def test_a_plateau_on_the_border_does_not_flutter():
    for border, above, below in (
        (10_500, "A", "B"),
        (7_500, "B", "C"),
        (4_500, "C", "D"),
        (1_500, "D", "E"),
    ):
        for off in (-299, 0, 299):
            assert pilot.letter_of(border + off, above) == above
            assert pilot.letter_of(border + off, below) == below
        assert pilot.letter_of(border - 301, above) == below
        assert pilot.letter_of(border + 301, below) == above


def test_calibration_goes_both_ways():
    c = Calibration()
    for mv in (-12_000, -10_000, 0, 3_000, 6_000, 9_000, 12_000):
        assert abs(c.pilot_mv(c.node_mv(mv)) - mv) <= 24
    assert raises(Calibration, 1500, 1400)


def wave(high_mv, low_mv, duty, count=250, step_us=41):
    """Samples of an ideal wave, mV at the ADC."""
    c = Calibration()
    return [c.node_mv(high_mv if (k * step_us) % 1000 < duty else low_mv) for k in range(count)]


def test_every_state_at_every_duty():
    for duty in range(100, 961, 4):
        for letter, high_mv in (("A", 12_000), ("B", 9_000), ("C", 6_000), ("D", 3_000)):
            p = Pilot(Calibration())
            assert p.read(wave(high_mv, -12_000, duty), duty) == letter, (duty, letter)
            assert p.diode
            assert abs(p.high_mv - high_mv) < 50
            p.read(wave(high_mv, -high_mv, duty), duty)
            assert not p.diode or high_mv == 12_000


def test_a_short_to_earth_is_e_and_a_missing_wave_is_nothing():
    p = Pilot(Calibration())
    assert p.read(wave(0, 0, 500), 500) == "E"
    assert p.read(wave(12_000, 12_000, 500), 500) == ""
    assert p.why == "line"
    assert p.read(wave(-12_000, -12_000, 500), 500) == ""
    assert p.why == "line"
    assert p.read(wave(9_000, -12_000, 500), 1000) == ""
    assert p.why == "ragged"
    assert p.read(wave(9_000, 9_000, 500), 1000) == "B"
    assert p.read(wave(-12_000, -12_000, 500), 0) == ""
    assert p.low_mv < -11_900
