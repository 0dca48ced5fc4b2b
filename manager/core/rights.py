"""Who may charge: users, their cards and rights, and the verdict on a card held to a reader.

A card's number is never kept: only its HMAC with the site's own secret, so that neither a copied
database nor the list on a charger gives cards away (see `card_mark`).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from manager.core.site import Window
from shared import protocol

MARK_DIGITS = 16  # 64 bits: two of 10,000 cards meet once in 10**11 sites; fits the wire's word
LIST_PART = 8  # marks in one card_list message


@dataclass(frozen=True, slots=True)
class User:
    """One who pays. Limits are None where there is none.

    `windows` are minutes of the local week in which the user may charge, at most so many amperes;
    empty: always. `chargers` empty: all.
    """

    id: str
    name: str
    active: bool = True
    max_a: int | None = None
    priority: int | None = None  # 0 is served first; None: as the charger's
    windows: tuple[Window, ...] = ()
    quota_wh: int | None = None  # a month
    chargers: frozenset[str] = frozenset()
    owns: frozenset[str] = frozenset()  # what charges there without a card is this user's
    payer: str = ""  # who gets the bill, "": the user
    email: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """`mark` stands for the number; `label` is what is written on it, a vehicle's plate say;
    `purpose` is private or business.
    """

    mark: str
    user: str
    active: bool = True
    label: str = ""
    purpose: str = "private"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the charger is told. `word` is one of the wire's verdicts; `max_a` 0 when refused; `barred`
    the kind of reason for which a user's rights give nothing.
    """

    word: str
    why: str
    user: str = ""
    max_a: int = 0
    priority: int | None = None
    barred: str | None = None


def card_mark(secret: bytes, number: bytes) -> str:
    """What stands for a card's number in the database and in a charger's list."""
    if not 4 <= len(number) <= 10:
        raise ValueError(f"a card's number has 4 to 10 bytes, not {len(number)}")
    return hmac.new(secret, number, hashlib.sha256).hexdigest()[:MARK_DIGITS]


def judge(
    card: Card | None,
    users: Mapping[str, User],
    charger: str,
    minute: int,
    used_wh: int,
    busy_with: str = "",
) -> Verdict:
    """May this card charge here now? `minute` of the local week; `used_wh` by its user this month;
    `busy_with`: the user whose session runs there, "" if none does.
    """
    if card is None:
        return Verdict("unknown", "this card is not registered")
    user = users.get(card.user)
    if user is None or not card.active:
        return Verdict("refused", "this card is blocked")
    if busy_with and busy_with != user.id:
        return Verdict("busy", "somebody else is charging here", user.id)
    return allowed(user, charger, minute, used_wh)


def allowed(user: User, charger: str, minute: int, used_wh: int) -> Verdict:
    """What this user may have there now; asked again while the session lasts."""
    if not user.active:
        return Verdict("refused", "this user is blocked", user.id, barred="blocked")
    if user.chargers and charger not in user.chargers:
        return Verdict("refused", "not at this charger", user.id, barred="place")
    max_a = 80 if user.max_a is None else user.max_a
    if user.windows:
        open_now = [w.max_a for w in user.windows if w.holds(minute)]
        max_a = min(max_a, max(open_now, default=0))
        if max_a < 6:
            return Verdict("refused", "not at this hour", user.id, barred="hour")
    if user.quota_wh is not None and used_wh >= user.quota_wh:
        return Verdict("quota", "this month's energy is used up", user.id, barred="quota")
    return Verdict("accepted", "", user.id, max_a, user.priority)


def offline_list(
    cards: Iterable[Card], users: Mapping[str, User], charger: str
) -> tuple[str, ...]:
    """Marks of the cards that may charge at this charger while the manager is away, sorted.

    A user with a quota or time windows is left out: the charger could not hold them to it.
    """
    return tuple(
        sorted(
            card.mark
            for card in cards
            if card.active
            and (user := users.get(card.user)) is not None
            and user.active
            and user.quota_wh is None
            and not user.windows
            and (not user.chargers or charger in user.chargers)
        )
    )


def list_messages(marks: tuple[str, ...], version: int) -> tuple[dict[str, object], ...]:
    """The list as card_list messages; an empty list is one empty part."""
    parts = [marks[n : n + LIST_PART] for n in range(0, len(marks), LIST_PART)] or [()]
    if len(parts) > 255:
        raise ValueError(f"{len(marks)} cards: a charger's list holds {255 * LIST_PART}")
    return tuple(
        {
            "code": protocol.CARD_LIST,
            "list": version,
            "part": n,
            "parts": len(parts),
            "cards": list(part),
        }
        for n, part in enumerate(parts)
    )
