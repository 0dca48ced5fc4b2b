"""`ievcc devices`: the meters and chargers of the site."""

from __future__ import annotations

import json

import typer
from rich.console import Console
from rich.table import Table

from manager.asking import SITE_FILE, AsJson, Config, Url, address, ask
from manager.provision import provision

devices = typer.Typer(
    add_completion=False,
    help="The meters and chargers; without a command, a list of them.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
)
devices.command()(provision)


@devices.callback()
def _devices(
    ctx: typer.Context, config: Config = SITE_FILE, url: Url = "", as_json: AsJson = False
) -> None:
    if ctx.invoked_subcommand is None:
        list_devices(config, url, as_json)


@devices.command("list")
def list_devices(config: Config = SITE_FILE, url: Url = "", as_json: AsJson = False) -> None:
    """List the meters and chargers, and what was refused of them."""
    state = ask(f"{address(config, url)}/api/state")
    rows = [*state["meters"], *state["chargers"]]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = Table("device", "kind", "there", "start", "model", "firmware", "refused", box=None)
    for d in rows:
        refused = ", ".join(f"{n} {what}" for what, n in sorted(d["refused"].items())) or "none"
        there = "yes" if d["online"] else "offline"
        cells = (d["id"], d["kind"], there, str(d["boot"]), d["model"], d["firmware"], refused)
        table.add_row(*cells)
    Console().print(table)
