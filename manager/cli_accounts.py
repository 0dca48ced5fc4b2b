"""`ievcc accounts`: who may log in to the page."""

from __future__ import annotations

import getpass
import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from manager import logins
from manager.asking import SITE_FILE, AsJson, Config
from manager.refusal import Refusal

accounts = typer.Typer(
    add_completion=False,
    help="Who may log in to the page, and as what; without a command, a list.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
)
Name = Annotated[str, typer.Argument(help="whose")]
FromStdin = Annotated[
    bool, typer.Option("--stdin", help="the password is the first line of the standard input")
]


@accounts.callback()
def _accounts(ctx: typer.Context, config: Config = SITE_FILE, as_json: AsJson = False) -> None:
    if ctx.invoked_subcommand is None:
        list_accounts(config, as_json)


@accounts.command()
def add(
    name: Name,
    role: Annotated[str, typer.Option(help="administrator, operator or tenant")] = "tenant",
    user: Annotated[str, typer.Option(help="a tenant's: whose sessions and bills")] = "",
    stdin: FromStdin = False,
    config: Config = SITE_FILE,
) -> None:
    """Give somebody an account; the password is asked for."""
    if role not in logins.ROLES[1:]:
        raise Refusal(f"a role is one of {', '.join(logins.ROLES[1:])}")
    logins.add(_store(config), name, role, user or None, _password(stdin))
    typer.echo(f"{name} may log in as {role}")


@accounts.command("list")
def list_accounts(config: Config = SITE_FILE, as_json: AsJson = False) -> None:
    """List the accounts."""
    path = _store(config)
    rows = logins.accounts(path) if path.exists() else []
    if as_json:
        typer.echo(json.dumps([{"name": a.name, "role": a.role, "user": a.user} for a in rows]))
        return
    for a in rows:
        typer.echo(f"{a.name}  {a.role}{f' of {a.user}' if a.user else ''}")
    if not rows:
        typer.echo("none: on this computer's own address everybody is administrator")


@accounts.command()
def remove(name: Name, config: Config = SITE_FILE) -> None:
    """Take an account away; who is logged in with it is so no more."""
    logins.remove(_store(config), name)
    typer.echo(f"{name} has no account any more")


@accounts.command()
def password(name: Name, stdin: FromStdin = False, config: Config = SITE_FILE) -> None:
    """Give an account another password; its logins end."""
    logins.set_password(_store(config), name, _password(stdin))
    typer.echo(f"{name} has a new password")


def _store(config: Path) -> Path:
    from manager.site_file import SiteFileError, load  # noqa: PLC0415 - slow on a Raspberry Pi

    try:
        path = config.resolve().parent / load(config).store
    except SiteFileError as e:
        raise Refusal(f"{config}: {e}") from e
    # A file of root's beside the manager's store would stop the manager from writing to it.
    owner = path.parent.stat().st_uid if path.parent.is_dir() else os.geteuid()
    if owner != os.geteuid():
        raise Refusal(f"{path.parent} is another user's: say sudo -u '#{owner}' ievcc accounts ..")
    return path


def _password(stdin: bool) -> str:
    if stdin:
        return sys.stdin.readline().rstrip("\n")
    if not sys.stdin.isatty():
        raise Refusal("no terminal to ask at: give --stdin")
    first = getpass.getpass("password: ")
    if getpass.getpass("again: ") != first:
        raise Refusal("not the same")
    return first
