"""Who may use the page: accounts with argon2id passwords, logins that end, guesses that are slowed.

Accounts are read from the store at every question, so what `ievcc accounts` changes beside a running
manager holds at once. Logins live in memory, and in the store as hashes, to outlive a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import os
import secrets
import sqlite3
import threading
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from manager import store
from manager.refusal import Refusal
from manager.store import Row

Role = Literal["", "tenant", "operator", "administrator"]
ROLES: tuple[Role, ...] = ("", "tenant", "operator", "administrator")

# How long a login lasts unused, and at most: a stranger at a forgotten screen can do more with an
# administrator's than with a tenant's.
IDLE_MS: dict[str, int] = {
    "tenant": 7 * 86_400_000,
    "operator": 8 * 3_600_000,
    "administrator": 3_600_000,
}
MOST_MS: dict[str, int] = {
    "tenant": 30 * 86_400_000,
    "operator": 7 * 86_400_000,
    "administrator": 24 * 3_600_000,
}
_TOUCH_MS = 60_000  # how often the store is told that a login is used

PASSWORD_LEAST = 10  # characters; NIST SP 800-63B asks for 8, and nobody watches a garage's log
PASSWORD_MOST = 200  # hashing takes time by length; nobody types more
_LOGINS_MOST = 20  # of one account at a time; the oldest ends

LOGIN = (
    "INSERT INTO login (token, account, made, began_ms, used_ms) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (token) DO UPDATE SET used_ms = excluded.used_ms"
)
LOGOUT = "DELETE FROM login WHERE token = ?"
ACCOUNT = (
    "INSERT INTO account (name, password, role, user, made) VALUES (?, ?, ?, ?, random() >> 16)"
)
PASSWORD = "UPDATE account SET password = ?, made = random() >> 16 WHERE name = ?"  # noqa: S105
REHASH = "UPDATE account SET password = ? WHERE name = ? AND password = ?"
NO_ACCOUNT = "DELETE FROM account WHERE name = ?"

# RFC 9106's second recommendation: 64 MiB. One at a time: a Raspberry Pi 3 has 1 GB.
_hasher = PasswordHasher()
_one_hash = threading.Lock()


class WrongLogin(Refusal):
    """Name or password is wrong; which of them is not said."""


class TooOften(Refusal):
    """Guessed too often; `wait_s` until the next try."""

    def __init__(self, wait_s: int) -> None:
        super().__init__(f"too many tries: wait {wait_s} s")
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Who:
    """Who asks. `role` "" is nobody in particular; `user_id` is a tenant's, whose own things are shown."""

    name: str
    role: Role
    user_id: str | None = None

    def may(self, role: Role) -> bool:
        """Whether this role is enough for what asks for that one."""
        return ROLES.index(self.role) >= ROLES.index(role)


NOBODY = Who("", "")


@dataclass(frozen=True, slots=True)
class Account:
    """A row of accounts, without its password."""

    name: str
    role: Role
    user: str | None
    made: int


@dataclass(slots=True)
class _Login:
    account: str
    made: int
    began_ms: int
    used_ms: int
    kept_ms: int  # the last use the store knows of


def hash_password(password: str) -> str:
    """The argon2id string of a password; takes some 0.1 s and 64 MiB."""
    with _one_hash:
        return _hasher.hash(_normal(password))


def _matches(hashed: str, password: str) -> bool:
    with _one_hash, contextlib.suppress(VerificationError, InvalidHashError):
        return _hasher.verify(hashed, _normal(password))
    return False


def _normal(password: str) -> str:
    # The same key of another keyboard may make é of one or of two characters.
    return unicodedata.normalize("NFKC", password)


def check_password(name: str, password: str) -> None:
    """Refusal for one that is too short, too long, or the name itself."""
    if len(password) < PASSWORD_LEAST:
        raise Refusal(f"a password has at least {PASSWORD_LEAST} characters")
    if len(password) > PASSWORD_MOST:
        raise Refusal(f"a password has at most {PASSWORD_MOST} characters")
    if name and password.casefold().strip("0123456789!.-_ ") == name.casefold():
        raise Refusal("a password is not the name")
    if len(set(password)) < 4:
        raise Refusal("a password of so few different characters is guessed at once")


def check_name(name: str) -> None:
    """Refusal for what cannot be an account's name."""
    if not 1 <= len(name) <= 64 or not name.isprintable() or name != name.strip():
        raise Refusal("a name has 1 to 64 characters, without spaces around it")


class Tries:
    """How often may be guessed: by address, by name, and by everybody together."""

    # (tries at once, seconds until another one is earned)
    _BY_ADDRESS = (10, 30)
    _BY_NAME = (20, 30)
    _BY_ALL = (60, 2)
    _REMEMBERED = 4096

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._spent: dict[tuple[str, str], tuple[float, float]] = {}  # -> tries left, when

    def spend(self, name: str, address: str) -> None:
        """Use one try up. TooOften if there is none."""
        asked = (
            (("address", address), self._BY_ADDRESS),
            (("name", name.casefold()), self._BY_NAME),
            (("all", ""), self._BY_ALL),
        )
        now = self._now_s()
        left = [self._left(key, bucket, now) for key, bucket in asked]
        waits = [(1 - n) * earns for n, (_, (_, earns)) in zip(left, asked, strict=True) if n < 1]
        if waits:
            raise TooOften(int(max(waits)) + 1)
        for n, (key, _) in zip(left, asked, strict=True):
            self._spent.pop(key, None)  # to the end: the longest unused are forgotten first
            self._spent[key] = (n - 1, now)
        while len(self._spent) > self._REMEMBERED:
            self._spent.pop(next(iter(self._spent)))

    def right(self, name: str, address: str) -> None:
        """The password was right: the try is given back. Others' wrong ones stay spent."""
        for key in (("address", address), ("name", name.casefold()), ("all", "")):
            if key in self._spent:
                n, at = self._spent[key]
                self._spent[key] = (n + 1, at)

    def _left(self, key: tuple[str, str], bucket: tuple[int, int], now: float) -> float:
        most, earns = bucket
        n, at = self._spent.get(key, (float(most), now))
        return min(float(most), n + (now - at) / earns)


@dataclass(slots=True)
class Logins:
    """The accounts and logins of a running manager.

    `path`: the store; `write`: queues rows for its writer; `utc_ms`, `now_s`: the clocks.
    """

    path: Path
    write: Callable[[Sequence[Row]], None]
    utc_ms: Callable[[], int]
    now_s: Callable[[], float]
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    _logins: dict[str, _Login] = field(default_factory=dict, repr=False)
    _tries: Tries = field(init=False)
    _db: sqlite3.Connection = field(init=False, repr=False)
    _nobodys: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._tries = Tries(self.now_s)
        self._db = sqlite3.connect(
            f"file:{self.path}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
        )
        # Compared with when there is no such account, so that both answers take as long.
        self._nobodys = hash_password(secrets.token_urlsafe(16))
        rows = self._db.execute("SELECT token, account, made, began_ms, used_ms FROM login")
        for token, account, made, began_ms, used_ms in rows:
            self._logins[token] = _Login(account, made, began_ms, used_ms, used_ms)

    def close(self) -> None:
        """No more questions."""
        self._db.close()

    def any(self) -> bool:
        """Whether anybody has an account."""
        return self._db.execute("SELECT 1 FROM account LIMIT 1").fetchone() is not None

    def account(self, name: str) -> Account | None:
        """The account of this name."""
        asked = "SELECT name, role, user, made FROM account WHERE name = ?"
        row = self._db.execute(asked, (name,)).fetchone()
        return Account(*row) if row else None

    async def log_in(self, name: str, password: str, address: str) -> str:
        """The new login's token, for the cookie. WrongLogin, TooOften."""
        self._tries.spend(name, address)
        account = self.account(name)
        hashed = self._password(name) if account else ""
        right = await asyncio.to_thread(
            _matches, hashed or self._nobodys, password[:PASSWORD_MOST]
        )
        if account is None or not right:
            raise WrongLogin("name or password is wrong")
        self._tries.right(name, address)
        if _hasher.check_needs_rehash(hashed):
            anew = await asyncio.to_thread(hash_password, password)
            self.write([(REHASH, (anew, name, hashed))])
        return self._begin(account)

    def _password(self, name: str) -> str:
        row = self._db.execute("SELECT password FROM account WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else ""

    def _begin(self, account: Account) -> str:
        token = secrets.token_urlsafe(32)
        now = self.utc_ms()
        own = [t for t, g in self._logins.items() if g.account == account.name]
        for old in own[: max(0, len(own) - _LOGINS_MOST + 1)]:
            self._end(old)
        self._logins[_hashed(token)] = _Login(account.name, account.made, now, now, now)
        self.write([(LOGIN, (_hashed(token), account.name, account.made, now, now))])
        return token

    def who(self, token: str, *, used: bool = True) -> Who | None:
        """Whose login this is, None if it is none or is over. `used` prolongs it."""
        key = _hashed(token)
        login = self._logins.get(key)
        if login is None:
            return None
        account = self.account(login.account)
        now = self.utc_ms()
        if (
            account is None
            or account.made != login.made
            or not 0 <= now - login.used_ms < IDLE_MS[account.role]
            or not 0 <= now - login.began_ms < MOST_MS[account.role]
        ):
            self._end(key)
            return None
        if used:
            login.used_ms = now
            if now - login.kept_ms >= _TOUCH_MS:
                login.kept_ms = now
                row = (key, login.account, login.made, login.began_ms, now)
                self.write([(LOGIN, row)])
        return Who(account.name, account.role, account.user)

    def log_out(self, token: str) -> None:
        """End this login."""
        self._end(_hashed(token))

    def _end(self, key: str) -> None:
        self._logins.pop(key, None)
        self.write([(LOGOUT, (key,))])

    async def change_password(self, name: str, old: str, new: str, address: str) -> None:
        """A new password for who knows the old one; ends every login of the account.

        WrongLogin, TooOften, Refusal.
        """
        check_password(name, new)
        self._tries.spend(name, address)
        hashed = self._password(name)
        if not await asyncio.to_thread(_matches, hashed or self._nobodys, old[:PASSWORD_MOST]):
            raise WrongLogin("the old password is wrong")
        self._tries.right(name, address)
        self.write([(PASSWORD, (await asyncio.to_thread(hash_password, new), name))])

    def is_token(self, token: str) -> bool:
        """Whether this is what the commands on the manager's own computer send."""
        return hmac.compare_digest(token.encode(), self.token.encode())


def csrf(token: str) -> str:
    """What the page of this login sends with every change; another site's page cannot know it."""
    return hashlib.sha256(b"csrf " + token.encode()).hexdigest()[:32]


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def token_file(path: Path) -> Path:
    """Where the commands on the manager's own computer find their token, beside the store."""
    return path.with_suffix(".token")


def keep_token(path: Path, token: str) -> None:
    """Write it where only the manager's own user, and root, can read it."""
    file = token_file(path)
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as f:
        f.write(token)


# For `ievcc accounts`, beside a manager that may be running.


def accounts(path: Path) -> list[Account]:
    """Every account, by name. StoreError."""
    rows = store.read(path, "SELECT name, role, user, made FROM account ORDER BY name")
    return [Account(*row) for row in rows]


def add(path: Path, name: str, role: Role, user: str | None, password: str) -> None:
    """A new account. Refusal if there is one, or it cannot be."""
    check_name(name)
    check_password(name, password)
    if role not in ROLES[1:]:
        raise Refusal(f"a role is one of {', '.join(ROLES[1:])}")
    if role == "tenant" and not user:
        raise Refusal("a tenant's account belongs to a user: --user ID")
    hashed = hash_password(password)
    with contextlib.closing(store.connect(path)) as db:
        if db.execute("SELECT 1 FROM account WHERE name = ?", (name,)).fetchone():
            raise Refusal(f"{name} has an account: remove it first, or change its password")
        if user and not db.execute("SELECT 1 FROM user WHERE id = ?", (user,)).fetchone():
            raise Refusal(f"no user {user}: add one with `ievcc users add`")
        db.execute(ACCOUNT, (name, hashed, role, user if role == "tenant" else None))


def remove(path: Path, name: str) -> None:
    """Strike an account; its logins are over at once. Refusal for the last administrator's."""
    with contextlib.closing(store.connect(path)) as db:
        db.execute("BEGIN IMMEDIATE")
        row = db.execute("SELECT role FROM account WHERE name = ?", (name,)).fetchone()
        others = "SELECT count(*) FROM account WHERE role = 'administrator' AND name != ?"
        left = db.execute(others, (name,)).fetchone()[0]
        every = db.execute("SELECT count(*) FROM account").fetchone()[0]
        if row is None:
            db.execute("ROLLBACK")
            raise Refusal(f"{name} has no account")
        if row[0] == "administrator" and not left and every > 1:
            db.execute("ROLLBACK")
            raise Refusal(f"{name} is the only administrator: make another one first")
        db.execute(NO_ACCOUNT, (name,))
        db.execute("COMMIT")


def set_password(path: Path, name: str, password: str) -> None:
    """A new password, for who may write to the store; ends every login of the account."""
    check_password(name, password)
    hashed = hash_password(password)
    with contextlib.closing(store.connect(path)) as db:
        if db.execute(PASSWORD, (hashed, name)).rowcount == 0:
            raise Refusal(f"{name} has no account")
