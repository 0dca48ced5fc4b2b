"""From the tap of a card to the bill: a car at the boards' own firmware, the manager, real time."""

from __future__ import annotations

import contextlib
import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest

from manager import store
from manager.process import Child
from tests.live.garage import Garage
from tests.live.running import LateError
from tests.live.running import until as until_late

pytestmark = [pytest.mark.board, pytest.mark.broker, pytest.mark.timeout(400)]

ANA, STRANGER = "04A1B2C3D4E5F6", "04AABBCCDDEEFF"
NAME = "Charger-1"
PER_KWH, PER_SESSION, VAT = Decimal("31.415926"), Decimal("0.25"), Decimal("0.23")


def until(what: str, ask: Callable[[], Any], within_s: float = 60.0) -> Any:
    """A computer that is busy takes its time."""
    return until_late(what, ask, within_s)


class CardGarage(Garage):
    """One charger that wants a card, and goes to 8 A when it hears nobody."""

    def start_board(self, name: str, flash: str = "", **changes: Any) -> Child:
        if name.startswith("Charger"):
            changes |= {"access": "card", "nfc": "i2c", "failsafe_a": 8}
        return super().start_board(name, flash, **changes)

    def ask(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=10) as answer:
            data = answer.read()
            return json.loads(data) if path.rpartition(".")[2] not in ("pdf", "csv") else data

    def put(self, path: str, body: object) -> Any:
        request = urllib.request.Request(
            f"{self.url}{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
            method="PUT",
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def tap(self, card: str, what: str, ask: Callable[[], Any]) -> Any:
        """Hold a card to the reader until this is so; again, if a busy reader missed it."""
        for _ in range(3):
            self.cables[NAME].put(card=card)
            with contextlib.suppress(LateError):
                return until(what, ask, 25)
            self.lift()
        raise LateError(f"{what}; {self.events()}")

    def lift(self) -> None:
        """Long enough for the reader to see that nothing lies there, and that it is a new tap."""
        self.cables[NAME].put(card=None)
        time.sleep(2.6)

    def sessions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("/api/sessions")["sessions"]
        return found

    def events(self) -> str:
        return " | ".join(e["words"] for e in self.state()["events"])


@pytest.fixture
def garage(tmp_path: Path, mosquitto: str, micropython: str) -> Iterator[CardGarage]:
    settings = 'update_interval_s = 0\nworst_house_a = 20\ntimezone = "Europe/Lisbon"'
    building = CardGarage(tmp_path, settings, "grid", chargers=1)
    building.house_a = 1.0
    yield building
    building.stop()


def owed(*energies_wh: int) -> Decimal:
    """What a bill of these sessions asks: each line rounded to 1/10000, tax and net to the cent."""
    cent, unit = Decimal("0.01"), Decimal("0.0001")
    net = sum(
        (
            (Decimal(wh) / 1000 * PER_KWH).quantize(unit, ROUND_HALF_UP) + PER_SESSION
            for wh in energies_wh
        ),
        Decimal(0),
    )
    return net.quantize(cent, ROUND_HALF_UP) + (net * VAT).quantize(cent, ROUND_HALF_UP)


def test_from_the_tap_to_the_bill(garage: CardGarage) -> None:
    garage.put(
        "/api/tariffs",
        {
            "tariffs": [
                {
                    "name": "steep",
                    "vat_percent": "23",
                    "per_session": str(PER_SESSION),
                    "rates": [{"per_kwh": str(PER_KWH)}],
                }
            ]
        },
    )
    garage.post("/api/users", {"id": "ana", "name": "Ana", "max_a": 10})
    garage.post("/api/cards", {"user": "ana", "number": ANA})
    kept = garage.folder / f"{NAME}.flash" / "cards"
    until("the list for when the manager is away has arrived", kept.exists)

    # Plugged in, and nothing without a card; a stranger's is not taken.
    garage.plug(NAME, "C")
    refused = "was not accepted"
    garage.tap(STRANGER, "the stranger is refused", lambda: refused in garage.events())
    assert not garage.cables[NAME].seen["contactor"]
    assert STRANGER.lower() not in garage.events(), "a card's number is shown nowhere"
    garage.lift()

    # Hers is, at her limit and for her reason.
    garage.tap(ANA, "the car charges", lambda: garage.offers() == (10,))
    until("it is said why", lambda: "user's rights" in garage.charger(NAME)["reason"]["words"])
    (running,) = until("the session is listed", garage.sessions)
    assert (running["user"], running["allowed_by"], running["end_s"]) == ("ana", "card", None)
    garage.lift()
    until("some energy is taken", lambda: garage.sessions()[0]["energy_wh"] >= 3)
    garage.tap(ANA, "her tap ends it", lambda: garage.sessions()[0]["end_s"] is not None)
    waiting = garage.folder / f"{NAME}.flash" / "sessions"
    until("the charger was told that it is on disk", lambda: not list(waiting.iterdir()))
    garage.plug(NAME, "A")
    garage.lift()

    # The meter's own counter says the same as the session, and the bill follows from it.
    (first,) = garage.sessions()
    counted = store.read(
        garage.folder / "ievcc.db",
        "SELECT max(energy_wh) - min(energy_wh) FROM reading WHERE device = ?",
        (NAME,),
    )[0][0]
    assert abs(first["energy_wh"] - counted) <= 1  # readings and session end a moment apart
    month = time.strftime("%Y-%m")
    made = garage.post("/api/bills", {"month": month, "early": True})
    (bill,) = garage.ask("/api/bills")["bills"]
    assert made["numbers"] == [bill["number"]] == [f"{month[:4]}-000001"]
    assert Decimal(bill["total"]) == owed(first["energy_wh"])
    assert garage.ask(f"/api/bills/{bill['number']}.pdf").startswith(b"%PDF-")

    # The manager dies; the charger's list knows her. Started anew it hears of it, once.
    garage.manager.kill()
    garage.plug(NAME, "C")
    garage.tap(ANA, "the car charges at the failsafe", lambda: garage.offers() == (8,))
    garage.lift()
    garage.start_manager()
    until("the session is told of", lambda: len(garage.sessions()) == 2)
    until("some energy", lambda: garage.sessions()[1]["energy_wh"] >= 2)
    garage.plug(NAME, "A")
    second = until(
        "it has ended", lambda: garage.sessions()[1]["end_s"] and garage.sessions()[1], 20
    )
    assert (second["user"], second["allowed_by"]) == ("ana", "list")
    until("the charger was told", lambda: not list(waiting.iterdir()))
    garage.post("/api/bills", {"month": month, "early": True})
    newest = garage.ask("/api/bills")["bills"][0]
    assert newest["number"] == f"{month[:4]}-000002"
    assert Decimal(newest["total"]) == owed(second["energy_wh"])
    assert garage.ask("/api/bills/check")["faults"] == []
