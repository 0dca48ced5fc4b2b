"""The display's pages, line by line. Their pictures: test_display_pictures.py."""

from firmware.common.pzem import Reading
from firmware.energy_meter import display


def reading(ma=3045, dw=7004):
    return Reading(2301, ma, dw, 12_345_678, 500, 100, False, 0)


def test_values_keep_five_letters():
    for value, want in (
        (0, "0.000"),
        (345, "0.345"),
        (9999, "9.999"),
        (12_345, "12.34"),
        (123_456, "123.4"),
        (12_345_678, "12345.6"),
    ):
        assert display.kilo(value, "") == want


def test_every_line_fits_the_display():
    pages = [
        display.values("Counter-1 with a long name", [(reading(), "energy")]),
        display.values("m", [(reading(), ""), (None, ""), (reading(99_999, 230_000), "power")]),
        display.values("m", [(None, "")]),
        display.network("a network's long name", "192.168.100.200", -61, "h" * 40, "x" * 40),
        display.network("home", "0.0.0.0", None, "", ""),  # noqa: S104
        display.faults([]),
        display.faults(["pzem_1", "broker silent", "a", "b", "c", "d", "e"]),
    ]
    for lines in pages:
        assert len(lines) <= display.LINES, lines
        for line in lines:
            assert len(line) <= display.LETTERS, line


def test_one_phase():
    lines = display.values("Counter-1", [(reading(), "")])
    assert lines[2] == "  230.1 V"
    assert lines[3] == "  3.045 A"
    assert lines[4] == "    700 W"
    assert lines[5] == "12345.6 kWh"


def test_a_silent_phase_and_an_implausible_one_are_shown():
    lines = display.values("m", [(reading(), "power"), (None, ""), (reading(), "")])
    assert "!" in lines[1]
    assert "silent" in lines[3]
    assert "!" not in lines[5]
    assert lines[7] == "sum       1401W"
