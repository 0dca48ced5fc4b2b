"""Bills out of the store: numbers without a gap, nothing twice, undone only by a credit note."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from manager import beside, billing, people, store
from manager.billing import BillingError
from manager.core.rights import User
from manager.core.tariffs import Rate, Spot, Tariff
from manager.prices import put_spot, put_tariffs

LISBON = "Europe/Lisbon"
NOV_5 = 1_793_836_800  # 2026-11-05 00:00 UTC, a quarter hour begins
DEC_2 = NOV_5 + 27 * 86_400
TARIFF = Tariff("flat", (Rate(200_000),), per_session=2500, vat_permille=230, timezone=LISBON)


def session(
    db: sqlite3.Connection, n: int, user: str, wh: int, at_s: int = NOV_5, payer: str = ""
) -> None:
    db.execute(
        "INSERT INTO session (id, charger, era, number, user, payer, how, begin_ms, from_wh,"
        " end_ms, energy_wh, duration_s, why, seen_ms) VALUES (?1, 'C', 0, ?1, ?2, ?5, 'card',"
        " ?3, NULL, ?3 + 600000, ?4, 600, 'card', ?3)",
        (n, user, at_s * 1000, wh, payer),
    )
    db.execute(
        "INSERT INTO quarter (session, start_s, energy_wh, solar_mwh, charging_ms, idle_ms)"
        " VALUES (?, ?, ?, 0, 600000, 0)",
        (n, at_s // 900 * 900, wh),
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ievcc.db"
    with people.change(path) as db:
        for name in ("ana", "rui"):
            people.put_user(db, User(name, name.title()))
        put_tariffs(db, [TARIFF])
        session(db, 1, "ana", 10_000)
        session(db, 2, "rui", 5000)
        session(db, 3, "", 700)
        session(db, 4, "ana", 1000, DEC_2)
    return path


def make(
    path: Path, month: str = "2026-11", now_s: int = DEC_2, *, early: bool = False
) -> list[str]:
    with beside.change(path) as db:
        made = billing.make(db, month, LISBON, now_s * 1000, early=early)
        return [b.number for b in made]


def check(path: Path) -> list[str]:
    with beside.look(path) as db:
        return billing.check(db)


def test_a_month_is_billed_once(path: Path) -> None:
    assert make(path) == ["2026-000001", "2026-000002"]
    assert make(path) == []
    with beside.look(path) as db:
        newest, first = billing.bills_in(db)
        assert (first.name, first.net, first.total) == ("Ana", 22_500, 27_700)  # 2.25 + 0.52
        assert (newest.user, newest.total) == ("rui", 15_400)  # 1.25 + 0.29: each rounded to cents
        bill = billing.bill_in(db, "2026-000001")
        assert [i.session for i in bill.items] == [1]
    assert check(path) == []


def test_what_comes_late_is_on_a_further_bill(path: Path) -> None:
    make(path)
    with beside.change(path) as db:
        session(db, 9, "ana", 300)
    assert make(path) == ["2026-000003"]
    assert check(path) == []


def test_a_credit_note_has_a_number_of_its_own_and_frees_the_sessions(path: Path) -> None:
    make(path)
    with beside.change(path) as db:
        note = billing.credit(db, "2026-000001", "wrong tariff", DEC_2 * 1000)
        assert (note.number, note.total) == ("2026-000003", -27_700)
        put_tariffs(db, [Tariff("right", (Rate(100_000),), timezone=LISBON)])
    assert make(path) == ["2026-000004"]
    with beside.look(path) as db:
        kept = {k.number: k for k in billing.bills_in(db, "ana")}
        assert kept["2026-000001"].undone_by == "2026-000003"
        assert kept["2026-000004"].total == 10_000
        assert sum(k.net for k in kept.values()) == kept["2026-000004"].net
    assert check(path) == []


@pytest.mark.parametrize(
    ("number", "why", "words"),
    [
        ("2026-000009", "x", "no bill 2026-000009"),
        ("2026-000003", "x", "itself a credit note"),
        ("2026-000001", "x", "undone by 2026-000003 already"),
        ("2026-000002", " ", "say why"),
    ],
)
def test_what_cannot_be_credited(path: Path, number: str, why: str, words: str) -> None:
    make(path)
    with beside.change(path) as db:
        billing.credit(db, "2026-000001", "wrong", DEC_2 * 1000)
    with beside.change(path) as db, pytest.raises(BillingError, match=words):
        billing.credit(db, number, why, DEC_2 * 1000)
    assert check(path) == []


def test_a_bill_that_cannot_be_made_takes_no_number(path: Path) -> None:
    spot = Tariff("spot", spot=Spot(), timezone=LISBON)
    with beside.change(path) as db:
        put_tariffs(db, [spot])
    with pytest.raises(BillingError, match="no day-ahead price for 2026-11-05 00:00 UTC"):
        make(path)
    assert check(path) == []
    with beside.change(path) as db:
        put_spot(db, "PT", {NOV_5: 50_000})
    assert make(path) == ["2026-000001", "2026-000002"]


@pytest.mark.parametrize("month", ["2026-12", "2027-01", "2026-13", "november"])
def test_a_month_that_is_not_over_or_none(path: Path, month: str) -> None:
    with pytest.raises(BillingError):
        make(path, month)


def test_early_bills_are_asked_for(path: Path) -> None:
    assert make(path, "2026-12", DEC_2 + 3600, early=True) == ["2026-000001"]


def test_each_year_has_its_own_series(path: Path) -> None:
    with beside.change(path) as db:
        session(db, 20, "rui", 100, NOV_5 + 70 * 86_400)
    assert make(path, "2027-01", NOV_5 + 100 * 86_400) == ["2027-000001"]
    assert make(path) == ["2026-000001", "2026-000002"]


def test_the_clouds_people_are_billed_by_the_clouds_tariffs_where_none_are_kept_here(
    path: Path,
) -> None:
    cloud = (Tariff("cloud", (Rate(300_000),), timezone=LISBON),)
    eva = User("cloud:7", "Eva")
    with beside.change(path) as db:
        session(db, 40, "cloud:7", 1000)
        own = billing.make(
            db, "2026-11", LISBON, DEC_2 * 1000, elsewhere=cloud, others={eva.id: eva}
        )
        assert {i.tariff for b in own for i in b.items} == {"flat"}, "what is here goes first"
        for bill in own:
            billing.credit(db, bill.number, "again", DEC_2 * 1000)
        put_tariffs(db, [])
        again = billing.make(
            db, "2026-11", LISBON, DEC_2 * 1000, elsewhere=cloud, others={eva.id: eva}
        )
        assert [(b.user, b.total) for b in again][1] == ("cloud:7", 3000)
        assert [k.name for k in billing.bills_in(db, "cloud:7")] == ["Eva"] * 3
    assert check(path) == []


def test_whoever_pays_for_others_gets_the_bill(path: Path) -> None:
    with beside.change(path) as db:
        session(db, 30, "rui", 2000, payer="ana")
    make(path)
    with beside.look(path) as db:
        assert [i.session for i in billing.bill_in(db, "2026-000001").items] == [1, 30]


@pytest.mark.parametrize(
    "statement", ["UPDATE bill SET total = 0", "DELETE FROM bill WHERE n = 2"]
)
def test_nobody_changes_a_bill(path: Path, statement: str) -> None:
    make(path)
    with pytest.raises(store.StoreError, match="a bill is never"), beside.change(path) as db:
        db.execute(statement)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE session SET energy_wh = 9 WHERE id = 1", "its quarter hours hold 10000"),
        ("UPDATE quarter SET energy_wh = 9 WHERE session = 2", "its quarter hours hold 9"),
        ("UPDATE session SET bill = NULL WHERE id = 1", "is on bill 2026-000001 and marked None"),
        ("UPDATE session SET bill = '2026-000002' WHERE id = 3", "session 3 is on bill None"),
        (
            "UPDATE session SET from_wh = CASE id WHEN 1 THEN 100 ELSE 9000 END WHERE id < 3",
            "session 1 of C took 10000 Wh, but the meter went from 100 to 9000 Wh",
        ),
    ],
)
def test_what_does_not_add_up_is_found(path: Path, statement: str, words: str) -> None:
    make(path)
    with beside.change(path) as db:
        db.execute(statement)
    assert any(words in fault for fault in check(path)), check(path)


def test_a_missing_number_is_found(path: Path) -> None:
    make(path)
    with beside.change(path) as db:
        db.execute("DROP TRIGGER bill_is_kept")
        db.execute("UPDATE session SET bill = NULL WHERE id = 1")
        db.execute("DELETE FROM bill WHERE n = 1")
    assert check(path) == ["series 2026 has 1 numbers from 2 to 2"]


def test_an_error_in_the_middle_leaves_no_half_of_a_bill(path: Path) -> None:
    def fail() -> None:
        with beside.change(path) as db:
            assert billing.make(db, "2026-11", LISBON, DEC_2 * 1000)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with beside.look(path) as db:
        assert billing.bills_in(db) == []
        assert db.execute("SELECT count(*) FROM session WHERE bill IS NOT NULL").fetchone() == (0,)
    assert make(path) == ["2026-000001", "2026-000002"]
