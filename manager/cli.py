"""`ievcc`: the command line. Exit status 0 done, 1 refused or failed, 2 wrong use."""

from __future__ import annotations

import base64
import json
import sys
import time
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from manager.asking import SITE_FILE, AsJson, Config, Url, address, ask
from manager.refusal import Refusal

if TYPE_CHECKING:
    from rich.console import RenderableType

# Commands in modules of their own, imported when named: a Raspberry Pi feels every import.
_OWN = {
    "accounts": "manager.cli_accounts:accounts",
    "allocate": "manager.allocate:allocate",
    "backup": "manager.backup:backup",
    "bills": "manager.cli_money:bills",
    "cards": "manager.cli_people:cards",
    "devices": "manager.cli_devices:devices",
    "doctor": "manager.doctor:doctor",
    "init": "manager.init:init",
    "notify": "manager.notify:app",
    "replay": "manager.replay:replay",
    "report": "manager.cli_money:report_command",
    "restore": "manager.backup:restore",
    "sessions": "manager.cli_money:sessions",
    "source": "manager.cli_energy:source",
    "tariffs": "manager.cli_money:tariffs",
    "users": "manager.cli_people:users",
    "wish": "manager.cli_energy:wish",
}


def _elsewhere() -> dict[str, EntryPoint]:
    """Commands of other packages, such as the simulator's: the entry points `ievcc.commands`."""
    own = {n: EntryPoint(n, value, "ievcc.commands") for n, value in _OWN.items()}
    return {**own, **{e.name: e for e in entry_points(group="ievcc.commands")}}


class _Commands(TyperGroup):
    """Our commands and those found elsewhere, which are loaded only when named or listed."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted({*super().list_commands(ctx), *_elsewhere()})

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        entry = _elsewhere().get(cmd_name)
        if entry is None:
            return super().get_command(ctx, cmd_name)
        try:
            loaded = entry.load()
        except ImportError as e:
            missing = f"not available here: {e}"

            def unavailable() -> None:
                raise Refusal(f"ievcc {cmd_name} is {missing}; pip install 'ievcc-manager[sim]'")

            unavailable.__doc__ = f"({missing})"
            loaded = unavailable
        if not isinstance(loaded, typer.Typer):
            single = typer.Typer(add_completion=False)
            single.command(cmd_name)(loaded)
            loaded = single
        command = typer.main.get_command(loaded)
        command.name = cmd_name
        return command


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    help="Shares one building's contracted power between electric-vehicle chargers and the house.",
    pretty_exceptions_enable=False,
)


@app.callback()
def _main() -> None:
    """Keeps a single command's name from being swallowed."""


@app.command()
def run(
    config: Config = SITE_FILE,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="log every event")] = False,
) -> None:
    """Run the manager of one site."""
    from manager.service import serve

    serve(config, verbose=verbose)


@app.command()
def status(
    config: Config = SITE_FILE,
    url: Url = "",
    watch: Annotated[bool, typer.Option("--watch", help="go on showing it")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what the running manager does, and why."""
    manager = address(config, url)
    if as_json:
        typer.echo(json.dumps(ask(f"{manager}/api/state")))
        return
    from rich.console import Console
    from rich.live import Live

    console = Console()
    if not watch:
        console.print(_picture(ask(f"{manager}/api/state")))
        return
    shown: RenderableType = _picture(
        ask(f"{manager}/api/state")
    )  # nobody there at the start is a refusal
    try:
        with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
            while True:
                live.update(shown, refresh=True)
                time.sleep(1)
                try:
                    shown = _picture(ask(f"{manager}/api/state"))
                except Refusal as e:  # it may come back
                    shown = f"ievcc: {e}"
    except KeyboardInterrupt:
        pass


def _picture(state: dict[str, Any]) -> RenderableType:
    from manager.table import picture

    return picture(state)


@app.command()
def limit(
    amps: Annotated[
        int | None, typer.Argument(min=0, max=200, help="ampere; left out: no limit by hand")
    ] = None,
    charger: Annotated[str, typer.Option(help="this charger only, else the whole site")] = "",
    config: Config = SITE_FILE,
    url: Url = "",
) -> None:
    """Limit the site or a charger by hand, or take that back."""
    said = ask(f"{address(config, url)}/api/limit", {"charger": charger, "limit_a": amps})
    typer.echo(said["words"])


@app.command()
def priority(
    charger: Annotated[str, typer.Argument(help="whose")],
    number: Annotated[int, typer.Argument(min=0, max=9, help="0 is served first")],
    config: Config = SITE_FILE,
    url: Url = "",
) -> None:
    """Say which chargers are served first."""
    body = {"charger": charger, "priority": number}
    typer.echo(ask(f"{address(config, url)}/api/priority", body)["words"])


@app.command()
def update(
    device: Annotated[str, typer.Argument(help="whose firmware")],
    bundle: Annotated[
        Path | None, typer.Argument(help="from python -m tools.bundle; left out: how far it is")
    ] = None,
    version: Annotated[str, typer.Option(help="of the firmware in it")] = "",
    config: Config = SITE_FILE,
    url: Url = "",
) -> None:
    """Give a board new firmware over the network, or say how far that is."""
    body: dict[str, Any] = {"device": device}
    if bundle is not None:
        try:
            content = bundle.read_bytes()
        except OSError as e:
            raise Refusal(f"{bundle}: {e.strerror}") from e
        body |= {"bundle": base64.b64encode(content).decode(), "version": version}
    typer.echo(ask(f"{address(config, url)}/api/update", body)["words"])


def main() -> None:
    """The script."""
    try:
        app()
    except Refusal as e:
        print(f"ievcc: {e}", file=sys.stderr)
        sys.exit(1)
