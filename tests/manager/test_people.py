"""Users, cards and rights as they are kept, written in words, and taken from CSV."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manager import beside, people
from manager.cloud_copy import CloudCopy, sign
from manager.core.rights import Card, User, offline_list
from manager.core.site import Window
from manager.outbox import card_hash
from manager.people import (
    DAYS,
    WEEK,
    People,
    PeopleError,
    import_csv,
    user_from_plain,
    user_to_plain,
    windows_from_text,
    windows_to_text,
)
from manager.store import StoreError

ANA = "04A1B2C3D4E5F6"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ievcc.db"


def taken(path: Path, text: str) -> tuple[int, int]:
    with people.change(path) as db:
        return import_csv(db, text, path)


def minutes(windows: tuple[Window, ...], minute: int) -> int:
    return max((w.max_a for w in windows if w.holds(minute)), default=0)


@pytest.mark.parametrize(
    ("text", "inside", "outside", "max_a"),
    [
        (
            "mon-fri 22:00-08:00 16 A",
            [22 * 60, 1440 + 1, 4 * 1440 + 1439, 5 * 1440],
            [12 * 60, 6 * 1440],
            16,
        ),
        ("sun 22:00-08:00", [6 * 1440 + 22 * 60, 0, 479], [480, 1440], 80),
        ("sat,sun 00:00-24:00 10", [5 * 1440, 6 * 1440 + 1439], [0, 5 * 1440 - 1], 10),
        ("fri-mon 08:00-09:00", [480, 4 * 1440 + 480], [1440 + 480], 80),
    ],
)
def test_windows_in_words(text: str, inside: list[int], outside: list[int], max_a: int) -> None:
    windows = windows_from_text(text)
    assert [minutes(windows, m) for m in inside] == [max_a] * len(inside)
    assert [minutes(windows, m) for m in outside] == [0] * len(outside)


WINDOWS = st.builds(
    "{} {:02d}:{:02d}-{:02d}:{:02d} {} A".format,
    st.lists(st.sampled_from(DAYS), min_size=1, unique=True).map(",".join),
    st.integers(0, 11),
    st.integers(0, 59),
    st.integers(12, 23),
    st.integers(0, 59),
    st.integers(6, 80),
)


@given(st.lists(WINDOWS, max_size=3).map("; ".join), st.integers(0, WEEK - 1))
def test_windows_said_again_are_the_same(text: str, minute: int) -> None:
    once = windows_from_text(text)
    assert minutes(windows_from_text(windows_to_text(once)), minute) == minutes(once, minute)


@pytest.mark.parametrize(
    "text",
    [
        "always",
        "mon 8-9",
        "mon 25:00-26:00",
        "xyz 08:00-09:00",
        "mon 08:00-08:00",
        "mon 08:00-09:00 5 A",
    ],
)
def test_windows_that_cannot_be(text: str) -> None:
    with pytest.raises(PeopleError):
        windows_from_text(text)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"id": "Ana Maria"}, "a user's id is"),
        ({"id": "cloud:3"}, "a user's id is"),
        ({"id": "ana", "max_a": 5}, "max_a: 6 to 80 A"),
        ({"id": "ana", "max_a": True}, "max_a"),
        ({"id": "ana", "priority": 10}, "priority"),
        ({"id": "ana", "quota_wh": -1}, "quota_wh"),
        ({"id": "ana", "chargers": ["a/b"]}, "chargers"),
        ({"id": "ana", "name": "x" * 81}, "name"),
        ({"id": "ana", "active": 1}, "active"),
        ({"id": "ana", "password": "x"}, "not known of users"),
    ],
)
def test_users_that_cannot_be(said: dict[str, object], words: str) -> None:
    with pytest.raises(PeopleError, match=words):
        user_from_plain(said)


def test_a_user_is_kept_whole(path: Path) -> None:
    user = User(
        "ana", "Ana", True, 16, 2, windows_from_text("mon 08:00-09:00 10"), 120_000,
        frozenset({"C-1"}), frozenset({"C-2"}), "firm", "ana@example.org",
    )  # fmt: skip
    with people.change(path) as db:
        people.put_user(db, User("firm", "Firm"))
        people.put_user(db, user)
        assert people.users_in(db)["ana"] == user
    assert user_from_plain(user_to_plain(user)) == user


def test_cards_from_a_spreadsheet(path: Path) -> None:
    text = (
        "\ufeffUser;Name;Card;Label;Max_A;Windows;Quota_kWh;Chargers;Payer;Purpose\r\n"
        f"ana;Ana;{ANA};AA-11-BB;16;mon-fri 22:00-08:00;;;;\r\n"
        "ana;;04:11:22:33;;;;;;;\r\n"
        ";;;;;;;;;\r\n"
        "rui;Rui;0422334455;;;;150;C-1 C-2;firm;Business\r\n"
        "firm;Firm;;;;;;;;\r\n"
    )
    assert taken(path, text) == (3, 3)
    assert taken(path, text) == (3, 3)  # the same again changes nothing
    got = People(path)
    ana = got.users["ana"]
    assert (ana.name, ana.max_a, windows_to_text(ana.windows)) == (
        "Ana",
        16,
        "mon-fri 22:00-08:00",
    )
    rui = got.users["rui"]
    assert (rui.quota_wh, rui.payer, sorted(rui.chargers)) == (150_000, "firm", ["C-1", "C-2"])
    assert sorted(c.user for c in got.cards.values()) == ["ana", "ana", "rui"]
    card = got.card(ANA.lower())
    assert card is not None
    assert (card.user, card.label) == ("ana", "AA-11-BB")
    assert ANA.lower().encode() not in path.read_bytes().lower(), "its number is not kept"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("name\nAna\n", "a column `user` is missing"),
        ("user,colour\nana,red\n", "column 'colour' is not known"),
        ("user,card\nana,04\n", "line 2: '04' is no card's number"),
        ("user,max_a\neva,16\nana,many\n", "line 3: max_a: a whole number"),
        ("user,payer\nana,nobody\n", "line 2: no user nobody who could pay"),
        (f"user,card\nana,{ANA}\nrui,{ANA}\n", "line 3: this card is ana's"),
        ("user\nana,1,2\n", "line 2: 3 cells under 1 columns"),
    ],
)
def test_a_wrong_line_and_nothing_is_taken(path: Path, text: str, words: str) -> None:
    with pytest.raises(PeopleError, match=words):
        taken(path, text)
    with people.change(path) as db:
        assert people.users_in(db) == {}


def test_whoever_runs_hears_of_changes(path: Path) -> None:
    with people.change(path):
        pass
    running = People(path)
    assert not running.refresh()
    taken(path, f"user,card\nana,{ANA}\n")
    assert running.refresh()
    assert not running.refresh()
    assert [u.id for u in running.users.values()] == ["ana"]


def test_the_secret_is_not_in_the_store_and_stays(path: Path) -> None:
    first = people.card_secret(path)
    assert people.card_secret(path) == first
    assert people.card_secret(path.with_name("other.db")) != first
    (key,) = path.parent.glob("ievcc.key")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    key.unlink()
    assert people.card_secret(path) != first, "another key is another site: cards are added anew"


def test_who_has_charged_is_blocked_and_not_forgotten(path: Path) -> None:
    taken(path, f"user,card,payer\nana,{ANA},firm\nfirm,,\n")
    with people.change(path) as db:
        with pytest.raises(PeopleError, match="firm pays for ana"):
            people.drop_user(db, "firm")
        db.execute(
            "INSERT INTO session (charger, era, number, user, how, begin_ms, seen_ms)"
            " VALUES ('C', 0, 1, 'ana', 'card', 0, 0)"
        )
        assert "blocked" in people.drop_user(db, "ana")
        assert not people.users_in(db)["ana"].active
        assert people.cards_in(db) == {}


def test_two_do_not_own_one_charger(path: Path) -> None:
    with people.change(path) as db:
        people.put_user(db, User("ana", "Ana", owns=frozenset({"C"})))
        with pytest.raises(PeopleError, match="C is ana's already"):
            people.put_user(db, User("rui", "Rui", owns=frozenset({"C"})))


def cloud(folder: Path, number: str) -> CloudCopy:
    """A cloud's copy, as it lies on disk, that knows one person by this card."""
    key = b"k" * 32
    whole = {
        "site": "home",
        "version": 1,
        "timezone": "UTC",
        "people": [{"id": 7, "name": "Eva", "max_a": 10}],
        "cards": [{"hash": card_hash(key, number), "person": 7}],
        "tariffs": [],
        "devices": [{"name": n, "kind": "charger", "person": 7} for n in ("C", "D")],
    }
    body = json.dumps(whole).encode()
    path = folder / "ievcc.copy"
    path.write_bytes(sign(key, body).encode() + b"\n" + body)
    return CloudCopy(path, "http://127.0.0.1:9/api/v1", "home", key)


def test_a_local_card_goes_before_the_clouds(path: Path) -> None:
    taken(path, f"user,card\nana,{ANA}\n")
    known = People(path, cloud(path.parent, ANA.lower()))
    card = known.card(ANA.lower())
    assert card is not None
    assert card.user == "ana"
    other = People(path, cloud(path.parent, "0411223344"))
    card = other.card("0411223344")
    assert card is not None
    assert card.user == "cloud:7"
    user = other.user("cloud:7")
    assert user is not None
    assert user.max_a == 10
    assert set(other.all_users()) == {"ana", "cloud:7"}
    assert other.card("0499999999") is None


def test_a_charger_is_whose_the_cloud_says_unless_somebody_here_owns_it(path: Path) -> None:
    with people.change(path) as db:
        people.put_user(db, User("ana", "Ana", owns=frozenset({"C"})))
    known = People(path, cloud(path.parent, "0411223344"))
    owners = [known.owner(name) for name in ("C", "D", "E")]
    assert [owner and owner.id for owner in owners] == ["ana", "cloud:7", None]


def test_a_blocked_card_leaves_the_list(path: Path) -> None:
    taken(path, f"user,card\nana,{ANA}\n")
    known = People(path)
    (mark,) = offline_list(known.cards.values(), known.users, "C")
    with people.change(path) as db:
        people.put_card(db, Card(mark, "ana", active=False))
    known.refresh()
    assert offline_list(known.cards.values(), known.users, "C") == ()


def test_a_store_that_is_not_there(path: Path) -> None:
    with pytest.raises(StoreError, match="no store at"), beside.look(path):
        pass
