"""Accounts and logins: what is a password, whose login it is, when it ends, how fast may be guessed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.low_level import Type

from manager import logins, store
from manager.logins import IDLE_MS, MOST_MS, Logins, TooOften, Tries, Who, WrongLogin
from manager.refusal import Refusal
from manager.store import Row, Store

GOOD = "correct horse battery"


class Clock:
    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def now_ms(self) -> int:
        return self.ms

    def now_s(self) -> float:
        return self.ms / 1000


class Site:
    """A store, its writer, and the logins on it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = Clock()
        self.store = Store(path)
        self.store.start()
        self.logins = self.again()

    def again(self) -> Logins:
        """As after a restart of the manager."""
        self.store.flush()
        return Logins(self.path, self.write, self.clock.now_ms, self.clock.now_s)

    def write(self, rows: Sequence[Row]) -> None:
        self.store.write(rows, now=True)

    def add(self, name: str, role: logins.Role = "operator", user: str | None = None) -> None:
        logins.add(self.path, name, role, user, GOOD)

    def log_in(self, name: str, password: str = GOOD, address: str = "10.0.0.9") -> str:
        return asyncio.run(self.logins.log_in(name, password, address))


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What hashing costs is tested once, by test_what_a_guess_costs."""
    monkeypatch.setattr(logins, "_hasher", PasswordHasher(1, 8, 1))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path / "ievcc.db")
    yield made
    made.logins.close()
    made.store.close()


def test_the_right_password_and_only_that(site: Site) -> None:
    assert not site.logins.any()
    site.add("Ana", "administrator")
    assert site.logins.any()
    assert site.logins.who(site.log_in("Ana")) == Who("Ana", "administrator")
    for name, word in [("Ana", GOOD[:-1]), ("Ana", ""), ("ana", GOOD), ("Eve", GOOD), ("", "")]:
        with pytest.raises(WrongLogin, match="name or password is wrong"):
            site.log_in(name, word)


def test_an_accent_is_one_however_it_was_typed(site: Site) -> None:
    logins.add(site.path, "Zoé", "operator", None, "cafe\u0301 com leite")
    assert site.log_in("Zoé", "caf\u00e9 com leite")


def test_the_store_holds_neither_password_nor_token(site: Site) -> None:
    site.add("Ana")
    token = site.log_in("Ana")
    site.store.flush()
    kept = b"".join(p.read_bytes() for p in site.path.parent.iterdir())
    assert b"argon2id" in kept
    assert GOOD.encode() not in kept
    assert token.encode() not in kept
    assert token not in repr(site.logins)
    assert site.logins.token not in repr(site.logins)


@pytest.mark.parametrize(
    ("name", "password", "words"),
    [
        ("Ana", "short", "at least 10"),
        ("Ana", "x" * 201, "at most 200"),
        ("anabelalongname", "Anabelalongname1", "not the name"),
        ("Ana", "ababababab", "few different"),
        ("", GOOD, "1 to 64"),
        (" Ana", GOOD, "1 to 64"),
        ("A\nna", GOOD, "1 to 64"),
    ],
)
def test_what_cannot_be_an_account(site: Site, name: str, password: str, words: str) -> None:
    with pytest.raises(Refusal, match=words):
        logins.add(site.path, name, "operator", None, password)
    assert not site.logins.any()


def test_a_tenant_is_a_user(site: Site) -> None:
    with pytest.raises(Refusal, match="--user"):
        site.add("Rui", "tenant")
    with pytest.raises(Refusal, match="no user u1"):
        site.add("Rui", "tenant", "u1")
    site.write([("INSERT INTO user (id, name) VALUES (?, ?)", ("u1", "Rui"))])
    site.store.flush()
    site.add("Rui", "tenant", "u1")
    assert site.logins.who(site.log_in("Rui")) == Who("Rui", "tenant", "u1")
    with pytest.raises(Refusal, match="has an account"):
        site.add("Rui", "tenant", "u1")


@pytest.mark.parametrize("role", ["operator", "administrator"])
def test_a_login_ends_unused_and_used(site: Site, role: logins.Role) -> None:
    site.add("Ana", role)
    unused, used = site.log_in("Ana"), site.log_in("Ana")
    began = site.clock.ms
    while site.clock.ms - began < MOST_MS[role] - IDLE_MS[role] // 2:
        site.clock.ms += IDLE_MS[role] // 2
        assert site.logins.who(used)
        site.logins.who(unused, used=False)
    assert site.logins.who(unused) is None
    site.clock.ms = began + MOST_MS[role]
    assert site.logins.who(used) is None


def test_a_login_outlives_a_restart_and_no_longer_than_before(site: Site) -> None:
    site.add("Ana", "administrator")
    token = site.log_in("Ana")
    site.logins.close()
    site.logins = site.again()
    assert site.logins.who(token) == Who("Ana", "administrator")
    site.clock.ms += IDLE_MS["administrator"]
    assert site.logins.who(token) is None
    site.logins.close()
    site.logins = site.again()
    assert site.logins.who(token) is None
    assert store.read(site.path, "SELECT count(*) FROM login") == [(0,)]


def test_a_clock_set_back_ends_logins_rather_than_prolonging_them(site: Site) -> None:
    site.add("Ana")
    token = site.log_in("Ana")
    site.clock.ms -= 1
    assert site.logins.who(token) is None


def test_logged_out_removed_changed(site: Site) -> None:
    for name in ("Ana", "Rui", "Zoe"):
        site.add(name, "administrator")
    ana, rui, zoe, other = (site.log_in(n) for n in ("Ana", "Rui", "Zoe", "Zoe"))
    site.logins.log_out(ana)
    logins.remove(site.path, "Rui")
    site.add("Rui", "administrator")  # another account of the same name is not the same
    logins.set_password(site.path, "Zoe", "another word altogether")
    for token in (ana, rui, zoe, other):
        assert site.logins.who(token) is None
    with pytest.raises(WrongLogin):
        site.log_in("Zoe")
    assert site.log_in("Zoe", "another word altogether")


def test_ones_own_password_is_changed_by_who_knows_the_old_one(site: Site) -> None:
    site.add("Ana")
    token = site.log_in("Ana")
    change = site.logins.change_password
    with pytest.raises(WrongLogin, match="old password"):
        asyncio.run(change("Ana", "not this one", "something quite new", "a"))
    with pytest.raises(Refusal, match="at least"):
        asyncio.run(change("Ana", GOOD, "new", "a"))
    asyncio.run(change("Ana", GOOD, "something quite new", "a"))
    site.store.flush()
    assert site.logins.who(token) is None
    assert site.log_in("Ana", "something quite new")


def test_the_only_administrator_stays_while_there_are_others(site: Site) -> None:
    site.add("Ana", "administrator")
    site.add("Rui", "operator")
    with pytest.raises(Refusal, match="only administrator"):
        logins.remove(site.path, "Ana")
    with pytest.raises(Refusal, match="no account"):
        logins.remove(site.path, "Eve")
    logins.remove(site.path, "Rui")
    logins.remove(site.path, "Ana")
    assert logins.accounts(site.path) == []


def test_one_account_has_so_many_logins(site: Site) -> None:
    site.add("Ana")
    first = site.log_in("Ana")
    account = site.logins.account("Ana")
    assert account
    for _ in range(20):
        site.logins._begin(account)
    assert site.logins.who(first) is None
    assert len(site.logins._logins) == 20


def spent(tries: Tries, name: str, address: str) -> int:
    for n in range(1000):
        try:
            tries.spend(name, address)
        except TooOften as e:
            assert e.wait_s >= 1
            return n
    raise AssertionError("never too often")


def test_guesses_are_slowed_by_address_by_name_and_altogether() -> None:
    clock = Clock()
    tries = Tries(clock.now_s)
    assert spent(tries, "Ana", "10.0.0.1") == 10
    assert spent(tries, "Rui", "10.0.0.1") == 0
    assert spent(tries, "ANA", "10.0.0.2") == 10
    assert spent(tries, "ana", "10.0.0.3") == 0  # twenty for one name, from wherever
    assert spent(tries, "Zoe", "10.0.0.3") == 10
    clock.ms += 30_000
    assert spent(tries, "Rui", "10.0.0.1") == 1
    clock.ms += 3_600_000
    assert sum(spent(tries, f"n{i}", f"10.0.1.{i}") for i in range(20)) == 60


def test_right_passwords_use_nothing_up_and_give_nothing_to_wrong_ones(site: Site) -> None:
    site.add("Ana")
    for _ in range(4):
        with pytest.raises(WrongLogin):
            site.log_in("Ana", "wrong" * 3)
    for _ in range(3):
        site.log_in("Ana")
    assert spent(site.logins._tries, "Ana", "10.0.0.9") == 6


def test_what_is_remembered_of_guessers_has_an_end() -> None:
    clock = Clock()
    tries = Tries(clock.now_s)
    for n in range(6000):
        clock.ms += 2000
        tries.spend(f"n{n}", f"a{n}")
    assert len(tries._spent) <= 4096


def test_what_a_guess_costs(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.add("Ana")
    monkeypatch.undo()
    costs = extract_parameters(logins.hash_password(GOOD))
    # RFC 9106, section 4, the second of its recommendations.
    assert (costs.type, costs.memory_cost, costs.time_cost) == (Type.ID, 64 << 10, 3)
    # One hashed more cheaply, as by an older version, is hashed anew when it is used.
    site.log_in("Ana")
    site.store.flush()
    [(kept,)] = store.read(site.path, "SELECT password FROM account")
    assert extract_parameters(kept) == costs
    assert site.log_in("Ana")


def test_an_unknown_name_is_hashed_too(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.add("Ana")
    compared: list[str] = []

    def matches(hashed: str, _: str) -> bool:
        compared.append(hashed)
        return False

    monkeypatch.setattr(logins, "_matches", matches)
    for name in ("Ana", "Eve"):
        with pytest.raises(WrongLogin):
            site.log_in(name, "wrong password")
    assert [h.startswith("$argon2id$") for h in compared] == [True, True]
