"""The command line as a whole: every command there is to be, and JSON from all that lists something."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from manager import cli

WANTED = (
    "init", "run", "status", "devices list", "devices authorise", "devices revoke",
    "devices provision", "users list", "cards list", "tariffs list", "sessions list",
    "sessions export", "bills list", "limit", "priority", "simulate", "replay", "board",
    "allocate", "doctor", "fog worker", "cloud serve",
)  # fmt: skip


def commands() -> dict[str, Any]:
    """Every command by its words; a group that does something by itself too."""
    root: Any = get_command(cli.app)

    def walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        if not hasattr(command, "list_commands"):
            yield " ".join(words), command
            return
        if words and command.invoke_without_command:
            yield " ".join(words), command
        for name in command.list_commands(None):
            yield from walk(command.get_command(None, name), (*words, name))

    return dict(walk(root, ()))


COMMANDS = commands()


def test_every_command_is_there() -> None:
    assert set(WANTED) <= set(COMMANDS)
    assert all((command.help or "").strip() for command in COMMANDS.values())


def lists(name: str, command: Any) -> bool:
    """Whether it shows rows of something."""
    return (
        name.rsplit(maxsplit=1)[-1]
        in ("list", "waiting", "letters", "check", "status", "report", "doctor")
        or "without a command" in command.help
    )


LISTINGS = [name for name, command in COMMANDS.items() if lists(name, command)]


@pytest.mark.parametrize("name", LISTINGS)
def test_every_listing_takes_json(name: str) -> None:
    options = [option for p in COMMANDS[name].params for option in p.opts]
    assert "--json" in options


def test_there_are_listings() -> None:
    assert len(LISTINGS) > 16
