"""The API of people and money, with the real guard: tenants see their own, and change nothing."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from argon2 import PasswordHasher
from pypdf import PdfReader
from starlette.testclient import TestClient

from manager import logins, people
from manager.core.rights import User
from manager.core.site import Charger, Wants
from manager.core.tariffs import Rate, Tariff
from manager.logins import Logins
from manager.people import People
from manager.prices import put_tariffs
from manager.reception import Reception
from manager.run import Manager
from manager.sessions import Sessions
from manager.site_books import SiteBooks
from manager.site_file import Bills, parse
from manager.store import Store
from manager.web.app import app
from tests.manager.test_billing import DEC_2, LISBON, NOV_5, session

GOOD = "correct horse battery"
NOVEMBER = {"from_s": NOV_5 - 5 * 86_400, "to_s": NOV_5 + 26 * 86_400}


@pytest.fixture
def clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Who is logged in -> a client of one site with two tenants, a company and their sessions."""
    monkeypatch.setattr(logins, "_hasher", PasswordHasher(1, 8, 1))
    path = tmp_path / "ievcc.db"
    with people.change(path) as db:
        people.put_user(db, User("firm", "Firm Lda"))
        people.put_user(db, User("ana", "Ana"))
        people.put_user(db, User("rui", "Rui", payer="firm"))
        put_tariffs(db, [Tariff("flat", (Rate(200_000),), vat_permille=230, timezone=LISBON)])
        session(db, 1, "ana", 10_000)
        session(db, 2, "rui", 5000, payer="firm")
        session(db, 3, "", 700)
        db.execute("UPDATE session SET label = '=1+1', purpose = 'private' WHERE id = 2")
        people.import_csv(db, "user,card\nana,04A1B2C3\nrui,04112233\n", path)
    store = Store(path)
    file = parse('[site]\nlimit_a = 30\ntimezone = "Europe/Lisbon"\n')
    busy = Charger("C", 0, "", "main", session_wh=4321, wants=Wants(9000, user="rui"))
    site = replace(file.site, chargers={"C": busy})
    manager = Manager(site, store, file.site, broker=("127.0.0.1", 9), keys={}, open_door=False)
    known = People(path)
    Reception(manager, known, Sessions(path, known, manager.clock.zone))
    manager.site_books = SiteBooks(path, LISBON, Bills("Condominium", ("Rua 7",), "PT 5"))
    store.start()
    manager.logins = Logins(path, store.write, manager.clock.utc_ms, time.monotonic)
    logins.add(path, "boss", "administrator", None, GOOD)
    logins.add(path, "op", "operator", None, GOOD)
    for name in ("ana", "rui", "firm"):
        logins.add(path, name, "tenant", name, GOOD)
    served = app(manager, asyncio.Event(), "192.168.1.2")
    found = {}
    for n, name in enumerate(("boss", "op", "ana", "rui", "firm")):
        client = TestClient(served, base_url="http://pi.local", client=(f"10.0.0.{n + 2}", 5000))
        answer = client.post("/api/login", json={"name": name, "password": GOOD})
        assert answer.status_code == 200, answer.text
        client.headers["X-CSRF-Token"] = answer.json()["csrf"]
        found[name] = client
    yield found
    manager.logins.close()
    store.close()


def test_tenants_see_their_own(clients: dict[str, Any]) -> None:
    def seen(name: str, path: str, key: str, what: str) -> set[object]:
        return {row[what] for row in clients[name].get(path).json()[key]}

    assert seen("ana", "/api/users", "users", "id") == {"ana"}
    assert seen("op", "/api/users", "users", "id") == {"ana", "rui", "firm"}
    assert seen("ana", "/api/cards", "cards", "user") == {"ana"}
    assert seen("ana", "/api/sessions", "sessions", "session") == {1}
    assert seen("rui", "/api/sessions", "sessions", "session") == {2}
    assert seen("firm", "/api/sessions", "sessions", "session") == {2}, "on its account"
    assert seen("op", "/api/sessions", "sessions", "session") == {1, 2, 3}
    assert seen("ana", "/api/sessions?user=rui", "sessions", "session") == {1}
    assert "rui" not in clients["ana"].get("/api/sessions.csv").text


def test_nothing_a_tenant_may_read_names_another(
    clients: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SiteBooks, "now_ms", lambda _: DEC_2 * 1000)
    made = clients["boss"].post("/api/bills", json={"month": "2026-11"}).json()["numbers"]
    mark = {c["user"]: c["mark"] for c in clients["op"].get("/api/cards").json()["cards"]}["rui"]
    described = clients["ana"].get("/api/openapi.json").json()["paths"]
    others = {"kind": "user", "user": "rui", "mark": mark, "device": "C", "number": made[1]}
    asked = {
        path.format_map(others) + question
        for path, methods in described.items()
        if "get" in methods and path != "/api/live"
        for question in ("", *(["?user=rui"] if path.startswith("/api/sessions") else []))
    }
    assert len(asked) > 15
    allowed = 0
    for path in sorted(asked):
        answer = clients["ana"].get(path)
        assert answer.status_code in (200, 400, 403, 404), path
        if answer.status_code == 200:
            allowed += 1
            words = answer.content.lower()
            if path.partition("?")[0].endswith(".xlsx"):
                rows = openpyxl.load_workbook(io.BytesIO(answer.content)).active
                assert rows is not None
                words = str(list(rows.iter_rows(values_only=True))).lower().encode()
            if path not in ("/api", "/api/openapi.json"):
                for name in (b"rui", b"firm lda", mark.encode(), b"=1+1"):
                    assert name not in words, (path, name)
    assert allowed > 8
    (shown,) = clients["rui"].get("/api/state").json()["chargers"]
    assert (shown["user"], shown["session_wh"], shown["wish"]["wh"]) == ("rui", 4321, 9000)
    (shown,) = clients["ana"].get("/api/state").json()["chargers"]
    assert (shown["user"], shown["session_wh"], shown["wish"]) == ("", 0, None)


def test_tenants_change_nothing(clients: dict[str, Any]) -> None:
    ana = clients["ana"]
    rui = {c["user"]: c["mark"] for c in clients["op"].get("/api/cards").json()["cards"]}["rui"]
    asked = [
        ana.post("/api/users", json={"id": "eva"}),
        ana.put("/api/users/ana", json={"max_a": 80}),
        ana.delete("/api/users/rui"),
        ana.post("/api/users/import", content="user\neva\n", headers={"content-type": "text/csv"}),
        ana.post("/api/cards", json={"user": "ana", "number": "04999999"}),
        ana.delete(f"/api/cards/{rui}"),
        ana.put("/api/tariffs", json={"tariffs": []}),
        ana.post("/api/bills", json={"month": "2026-11"}),
        ana.post("/api/bills/2026-000001/credit", json={"why": "dear"}),
        ana.get("/api/reports/user"),
        clients["op"].put("/api/tariffs", json={"tariffs": []}),
        clients["op"].post("/api/bills", json={"month": "2026-11"}),
    ]
    assert [a.status_code for a in asked] == [403] * len(asked)
    assert ana.post(f"/api/cards/{rui}/block").status_code == 404
    own = ana.get("/api/cards").json()["cards"][0]["mark"]
    assert ana.post(f"/api/cards/{own}/block").json() == {"words": f"card {own} is blocked"}


def test_bills(clients: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SiteBooks, "now_ms", lambda _: DEC_2 * 1000)
    boss = clients["boss"]
    made = boss.post("/api/bills", json={"month": "2026-11"}).json()
    assert made == {
        "numbers": ["2026-000001", "2026-000002"],
        "words": "2026-000001: 2.46 EUR, 2026-000002: 1.23 EUR",
    }
    ana = clients["ana"]
    (bill,) = ana.get("/api/bills").json()["bills"]
    assert (bill["number"], bill["total"]) == ("2026-000001", "2.46")
    pdf = ana.get("/api/bills/2026-000001.pdf")
    assert pdf.headers["content-type"] == "application/pdf"
    text = PdfReader(io.BytesIO(pdf.content)).pages[0].extract_text()
    assert "Condominium" in text
    assert "2.46" in text
    assert ana.get("/api/bills/2026-000002.pdf").status_code == 404, "somebody else's"
    assert "2026-000001" in ana.get("/api/bills/2026-000001.csv").text
    (firms,) = clients["firm"].get("/api/bills").json()["bills"]
    assert firms["name"] == "Firm Lda"
    undone = boss.post("/api/bills/2026-000002/credit", json={"why": "wrong month"})
    assert undone.json()["numbers"] == ["2026-000003"]
    assert boss.post("/api/bills/2026-000009/credit", json={"why": "x"}).status_code == 404
    assert boss.post("/api/bills", json={"month": "nov"}).status_code == 400
    assert boss.get("/api/bills/check").json() == {"faults": []}


def test_reports_and_exports(clients: dict[str, Any]) -> None:
    op = clients["op"]

    def report(kind: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = op.get(f"/api/reports/{kind}", params=NOVEMBER).json()["rows"]
        return rows

    by_user = {r["user"]: (r["energy_wh"], r["net"]) for r in report("user")}
    assert by_user == {"": (700, "0.14"), "ana": (10_000, "2.00"), "rui": (5000, "1.00")}
    (charger,) = report("charger")
    assert (charger["charger"], charger["energy_wh"], charger["net"]) == ("C", 15_700, "3.14")
    assert [(r["month"], r["whose"], r["energy_wh"]) for r in report("building")] == [
        ("2026-11", "nobody", 700),
        ("2026-11", "users", 15_000),
    ]
    (fleet,) = report("fleet")
    assert (fleet["payer"], fleet["user"], fleet["card"]) == ("firm", "rui", "=1+1")
    (benefit,) = report("benefit")
    assert (benefit["payer"], benefit["user"], benefit["month"]) == ("firm", "rui", "2026-11")
    assert (benefit["net"], benefit["value"]) == ("1.00", "1.23")
    assert op.get("/api/reports/profit").status_code == 404

    csv = op.get("/api/reports/fleet.csv", params=NOVEMBER).text
    assert "'=1+1" in csv, "no formula out of a name"
    book = openpyxl.load_workbook(io.BytesIO(op.get("/api/sessions.xlsx").content))
    rows = list(book["sessions"].iter_rows(values_only=True))
    head = rows[0]
    assert rows[1][head.index("energy_kwh")] == 10
    assert rows[1][head.index("net")] == 2
    assert rows[1][head.index("begin")].isoformat() == "2026-11-05T00:00:00"
    assert rows[2][head.index("card")] == "=1+1"
    assert book["sessions"].cell(3, head.index("card") + 1).data_type == "s"


def test_a_session_without_a_price_says_why(clients: dict[str, Any]) -> None:
    assert clients["boss"].put("/api/tariffs", json={"tariffs": []}).status_code == 200
    (row,) = clients["ana"].get("/api/sessions").json()["sessions"]
    assert row["net"] is None
    assert row["unpriced"] == "no tariff at 2026-11-05 00:00 UTC"
    (total,) = clients["op"].get("/api/reports/charger").json()["rows"]
    assert (total["net"], total["unpriced"]) == ("0.00", 3)


def test_users_and_cards_are_kept_by_the_api(clients: dict[str, Any]) -> None:
    op = clients["op"]
    assert (
        op.post("/api/users", json={"id": "eva", "windows": "mon 08:00-09:00"}).status_code == 200
    )
    assert "there is a user eva already" in op.post("/api/users", json={"id": "eva"}).text
    assert op.put("/api/users/eva", json={"max_a": 16, "quota_wh": 5}).status_code == 200
    assert op.put("/api/users/eva", json={"quota_wh": None}).status_code == 200
    eva = {u["id"]: u for u in op.get("/api/users").json()["users"]}["eva"]
    assert (eva["max_a"], eva["quota_wh"], eva["windows"]) == (16, None, "mon 08:00-09:00")
    assert op.put("/api/users/nobody", json={"max_a": 16}).status_code == 404
    assert op.put("/api/users/eva", json={"windows": "never"}).status_code == 400
    assert op.post("/api/cards", json={"user": "eva", "number": "04 55 66 77"}).status_code == 200
    text = {"content-type": "text/csv"}
    done = op.post("/api/users/import", content="user,card\nleo,04777777\n", headers=text)
    assert done.json() == {"users": 1, "cards": 1, "words": "1 users and 1 cards taken"}
    wrong = op.post("/api/users/import", content="user,max_a\nleo,1\n", headers=text)
    assert (wrong.status_code, "line 2: max_a" in wrong.text) == (400, True)
    assert op.delete("/api/users/eva").status_code == 200
    assert op.delete("/api/users/ana").json()["words"].startswith("ana has charged here: blocked")


def test_tariffs_are_kept_by_the_api(clients: dict[str, Any]) -> None:
    boss = clients["boss"]
    said = boss.get("/api/tariffs").json()
    assert not said["elsewhere"]
    assert said["tariffs"][0]["rates"][0]["per_kwh"] == "0.2"
    assert boss.put("/api/tariffs", json={"tariffs": said["tariffs"]}).status_code == 200
    twice = boss.put("/api/tariffs", json={"tariffs": said["tariffs"] * 2})
    assert (twice.status_code, "both hold" in twice.text) == (400, True)
    assert boss.get("/api/tariffs").json() == said
