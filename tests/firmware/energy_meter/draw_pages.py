"""(MicroPython) Draws the display's pages through the ssd1306 driver; prints each as a PBM."""

import sys

sys.path[:0] = sys.argv[1:]

import ssd1306  # noqa: E402

from firmware.common.pzem import Reading  # noqa: E402
from firmware.energy_meter import display  # noqa: E402


class Glass:
    """An SSD1306 on I2C: what is in its memory is what is seen."""

    def __init__(self):
        self.memory = bytearray(1024)
        self.commands = []

    def writeto(self, address, data):
        assert address == 0x3C
        self.commands.append(data[1])

    def writevto(self, address, parts):
        assert address == 0x3C
        assert parts[0] == b"\x40"
        self.memory[:] = parts[1]


def picture(glass):
    rows = []
    for y in range(64):
        page, bit = y // 8 * 128, 1 << y % 8
        rows.append("".join(["1" if glass.memory[page + x] & bit else "0" for x in range(128)]))
    return rows


def reading(ma, dw, wh=1_234_567):
    return Reading(2301, ma, dw, wh, 500, 98, False, 0)


PAGES = {
    "one_phase": display.values("Counter-1", [(reading(3045, 7004), "")]),
    "implausible": display.values("Counter-1", [(reading(3045, 90_000), "power")]),
    "silent": display.values("Counter-1", [(None, "")]),
    "three_phases": display.values(
        "Counter-1",
        [(reading(16_000, 36_800), ""), (None, ""), (reading(345, 790), "voltage")],
    ),
    "network": display.network("home", "192.168.1.17", -61, "manager.lan", "registered"),
    "offline": display.network("home", "0.0.0.0", None, "192.168.1.2", "silent"),  # noqa: S104
    "no_faults": display.faults([]),
    "faults": display.faults(["pzem_1", "broker silent"]),
}

glass = Glass()
oled = ssd1306.SSD1306_I2C(128, 64, glass)
for name in sorted(PAGES):
    display.draw(oled, PAGES[name])
    oled.show()
    print(name)
    for row in picture(glass):
        print(row)
