"""`ievcc users` and `ievcc cards`: who may charge, and with what.

They write to the store itself, whether a manager runs or not; one that runs takes it up within a
second. So whoever may write to the site's folder may change them.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from manager import beside
from manager.asking import SITE_FILE, AsJson, Config
from manager.core.rights import Card
from manager.people import (
    COLUMNS,
    cards_in,
    change,
    drop_card,
    drop_user,
    import_csv,
    mark_of,
    put_card,
    put_user,
    user_from_plain,
    user_to_plain,
    users_in,
)
from manager.refusal import Refusal
from manager.site_books import of_file

users = typer.Typer(
    add_completion=False,
    help="Who may charge, and their rights; without a command, a list of them.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
)
cards = typer.Typer(
    add_completion=False,
    help="The cards by which users are known; without a command, a list of them.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
)
UserId = Annotated[str, typer.Argument(help="short and for good: a-z, 0-9, . _ -")]


@users.callback()
def _users(ctx: typer.Context, config: Config = SITE_FILE, as_json: AsJson = False) -> None:
    if ctx.invoked_subcommand is None:
        list_users(config, as_json)


@users.command("list")
def list_users(config: Config = SITE_FILE, as_json: AsJson = False) -> None:
    """List the users and what they may."""
    with beside.look(of_file(config).store) as db:
        found = [user_to_plain(u) for u in users_in(db).values()]
        held = cards_in(db).values()
    for user in found:
        user["cards"] = sum(c.user == user["id"] for c in held)
    if as_json:
        typer.echo(json.dumps(found))
        return
    names = ("user", "name", "cards", "at most A", "priority", "when", "kWh a month", "chargers")
    table = Table(*names, "pays", box=None)
    for u in found:
        quota = "" if u["quota_wh"] is None else f"{u['quota_wh'] / 1000:g}"
        table.add_row(
            u["id"],
            u["name"] if u["active"] else f"{u['name']} (blocked)",
            str(u["cards"]),
            _said(u["max_a"]),
            _said(u["priority"]),
            u["windows"] or "always",
            quota,
            ", ".join(u["chargers"]) or "all",
            u["payer"] or "self",
        )
    Console().print(table)


def _said(value: int | None) -> str:
    return "" if value is None else str(value)


@users.command("add")
@users.command("set")
def set_user(
    user: UserId,
    config: Config = SITE_FILE,
    name: Annotated[str | None, typer.Option(help="as shown and printed")] = None,
    email: Annotated[str | None, typer.Option()] = None,
    max_a: Annotated[int | None, typer.Option(help="6 to 80; 0: no limit")] = None,
    priority: Annotated[int | None, typer.Option(help="0 first to 9; -1: the charger's")] = None,
    windows: Annotated[
        str | None, typer.Option(help="when, as `mon-fri 22:00-08:00 16 A; sat,sun 00:00-24:00`")
    ] = None,
    quota_kwh: Annotated[int | None, typer.Option(help="a month; -1: no limit")] = None,
    chargers: Annotated[str | None, typer.Option(help="which, with commas; `all`")] = None,
    owns: Annotated[
        str | None, typer.Option(help="chargers that charge for this user without a card; `none`")
    ] = None,
    payer: Annotated[str | None, typer.Option(help="user who gets the bill; `self`")] = None,
    active: Annotated[bool | None, typer.Option("--active/--blocked")] = None,
) -> None:
    """Add a user, or change one: what is not said stays."""
    said: dict[str, Any] = {"id": user}
    texts = {"name": name, "email": email, "windows": windows}
    said |= {key: text for key, text in texts.items() if text is not None}
    if max_a is not None:
        said["max_a"] = max_a or None
    if priority is not None:
        said["priority"] = None if priority < 0 else priority
    if quota_kwh is not None:
        said["quota_wh"] = None if quota_kwh < 0 else quota_kwh * 1000
    for key, listed, nothing in (("chargers", chargers, "all"), ("owns", owns, "none")):
        if listed is not None:
            names = [] if listed == nothing else [n for n in listed.split(",") if n]
            said[key] = names
    if payer is not None:
        said["payer"] = "" if payer == "self" else payer
    if active is not None:
        said["active"] = active
    with change(of_file(config).store) as db:
        put_user(db, user_from_plain(said, users_in(db).get(user)))
    typer.echo(f"{user} is kept")


@users.command("remove")
def remove_user(user: UserId, config: Config = SITE_FILE) -> None:
    """Remove a user and the cards; one who has charged is blocked instead."""
    with change(of_file(config).store) as db:
        words = drop_user(db, user)
    typer.echo(words)


@users.command("import", help=f"Take users and cards from CSV; columns {', '.join(COLUMNS)}.")
def import_users(
    file: Annotated[Path, typer.Argument(help="a row a card; - reads from the pipe")],
    config: Config = SITE_FILE,
) -> None:
    """All of it is taken or, if a line is wrong, nothing."""
    try:
        text = typer.get_text_stream("stdin").read() if str(file) == "-" else file.read_text()
    except (OSError, UnicodeDecodeError) as e:
        raise Refusal(f"{file}: {e}") from e
    store = of_file(config).store
    with change(store) as db:
        people, held = import_csv(db, text, store)
    typer.echo(f"{people} users and {held} cards taken")


@cards.callback()
def _cards(ctx: typer.Context, config: Config = SITE_FILE, as_json: AsJson = False) -> None:
    if ctx.invoked_subcommand is None:
        list_cards(config, as_json)


@cards.command("list")
def list_cards(config: Config = SITE_FILE, as_json: AsJson = False) -> None:
    """List the cards, by the marks that stand for their numbers."""
    with beside.look(of_file(config).store) as db:
        found = [card_to_plain(c) for c in cards_in(db).values()]
    if as_json:
        typer.echo(json.dumps(found))
        return
    table = Table("mark", "user", "label", "purpose", "", box=None)
    for c in found:
        blocked = "" if c["active"] else "blocked"
        table.add_row(c["mark"], c["user"], c["label"], c["purpose"], blocked)
    Console().print(table)


def card_to_plain(card: Card) -> dict[str, Any]:
    """A card as JSON says it."""
    return {
        "mark": card.mark,
        "user": card.user,
        "label": card.label,
        "purpose": card.purpose,
        "active": card.active,
    }


@cards.command("add")
def add_card(
    user: Annotated[str, typer.Argument(help="whose")],
    number: Annotated[str, typer.Argument(help="of the card, in hex")] = "",
    config: Config = SITE_FILE,
    mark: Annotated[
        str, typer.Option(help="instead of the number: as events show it after a tap")
    ] = "",
    label: Annotated[str, typer.Option(help="what is written on it, a vehicle's plate")] = "",
    purpose: Annotated[str, typer.Option(help="private or business")] = "private",
) -> None:
    """Give a user a card, or change what is said of it. Its number is not kept."""
    if bool(number) == bool(mark):
        raise Refusal("give the card's number, or --mark")
    store = of_file(config).store
    mark = mark or mark_of(store, number)
    with change(store) as db:
        put_card(db, Card(mark, user, True, label, purpose))
    typer.echo(f"card {mark} is {user}'s")


def _one(found: dict[str, Card], which: str) -> Card:
    match = [c for c in found.values() if which and which in (c.mark, c.label)]
    if len(match) != 1:
        raise Refusal(f"{len(match) or 'no'} cards of mark or label {which!r}: see `ievcc cards`")
    return match[0]


Which = Annotated[str, typer.Argument(help="mark or label")]


@cards.command("block")
def block_card(which: Which, config: Config = SITE_FILE) -> None:
    """A card that is lost: refused from now on, also by chargers that decide alone."""
    _switch(which, config, active=False)


@cards.command("unblock")
def unblock_card(which: Which, config: Config = SITE_FILE) -> None:
    """It was found."""
    _switch(which, config, active=True)


def _switch(which: str, config: Path, *, active: bool) -> None:
    with change(of_file(config).store) as db:
        card = _one(cards_in(db), which)
        put_card(db, replace(card, active=active))
    typer.echo(f"card {card.mark} of {card.user} is {'good again' if active else 'blocked'}")


@cards.command("remove")
def remove_card(which: Which, config: Config = SITE_FILE) -> None:
    """Remove a card."""
    with change(of_file(config).store) as db:
        card = _one(cards_in(db), which)
        drop_card(db, card.mark)
    typer.echo(f"card {card.mark} of {card.user} is removed")
