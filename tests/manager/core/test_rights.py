"""The verdict on a card, right by right, and the list a charger keeps."""

import pytest

from manager.core.rights import (
    LIST_PART,
    Card,
    User,
    Verdict,
    card_mark,
    judge,
    list_messages,
    offline_list,
)
from manager.core.site import Window
from shared import protocol

ANA = User("ana", "Ana")
MONDAY_NOON = 12 * 60
NIGHT = Window(22 * 60, 32 * 60, 16)
CARD = Card("00" * 8, "ana")


def verdict(
    user: User = ANA,
    card: Card | None = CARD,
    charger: str = "Charger-1",
    minute: int = MONDAY_NOON,
    used: int = 0,
    busy: str = "",
) -> Verdict:
    return judge(card, {user.id: user}, charger, minute, used, busy)


@pytest.mark.parametrize(
    ("got", "word", "max_a"),
    [
        (verdict(), "accepted", 80),
        (verdict(User("ana", "Ana", max_a=16)), "accepted", 16),
        (verdict(card=None), "unknown", 0),
        (verdict(card=Card("x", "ana", active=False)), "refused", 0),
        (verdict(card=Card("x", "gone")), "refused", 0),
        (verdict(User("ana", "Ana", active=False)), "refused", 0),
        (verdict(User("ana", "Ana", chargers=frozenset({"Charger-2"}))), "refused", 0),
        (verdict(User("ana", "Ana", chargers=frozenset({"Charger-1"}))), "accepted", 80),
        (verdict(User("ana", "Ana", windows=(NIGHT,))), "refused", 0),
        (verdict(User("ana", "Ana", windows=(NIGHT,)), minute=23 * 60), "accepted", 16),
        (verdict(User("ana", "Ana", max_a=10, windows=(NIGHT,)), minute=23 * 60), "accepted", 10),
        (verdict(User("ana", "Ana", quota_wh=5000), used=4999), "accepted", 80),
        (verdict(User("ana", "Ana", quota_wh=5000), used=5000), "quota", 0),
        (verdict(busy="rui"), "busy", 0),
        (verdict(busy="ana"), "accepted", 80),
    ],
)
def test_each_right(got: Verdict, word: str, max_a: int) -> None:
    assert (got.word, got.max_a) == (word, max_a)
    assert bool(got.why) is (word != "accepted")


def test_every_verdict_can_be_sent() -> None:
    words = {f[0]: f[5] for f in protocol.fields(protocol.CARD_VERDICT)}["verdict"]
    assert words.split("|") == ["accepted", "refused", "unknown", "busy", "quota"]


def test_a_cards_mark_hides_its_number_and_depends_on_the_site() -> None:
    number = bytes.fromhex("04a1b2c3d4e5f6")
    mark = card_mark(b"site one", number)
    assert len(mark) == 16
    assert mark == card_mark(b"site one", number)
    assert mark != card_mark(b"site two", number)
    assert number.hex() not in mark
    for wrong in (b"", b"123", b"12345678901"):
        with pytest.raises(ValueError, match="4 to 10 bytes"):
            card_mark(b"s", wrong)


def test_the_offline_list_has_only_cards_a_charger_can_hold_to_their_rights() -> None:
    users = {
        u.id: u
        for u in (
            ANA,
            User("rui", "Rui", active=False),
            User("eva", "Eva", quota_wh=1),
            User("leo", "Leo", windows=(NIGHT,)),
            User("ida", "Ida", chargers=frozenset({"Charger-2"})),
        )
    }
    cards = [Card(u * 4, u) for u in users] + [Card("lost", "ana", active=False), Card("x", "?")]
    assert offline_list(cards, users, "Charger-1") == ("ana" * 4,)
    assert offline_list(cards, users, "Charger-2") == ("ana" * 4, "ida" * 4)


@pytest.mark.parametrize("count", [0, 1, LIST_PART, LIST_PART + 1, 100])
def test_the_list_travels_in_parts_that_fit(count: int) -> None:
    marks = tuple(card_mark(b"s", n.to_bytes(4)) for n in range(count))
    messages = list_messages(marks, 7)
    got: list[str] = []
    for n, message in enumerate(messages):
        whole = {"boot": 2**30 - 1, "seq": 2**30 - 1, "re_boot": 2**30 - 1, "re_seq": 9, **message}
        decoded = protocol.decode(protocol.sign(b"k", "t", protocol.encode(whole)))
        assert (decoded["part"], decoded["parts"], decoded["list"]) == (n, len(messages), 7)
        got += decoded["cards"]
    assert tuple(got) == marks
    with pytest.raises(ValueError, match="holds 2040"):
        list_messages(("m",) * 2041, 1)
