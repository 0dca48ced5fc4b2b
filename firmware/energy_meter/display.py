"""The pages of the OLED: measured values, network, faults; 16 letters a line, 8 lines."""

from firmware.common.ticks import ticks_diff

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass

_TURN_MS = 4000
_REDRAW_MS = 1000
LETTERS, LINES = 16, 8


def kilo(value: int, unit: str) -> str:
    """A value in thousandths of a unit, in five letters: 0.345, 12.34, 123.4."""
    whole = value // 1000
    if whole < 10:
        return "%d.%03d" % (whole, value % 1000) + unit
    if whole < 100:
        return "%d.%02d" % (whole, value % 1000 // 10) + unit
    return "%d.%d" % (whole, value % 1000 // 100) + unit


def values(name: str, phases: "list[Any]") -> "list[str]":
    """What is measured: one phase in large words, or a block of two lines for each of more.
    A phase is (reading or None, suspect)."""
    lines = [name[:LETTERS], ""]
    if len(phases) == 1:
        r, suspect = phases[0]
        if r is None:
            return lines + ["", "  no reading", "", "PZEM silent"]
        return lines + [
            "%5d.%d V" % (r.voltage_dv // 10, r.voltage_dv % 10),
            "%7s" % kilo(r.current_ma, "") + " A",
            "%7d W" % ((r.power_dw + 5) // 10),
            "%7s" % kilo(r.energy_wh, "") + " kWh",
            "%3d.%d Hz  pf%3d" % (r.freq_dhz // 10, r.freq_dhz % 10, r.pf_pct),
            "  implausible!" if suspect else "",
        ]
    lines = lines[:1]
    total = 0
    for i in range(len(phases)):
        r, suspect = phases[i]
        if r is None:
            lines += ["L%d silent" % (i + 1), ""]
            continue
        total += r.power_dw
        lines.append("L%d%s %7s" % (i + 1, "!" if suspect else " ", kilo(r.current_ma, "A")))
        lines.append("  %4dV %6dW" % ((r.voltage_dv + 5) // 10, (r.power_dw + 5) // 10))
    return lines + ["sum   %8dW" % ((total + 5) // 10)]


def network(ssid: str, address: str, rssi: int | None, broker: str, state: str) -> "list[str]":
    """Where the meter is and whether the manager hears it."""
    where = ["Network", ssid[:LETTERS], address]
    where.append("%d dBm" % rssi if rssi is not None else "")
    return where + ["", "Manager", broker[-LETTERS:], state[:LETTERS]]


def faults(names: "list[str]") -> "list[str]":
    """What is wrong, in a word each."""
    return ["Faults", ""] + ([name[:LETTERS] for name in names[:6]] if names else ["  none"])


class Display:
    """Turns the pages on an SSD1306 (128 x 64), or on anything with fill, text and show."""

    def __init__(self, oled: "Any") -> None:
        self._oled = oled
        self._page = 0
        self._turned: int | None = None
        self._drawn: int | None = None

    def due(self, now_ms: int, quiet: bool) -> bool:
        """Is it time to draw? Late enough also when this is no `quiet` moment."""
        if self._drawn is None:
            return True
        return bool(ticks_diff(now_ms, self._drawn) >= (1 if quiet else 2) * _REDRAW_MS)

    def step(self, now_ms: int, pages: "list[Any]") -> None:
        """Draw the page whose turn it is. `pages`: functions that give lines; a page that gives
        none is left out. Takes some 30 ms of I2C on an ESP8266."""
        if self._turned is None or ticks_diff(now_ms, self._turned) >= _TURN_MS:
            self._page = 0 if self._turned is None else (self._page + 1) % len(pages)
            self._turned = now_ms
        self._drawn = now_ms
        lines = pages[self._page]()
        try:
            draw(self._oled, lines)
            self._oled.show()
        except OSError:
            pass  # the display was unplugged: the meter goes on


def draw(oled: "Any", lines: "list[str]") -> None:
    """Put the lines into the picture; the first one is a title."""
    oled.fill(0)
    for i in range(min(len(lines), LINES)):
        if i == 0:
            oled.fill_rect(0, 0, 128, 8, 1)
        oled.text(lines[i], 0, 8 * i, 1 if i else 0)
