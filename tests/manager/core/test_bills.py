"""Bills add up: lines to the bill, sessions to the meters, a credit note to nothing."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manager.core.bills import Bill, BillError, Charged, credit_note, make_bills, money, month_of
from manager.core.tariffs import Quarter, Rate, Tariff, TariffError

LISBON = "Europe/Lisbon"
TARIFF = Tariff(
    "house", rates=(Rate(213_457),), per_session=2500, vat_permille=230, timezone=LISBON
)


def at(*when: int) -> int:
    return int(datetime(*when, tzinfo=ZoneInfo(LISBON)).timestamp())  # type: ignore[misc, arg-type]


def charged(session: int, user: str = "ana", wh: int = 7321, end: int | None = None) -> Charged:
    end = at(2026, 11, 23, 8) if end is None else end
    start = end - 1800
    quarter = start // 900 * 900
    parts = (Quarter(quarter, wh - wh // 3), Quarter(quarter + 900, wh // 3))
    return Charged("Charger-1", session, user, start, end, wh, parts)


def bills(*sessions: Charged, first: int = 1) -> tuple[Bill, ...]:
    return make_bills("2026-11", sessions, [TARIFF], {}, LISBON, first)


def test_one_bill_a_user_in_order_with_numbers_that_go_on() -> None:
    made = bills(charged(1, "rui"), charged(2, "ana"), charged(3, "rui"), first=41)
    assert [(b.number, b.user, len(b.items)) for b in made] == [
        ("2026-000041", "ana", 1),
        ("2026-000042", "rui", 2),
    ]


def test_what_is_asked() -> None:
    (bill,) = bills(charged(1))
    assert bill.net == 15627 + 2500, "7.321 kWh at 0.213457 and 0.25 a session"
    assert bill.taxes == {230: 4200}
    assert bill.total == 18_100 + 4200
    assert money(bill.total) == "2.23"


def test_a_session_stands_on_the_bill_of_the_month_in_which_it_ended_by_the_sites_clock() -> None:
    summer = at(2026, 8, 1) - 60
    assert month_of(summer, LISBON) == "2026-07"
    assert month_of(summer, "Europe/Madrid") == "2026-08"
    assert (
        bills(charged(1, end=at(2026, 12, 1)), charged(2, end=at(2026, 12, 1) - 1))[0]
        .items[0]
        .session
        == 2
    )


@given(
    st.lists(
        st.tuples(st.sampled_from(["ana", "rui", "eva"]), st.integers(0, 80_000)), max_size=25
    )
)
def test_every_watt_hour_is_billed_once(took: list[tuple[str, int]]) -> None:
    sessions = [charged(n, user, wh) for n, (user, wh) in enumerate(took, 1)]
    made = bills(*sessions)
    assert sum(b.energy_wh for b in made) == sum(s.energy_wh for s in sessions)
    assert sorted(i.session for b in made for i in b.items) == [s.session for s in sessions]
    for bill in made:
        assert bill.net == sum(x.amount for i in bill.items for x in i.lines)
        assert bill.total % 100 == 0
        assert abs(bill.total - bill.net - sum(bill.taxes.values())) <= 50


@given(st.lists(st.integers(0, 80_000), min_size=1, max_size=9))
def test_a_credit_note_undoes_a_bill_to_the_last_unit(took: list[int]) -> None:
    (bill,) = bills(*(charged(n, wh=wh) for n, wh in enumerate(took, 1)))
    note = credit_note(bill, "2026-000099")
    assert (note.net, note.energy_wh, note.total) == (-bill.net, -bill.energy_wh, -bill.total)
    assert note.credits == bill.number
    with pytest.raises(BillError, match="itself a credit note"):
        credit_note(note, "2026-000100")


def test_what_does_not_add_up_is_not_billed() -> None:
    with pytest.raises(BillError, match="hold 5 Wh, its meter 6 Wh"):
        Charged("Charger-1", 1, "ana", 0, 900, 6, (Quarter(0, 5),))
    with pytest.raises(BillError, match="ends before it begins"):
        Charged("Charger-1", 1, "ana", 900, 0, 0, ())
    with pytest.raises(BillError, match="session 1 of Charger-1 is given twice"):
        bills(charged(1), charged(1))
    with pytest.raises(TariffError, match="no tariff"):
        make_bills("2026-11", [charged(1)], [], {}, LISBON, 1)
    split = at(2026, 11, 15)
    two = [
        Tariff("a", rates=(Rate(1),), valid_to_s=split),
        Tariff("b", rates=(Rate(1),), valid_from_s=split, currency="CHF"),
    ]
    with pytest.raises(BillError, match="ana has sessions in CHF and EUR"):
        make_bills("2026-11", [charged(1), charged(2, end=at(2026, 11, 3))], two, {}, LISBON, 1)


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0.00"), (12_345_600, "1234.56"), (-100, "-0.01"), (10_000, "1.00")],
)
def test_money_for_people(amount: int, text: str) -> None:
    assert money(amount) == text
    assert money(amount, 4).startswith(text)
