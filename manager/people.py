"""Users, their cards and rights: kept in the store, whole in memory where they are asked for.

Whoever changes them, a command or the page, does so in one transaction (`change`) which raises a
number; a running manager looks at that number once a second and reads everything anew. A card's
number is never kept: the secret that turns it into its mark comes of the key beside the store.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manager import beside
from manager.core.rights import Card, User, card_mark
from manager.core.site import Window
from manager.refusal import Refusal
from manager.vault import Vault
from shared.protocol import is_device_name

if TYPE_CHECKING:
    from manager.cloud_copy import CloudCopy

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WEEK = 7 * 1440
PURPOSES = ("private", "business")
_USERS_MOST = 20_000


class PeopleError(Refusal):
    """A user, card or right that cannot be; says which and how to mend it."""


# Rights in words, as they are written in a CSV file, on the command line and on the page.


def windows_from_text(text: str) -> tuple[Window, ...]:
    """ "mon-fri 22:00-08:00 16 A; sat,sun 00:00-24:00": times at which one may charge, at most so
    much (80 A if not said). "" is always. PeopleError says which part is wrong.
    """
    windows = []
    for part in filter(None, (p.strip() for p in text.lower().split(";"))):
        match = re.fullmatch(
            r"([a-z,\- ]+?)\s+(\d{1,2}):(\d\d)\s*-\s*(\d{1,2}):(\d\d)(?:\s+(\d+)\s*a?)?", part
        )
        if not match:
            raise PeopleError(f"{part!r}: write days, times and A, as `mon-fri 22:00-08:00 16 A`")
        start, end = (int(match[n]) * 60 + int(match[n + 1]) for n in (2, 4))
        if start >= 1440 or end > 1440 or int(match[3]) > 59 or int(match[5]) > 59:
            raise PeopleError(f"{part!r}: a time of day is 00:00 to 24:00")
        if start == end:
            raise PeopleError(f"{part!r} ends as it begins")
        max_a = int(match[6] or 80)
        if not 6 <= max_a <= 80:
            raise PeopleError(f"{part!r}: 6 to 80 A can be offered")
        for day in _days(match[1], part):
            length = end - start if end > start else end - start + 1440
            first = day * 1440 + start
            windows.append(Window(first, (first + length - 1) % WEEK + 1, max_a))
    return tuple(windows)


def _days(text: str, part: str) -> Iterator[int]:
    for piece in text.split(","):
        ends = [word.strip() for word in piece.split("-")]
        if len(ends) > 2 or any(word not in DAYS for word in ends):
            raise PeopleError(f"{part!r}: days are {', '.join(DAYS)}, or a span as mon-fri")
        first, last = DAYS.index(ends[0]), DAYS.index(ends[-1])
        yield from ((first + n) % 7 for n in range((last - first) % 7 + 1))


def windows_to_text(windows: Iterable[Window]) -> str:
    """The same in words."""
    days: dict[tuple[int, int, int], list[int]] = {}
    for w in windows:
        length = (w.end - w.start - 1) % WEEK + 1
        days.setdefault((w.start % 1440, length, w.max_a), []).append(w.start // 1440)
    said = []
    for (start, length, max_a), which in days.items():
        end = (start + length - 1) % 1440 + 1
        spans = days_to_text(which)
        times = f"{start // 60:02d}:{start % 60:02d}-{end // 60:02d}:{end % 60:02d}"
        said.append(f"{spans} {times}" + ("" if max_a == 80 else f" {max_a} A"))
    return "; ".join(said)


def days_to_text(days: Iterable[int]) -> str:
    """Days of the week (0 is Monday) as one writes them: `mon-fri`, `sat,sun`."""
    which = sorted(days)
    if len(which) > 2 and which == list(range(which[0], which[-1] + 1)):
        return f"{DAYS[which[0]]}-{DAYS[which[-1]]}"
    return ",".join(DAYS[d] for d in which)


def user_to_plain(user: User) -> dict[str, Any]:
    """A user as JSON says it; windows in words."""
    return {
        "id": user.id,
        "name": user.name,
        "email": user.email,
        "active": user.active,
        "max_a": user.max_a,
        "priority": user.priority,
        "windows": windows_to_text(user.windows),
        "quota_wh": user.quota_wh,
        "chargers": sorted(user.chargers),
        "owns": sorted(user.owns),
        "payer": user.payer,
    }


def user_from_plain(plain: Mapping[str, Any], old: User | None = None) -> User:
    """The user so described; what is not said is as in `old`. PeopleError for what cannot be."""
    base = user_to_plain(old) if old else user_to_plain(User("", ""))
    for name in plain:
        if name not in base:
            raise PeopleError(f"{name!r} is not known of users (known: {', '.join(base)})")
    said = {**base, **plain}
    name = _text(said, "name", 80) or said["id"]
    user = User(
        id=_id(said["id"]),
        name=name,
        email=_text(said, "email", 120),
        active=_flag(said, "active"),
        max_a=_whole(said, "max_a", 6, 80, "A"),
        priority=_whole(said, "priority", 0, 9, ""),
        windows=windows_from_text(_text(said, "windows", 1000)),
        quota_wh=_whole(said, "quota_wh", 0, 10**9, "Wh"),
        chargers=_chargers(said, "chargers"),
        owns=_chargers(said, "owns"),
        payer=_id(said["payer"]) if said["payer"] else "",
    )
    if user.payer == user.id:
        return replace(user, payer="")
    return user


def _id(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,31}", value):
        raise PeopleError(f"{value!r}: a user's id is up to 32 of a-z, 0-9, . _ and -")
    return value


def _text(said: Mapping[str, Any], name: str, most: int) -> str:
    value = said[name]
    if not isinstance(value, str) or len(value) > most or any(ord(c) < 32 for c in value):
        raise PeopleError(f"{name}: text of at most {most} letters, not {value!r}")
    return value.strip()


def _flag(said: Mapping[str, Any], name: str) -> bool:
    if type(said[name]) is not bool:
        raise PeopleError(f"{name}: true or false, not {said[name]!r}")
    return bool(said[name])


def _whole(said: Mapping[str, Any], name: str, low: int, high: int, unit: str) -> int | None:
    value = said[name]
    if value is None:
        return None
    if type(value) is not int or not low <= value <= high:
        wanted = f"{low} to {high} {unit}" if unit else f"{low} to {high}"
        raise PeopleError(f"{name}: {wanted}, not {value!r}")
    return value


def _chargers(said: Mapping[str, Any], name: str) -> frozenset[str]:
    value = said[name]
    if not isinstance(value, list) or not all(is_device_name(v) for v in value):
        raise PeopleError(f"{name}: a list of chargers' names, not {value!r}")
    return frozenset(value)


# What is kept.


def card_secret(store: Path) -> bytes:
    """The site's secret for cards' marks, out of the key beside the store."""
    return Vault(store).secret("card marks")


def mark_of(store: Path, number: str) -> str:
    """What stands for a card's number (hex, with or without colons)."""
    try:
        return card_mark(card_secret(store), bytes.fromhex(re.sub(r"[\s:-]", "", number)))
    except ValueError as e:
        raise PeopleError(f"{number!r} is no card's number: 4 to 10 bytes in hex") from e


@contextmanager
def change(path: Path) -> Iterator[sqlite3.Connection]:
    """One transaction on users, cards or prices, of which a running manager will know."""
    with beside.change(path) as db:
        yield db
        db.execute(
            "INSERT INTO site (name, value) VALUES ('people', '1')"
            " ON CONFLICT (name) DO UPDATE SET value = CAST(value AS INTEGER) + 1"
        )


_USER = (
    "id",
    "name",
    "email",
    "active",
    "max_a",
    "priority",
    "windows",
    "quota_wh",
    "chargers",
    "owns",
    "payer",
)


def users_in(db: sqlite3.Connection) -> dict[str, User]:
    """All users by id."""
    found = {}
    for row in db.execute(f"SELECT {', '.join(_USER)} FROM user ORDER BY id"):  # noqa: S608
        said = dict(zip(_USER, row, strict=True))
        said["active"] = bool(said["active"])
        said["windows"] = tuple(Window(*w) for w in json.loads(said["windows"]))
        for name in ("chargers", "owns"):
            said[name] = frozenset(json.loads(said[name]))
        found[said["id"]] = User(**said)
    return found


def cards_in(db: sqlite3.Connection) -> dict[str, Card]:
    """All cards by mark."""
    rows = db.execute("SELECT mark, user, active, label, purpose FROM card ORDER BY user, mark")
    return {r[0]: Card(r[0], r[1], bool(r[2]), r[3], r[4]) for r in rows}


def put_user(db: sqlite3.Connection, user: User) -> None:
    """Add a user, or change one. PeopleError if another owns one of the chargers."""
    others = [u for u in users_in(db).values() if u.id != user.id]
    if len(others) >= _USERS_MOST:
        raise PeopleError(f"a manager keeps at most {_USERS_MOST} users")
    for other in others:
        if both := user.owns & other.owns:
            raise PeopleError(f"{min(both)} is {other.id}'s already")
    if user.payer and user.payer not in {u.id for u in others}:
        raise PeopleError(f"no user {user.payer} who could pay: add that one first")
    values = (
        user.id,
        user.name,
        user.email,
        int(user.active),
        user.max_a,
        user.priority,
        json.dumps([[w.start, w.end, w.max_a] for w in user.windows]),
        user.quota_wh,
        json.dumps(sorted(user.chargers)),
        json.dumps(sorted(user.owns)),
        user.payer,
    )
    changes = ", ".join(f"{name} = excluded.{name}" for name in _USER[1:])
    db.execute(
        f"INSERT INTO user ({', '.join(_USER)}) VALUES ({', '.join('?' * len(_USER))})"  # noqa: S608
        f" ON CONFLICT (id) DO UPDATE SET {changes}",
        values,
    )


def drop_user(db: sqlite3.Connection, user: str) -> str:
    """Remove a user and his cards; one who has charged is blocked instead. What was done."""
    if user not in users_in(db):
        raise PeopleError(f"no user {user}")
    payers = [r[0] for r in db.execute("SELECT id FROM user WHERE payer = ?", (user,))]
    if payers:
        raise PeopleError(f"{user} pays for {', '.join(payers)}: change that first")
    db.execute("DELETE FROM card WHERE user = ?", (user,))
    charged = db.execute(
        "SELECT 1 FROM session WHERE user = ?1 OR payer = ?1 LIMIT 1", (user,)
    ).fetchone()
    if charged:
        db.execute("UPDATE user SET active = 0, owns = '[]' WHERE id = ?", (user,))
        return f"{user} has charged here: blocked, and the cards removed"
    db.execute("DELETE FROM user WHERE id = ?", (user,))
    return f"{user} is removed"


def put_card(db: sqlite3.Connection, card: Card) -> None:
    """Add a card, or change one. PeopleError if it is somebody else's."""
    if not re.fullmatch(r"[0-9a-f]{16}", card.mark):
        raise PeopleError(f"{card.mark!r} is no card's mark: 16 digits of hex")
    if card.purpose not in PURPOSES:
        raise PeopleError(f"purpose: private or business, not {card.purpose!r}")
    if len(card.label) > 40 or any(ord(c) < 32 for c in card.label):
        raise PeopleError(f"label: at most 40 letters, not {card.label!r}")
    if card.user not in users_in(db):
        raise PeopleError(f"no user {card.user}")
    old = cards_in(db).get(card.mark)
    if old is not None and old.user != card.user:
        raise PeopleError(f"this card is {old.user}'s: remove it there first")
    db.execute(
        "INSERT INTO card (mark, user, active, label, purpose) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (mark) DO UPDATE SET active = excluded.active, label = excluded.label,"
        " purpose = excluded.purpose",
        (card.mark, card.user, int(card.active), card.label, card.purpose),
    )


def drop_card(db: sqlite3.Connection, mark: str) -> None:
    """Remove a card."""
    if db.execute("DELETE FROM card WHERE mark = ?", (mark,)).rowcount == 0:
        raise PeopleError(f"no card {mark}")


# From a spreadsheet.

COLUMNS = (
    "user",
    "name",
    "email",
    "card",
    "label",
    "purpose",
    "max_a",
    "priority",
    "windows",
    "quota_kwh",
    "chargers",
    "owns",
    "payer",
)


def import_csv(db: sqlite3.Connection, text: str, store: Path) -> tuple[int, int]:
    """Users and cards from CSV (comma or semicolon), a row a card; (users, cards) taken.

    The first row names columns out of `COLUMNS`. A user on several rows has several cards; an empty
    cell, or a column left out, leaves what is known. All of it or, with PeopleError, nothing.
    """
    lines = text.removeprefix("\ufeff").splitlines()
    if not lines:
        raise PeopleError("the file is empty")
    delimiter = ";" if lines[0].count(";") > lines[0].count(",") else ","
    rows = csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter)
    head = [name.strip().lower() for name in next(rows)]
    for name in head:
        if name not in COLUMNS:
            raise PeopleError(f"column {name!r} is not known (known: {', '.join(COLUMNS)})")
    if "user" not in head:
        raise PeopleError("a column `user` is missing")
    seen: set[str] = set()
    users = users_in(db)
    cards = 0
    read: list[tuple[int, dict[str, str]]] = []
    for number, row in enumerate(rows, 2):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) > len(head):
            raise PeopleError(f"line {number}: {len(row)} cells under {len(head)} columns")
        read.append((number, {n: c.strip() for n, c in zip(head, row, strict=False) if c.strip()}))
    # Who pays for others comes first, wherever in the file.
    payers = {cells["payer"] for _, cells in read if "payer" in cells}
    for number, cells in sorted(read, key=lambda r: r[1].get("user", "") not in payers):
        try:
            user = _user_of(cells, users)
            if user != users.get(user.id):
                put_user(db, user)
                users[user.id] = user
            seen.add(user.id)
            if "card" in cells:
                mark = mark_of(store, cells["card"])
                old = cards_in(db).get(mark)
                label = cells.get("label", old.label if old else "")
                purpose = cells.get("purpose", old.purpose if old else "private").lower()
                put_card(db, Card(mark, user.id, True, label, purpose))
                cards += 1
        except PeopleError as e:
            raise PeopleError(f"line {number}: {e}") from e
    return len(seen), cards


def _user_of(cells: Mapping[str, str], users: Mapping[str, User]) -> User:
    said: dict[str, Any] = {"id": cells.get("user", "").lower()}
    for name in ("name", "email", "windows", "payer"):
        if name in cells:
            said[name] = cells[name]
    for name in ("max_a", "priority"):
        if name in cells:
            said[name] = _number(name, cells[name])
    if "quota_kwh" in cells:
        said["quota_wh"] = _number("quota_kwh", cells["quota_kwh"]) * 1000
    for name in ("chargers", "owns"):
        if name in cells:
            said[name] = re.split(r"[\s;|]+", cells[name])
    return user_from_plain(said, users.get(said["id"]))


def _number(name: str, text: str) -> int:
    if not text.isdecimal():
        raise PeopleError(f"{name}: a whole number, not {text!r}")
    return int(text)


class People:
    """Everybody, in memory. With a cloud, its people too; a card known here goes before the
    cloud's.
    """

    def __init__(self, path: Path, cloud: CloudCopy | None = None) -> None:
        self.path = path
        self.secret = card_secret(path)
        self.cloud = cloud
        self.users: Mapping[str, User] = {}
        self.cards: Mapping[str, Card] = {}
        self._version = -1
        self.refresh()

    def refresh(self) -> bool:
        """Read them anew if somebody has changed them; whether so."""
        with beside.look(self.path) as db:
            version = db.execute("SELECT value FROM site WHERE name = 'people'").fetchone()
            now = int(version[0]) if version else 0
            if now == self._version:
                return False
            self.users, self.cards = users_in(db), cards_in(db)
        self._version = now
        return True

    def mark(self, number: str) -> str:
        """What stands for this card."""
        return card_mark(self.secret, bytes.fromhex(number))

    def card(self, number: str) -> Card | None:
        """The card of this number (hex), None if nobody's."""
        mark = self.mark(number)
        known = self.cards.get(mark)
        if known is None and self.cloud is not None:
            holder = self.cloud.holder(number)
            return None if holder is None else Card(mark, holder)
        return known

    def all_users(self) -> Mapping[str, User]:
        """Those of the cloud too."""
        return self.users if self.cloud is None else {**self.cloud.users(), **self.users}

    def user(self, user: str) -> User | None:
        """The user of this id, here or in the cloud."""
        known = self.users.get(user)
        return self.cloud.users().get(user) if known is None and self.cloud else known

    def owner(self, charger: str) -> User | None:
        """Whose charger it is: by what is known here, else by what the cloud says."""
        for users in (self.users, self.cloud.users() if self.cloud else {}):
            for user in users.values():
                if charger in user.owns:
                    return user
        return None
