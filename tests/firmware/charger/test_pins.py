"""Pin tables: nothing on a pin that moves while the chip boots, is flashed, or belongs to something else."""

from types import SimpleNamespace
from typing import Any

import pytest

from firmware.charger import pins_esp32, pins_esp32_poe

FLASH = {6, 7, 8, 9, 10, 11}  # the chip's own flash
CONSOLE = {1, 3}
INPUT_ONLY = {34, 35, 36, 37, 38, 39}  # and without pull-ups
ADC1 = {32, 33, 34, 35, 36, 37, 38, 39}  # ADC2 stops with Wi-Fi
STRAPPING = {0, 2, 5, 12, 15}
DECIDES_START = {0, 12}  # a wrong level there, and the chip does not start
MOVES_AT_BOOT = {0, 1, 3, 5, 14, 15}  # driven high or pulsed by the ROM
ETHERNET = {12, 17, 18, 19, 21, 22, 23, 25, 26, 27}


def faults(table: Any) -> list[str]:
    """What is wrong with a pin table, in words."""
    found = []
    safety = {"PILOT_PWM": table.PILOT_PWM, "CONTACTOR": table.CONTACTOR}
    outputs = {
        **safety,
        "RCM_TEST": table.RCM_TEST,
        "LED": table.LED,
        "PZEM tx": table.PZEM_UART[1],
    }
    pulled = {
        "RCM_TRIP": table.RCM_TRIP,
        "PE_PROOF": table.PE_PROOF,
        "MAINS_SENSE": table.MAINS_SENSE,
        "BUTTON": table.BUTTON,
    }
    analog = {"PILOT_ADC": table.PILOT_ADC, "PROXIMITY_ADC": table.PROXIMITY_ADC}
    analog |= {f"TEMPERATURE_ADC {k}": pin for k, pin in enumerate(table.TEMPERATURE_ADC)}
    always = {**outputs, **pulled, **analog, "PZEM rx": table.PZEM_UART[2]}
    buses = {"NFC_I2C": table.NFC_I2C, "NFC_SPI": table.NFC_SPI, "NFC_UART": table.NFC_UART}
    for name, pin in always.items():
        if pin in FLASH | CONSOLE | DECIDES_START:
            found.append(f"{name} on {pin}: flash, console or start")
    for name, pin in safety.items():
        if pin in STRAPPING | MOVES_AT_BOOT:
            found.append(f"{name} on {pin}: moves at boot")
    if table.RCM_TEST in MOVES_AT_BOOT:
        found.append(f"RCM_TEST on {table.RCM_TEST}: moves at boot")
    for name, pin in outputs.items():
        if pin in INPUT_ONLY:
            found.append(f"{name} on {pin}: an input only")
    for name, pin in pulled.items():
        if pin in INPUT_ONLY:
            found.append(f"{name} on {pin}: no pull-up, a broken wire would read as well")
    for name, pin in analog.items():
        if pin is not None and pin not in ADC1:
            found.append(f"{name} on {pin}: not on ADC1")
    for name, bus in buses.items():
        # One of the buses is fitted: it may share pins with the other buses, with nothing else.
        used = [pin for pin in always.values() if pin is not None] + list(bus[1:] if bus else ())
        if len(used) != len(set(used)):
            found.append(f"{name}: a pin is used twice")
        if set(bus[1:] if bus else ()) & (FLASH | CONSOLE | DECIDES_START):
            found.append(f"{name}: flash, console or start")
        if table.LAN is not None and set(used) & ETHERNET:
            found.append(f"{name}: Ethernet's pins {sorted(set(used) & ETHERNET)}")
    return found


@pytest.mark.parametrize("table", [pins_esp32, pins_esp32_poe], ids=["esp32", "esp32_poe"])
def test_the_pin_tables_are_safe(table: Any) -> None:
    assert faults(table) == []


# A change to the generic table, and a word of what must be said about it.
BAD = (
    ({"CONTACTOR": 0}, "start"), ({"CONTACTOR": 2}, "boot"), ({"CONTACTOR": 5}, "boot"), ({"CONTACTOR": 12}, "start"),
    ({"CONTACTOR": 15}, "boot"), ({"CONTACTOR": 14}, "boot"), ({"CONTACTOR": 6}, "flash"), ({"CONTACTOR": 34}, "input"),
    ({"PILOT_PWM": 5}, "boot"), ({"PILOT_PWM": 39}, "input"), ({"PILOT_ADC": 4}, "ADC1"), ({"RCM_TEST": 14}, "boot"),
    ({"RCM_TRIP": 35}, "pull-up"), ({"PE_PROOF": 34}, "pull-up"), ({"MAINS_SENSE": 27}, "twice"),
    ({"LED": 1}, "console"),
    ({"NFC_I2C": (0, 22, 27)}, "twice"), ({"LAN": (23, 18, 12, 0)}, "Ethernet"),
)  # fmt: skip


@pytest.mark.parametrize(("change", "word"), BAD)
def test_a_bad_table_is_refused(change: dict[str, Any], word: str) -> None:
    table = SimpleNamespace(**{k: v for k, v in vars(pins_esp32).items() if k.isupper()} | change)
    assert any(word in fault for fault in faults(table)), faults(table)
