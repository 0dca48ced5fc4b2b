"""Cards at a real charger: a reader on the bench's I2C, SPI and serial line, a manager that decides, and a list
for when it is away."""

import time
from pathlib import Path

import pytest

from firmware.charger.card_list import hashed
from shared import protocol
from tests.firmware.charger.bench import charger, until
from tests.firmware.energy_meter.rig import KEY

pytestmark = [pytest.mark.board, pytest.mark.broker]
CARD, OTHER = "04a1b2c3d4e5f6", "04aabbccddeeff"
NDEF = (
    b"\xd1\x01\x4fU\x04example.org/tap?picc_data=EF963FF7828658A599F3041510671E88&cmac=94EED9EE65337086"
).hex()
SUN_CARD = "04de5f1eacc040"


@pytest.mark.parametrize("bus", ["i2c", "spi", "uart"])
def test_a_tap_starts_and_stops(
    tmp_path: Path, micropython: str, mosquitto: str, bus: str
) -> None:
    with charger(tmp_path, access="card", nfc=bus) as (bench, manager):
        until(lambda: manager.status["state"] == "A1", 20)
        manager.lease(16, 120_000)
        bench.put(ev="B")
        until(lambda: manager.status["state"] == "B1", words=bench.log)
        assert manager.status["authorised"] == 0
        bench.put(card=CARD.upper())
        until(lambda: manager.of(protocol.CARD_READ), 10, bench.log)
        assert manager.of(protocol.CARD_READ)[0]["card"] == CARD
        manager.say(
            {"code": protocol.CARD_VERDICT, "card": CARD, "verdict": "accepted", "max_a": 10}
        )
        bench.wait(lambda got: got["offer_a"] == 10, 5)
        until(lambda: manager.of(protocol.SESSION_BEGIN), 10)
        assert manager.of(protocol.SESSION_BEGIN)[0]["card"] == CARD
        bench.put(card=None)
        lifted()
        bench.put(card=CARD.upper())
        bench.wait(lambda got: got["offer_a"] == 0, 10)
        until(lambda: manager.of(protocol.SESSION_END), 10)
        assert manager.of(protocol.SESSION_END)[0]["why"] == "card"


def lifted() -> None:
    """Long enough for two searches to find nothing, and for the same card to be a new tap."""
    time.sleep(2.5)


def test_without_the_manager_the_list_decides(
    tmp_path: Path, micropython: str, mosquitto: str
) -> None:
    with charger(tmp_path, access="card", nfc="i2c", failsafe_a=8) as (bench, manager):
        until(lambda: manager.status["state"] == "A1", 20)
        key = bytes.fromhex(KEY)
        for part, card in enumerate((CARD, SUN_CARD)):
            manager.say(
                {
                    "code": protocol.CARD_LIST,
                    "list": 7,
                    "part": part,
                    "parts": 2,
                    "cards": [hashed(key, card)],
                }
            )
        until((bench.flash / "cards").exists)
        bench.put(net={"wifi": 1}, ev="B")
        bench.wait(lambda got: got["state"] == "B1")
        bench.put(card=OTHER.upper())
        lifted()
        lifted()
        assert bench.line["offer_a"] == 0
        bench.put(card=CARD.upper())
        bench.wait(lambda got: got["offer_a"] == 8, 15)
        bench.put(card=None, net={"wifi": 0})
        until(lambda: manager.of(protocol.SESSION_BEGIN), 60, bench.log)
        assert manager.of(protocol.SESSION_BEGIN)[0]["how"] == "list"


def test_a_card_that_cannot_be_copied(tmp_path: Path, micropython: str, mosquitto: str) -> None:
    zero = "00" * 16
    with charger(tmp_path, access="card", nfc="i2c", picc_key=zero, sun_key=zero) as (
        bench,
        manager,
    ):
        until(lambda: manager.status["state"] == "A1", 20)
        bench.put(card=CARD.upper())  # a number alone is not enough here
        lifted()
        assert not manager.of(protocol.CARD_READ)
        bench.put(card=None)
        lifted()
        bench.put(card=SUN_CARD.upper(), card_ndef=NDEF)
        read = until(lambda: manager.of(protocol.CARD_READ), 10, bench.log)[0]
        assert read["card"] == SUN_CARD
        assert (read["picc"], read["cmac"]) == (
            "ef963ff7828658a599f3041510671e88",
            "94eed9ee65337086",
        )
        manager.say({"code": protocol.CARD_VERDICT, "card": SUN_CARD, "verdict": "refused"})
        # The same message again is a copy.
        bench.put(card=None)
        lifted()
        bench.put(card=SUN_CARD.upper(), card_ndef=NDEF)
        lifted()
        assert len(manager.of(protocol.CARD_READ)) == 1


@pytest.mark.parametrize("bus", ["i2c", "uart"])
def test_a_dead_reader_is_told_and_hinders_nothing(
    tmp_path: Path, micropython: str, mosquitto: str, bus: str
) -> None:
    with charger(tmp_path, nfc=bus) as (bench, manager):
        until(lambda: manager.status["state"] == "A1" and not manager.status["faults"], 20)
        manager.lease(16, 120_000)
        bench.charge()
        bench.put(reader=False)
        until(lambda: manager.status["faults"] == ["card_reader"], 60, lambda: manager.status)
        at = len(bench.lines)
        bench.put(ev="B")
        left = bench.wait(lambda got: got["state"] == "B2", since=at)
        opened = bench.wait(lambda got: not got["contactor"], since=at)
        assert opened["t_ms"] - left["t_ms"] <= 100
        bench.put(reader=True)
        until(lambda: not manager.status["faults"], 60)
