"""`ievcc devices`: the meters and chargers of the site."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from manager.asking import SITE_FILE, AsJson, Config, NoAnswer, Url, address, ask
from manager.provision import provision
from manager.refusal import Refusal

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


Device = Annotated[str, typer.Argument(help="its name")]


@devices.command()
def waiting(config: Config = SITE_FILE, url: Url = "", as_json: AsJson = False) -> None:
    """List who has announced itself and is not authorised, and who was sent away."""
    said = ask(f"{address(config, url)}/api/devices")
    rows = [d for d in said["devices"] if d["standing"] != "authorised"]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = Table("device", "standing", "kind", "model", "firmware", "signs", "asked", box=None)
    for d in rows:
        signs = "yes" if d["signed"] else "no"
        cells = (d["id"], d["standing"], d["kind"], d["model"], d["firmware"], signs)
        table.add_row(*cells, str(d["times"]))
    Console().print(table)
    left_s = said["pairing_until_ms"] // 1000 - int(time.time())
    if left_s > 0:
        typer.echo(f"pairing window open for {left_s // 60} min {left_s % 60} s more")


@devices.command()
def authorise(
    device: Device,
    key: Annotated[
        bool, typer.Option("--key", help="with its key, hexadecimal, from the standard input")
    ] = False,
    config: Config = SITE_FILE,
    url: Url = "",
) -> None:
    """Let a device in: with its key, again, or without a key while a pairing window is open."""
    # Not as an argument: those are read by everybody on this computer.
    given = sys.stdin.readline().strip() if key else None
    manager = address(config, url)
    typer.echo(ask(f"{manager}/api/devices/{device}/authorise", {"key": given})["words"])


@devices.command()
def pair(
    minutes: Annotated[int, typer.Argument(min=0, max=60, help="0 closes it")] = 5,
    config: Config = SITE_FILE,
    url: Url = "",
) -> None:
    """Open the pairing window: boards without a key may be let in by `authorise`."""
    typer.echo(ask(f"{address(config, url)}/api/pairing", {"minutes": minutes})["words"])


@devices.command()
def revoke(device: Device, config: Config = SITE_FILE, url: Url = "") -> None:
    """Hear a device no more, and take it off the broker's lists."""
    typer.echo(ask(f"{address(config, url)}/api/devices/{device}/revoke", {})["words"])
    from manager.enrol import Folder, strike  # noqa: PLC0415 - cryptography is slow to import

    folder = Folder(config.resolve().parent)
    if folder.installed() and strike(folder, device):
        typer.echo("off the broker's lists; its files are gone")


@devices.command()
def add(
    device: Device,
    counter: Annotated[str, typer.Option(help="the meter a charger hangs under")] = "",
    role: Annotated[str, typer.Option(help="a meter's: house, grid, solar, feeder")] = "house",
    config: Config = SITE_FILE,
    url: Url = "",
) -> None:
    """Make what a new meter (or, with --counter, charger) needs: key, certificate or password."""
    from manager.enrol import Folder, enrol  # noqa: PLC0415 - as above
    from manager.init import hosts_of, ports_of  # noqa: PLC0415

    folder = Folder(config.resolve().parent)
    if not folder.installed():
        raise Refusal(f"{folder.path} was not made by `ievcc init`; see devices provision")
    tls, plain = ports_of(folder)
    words = enrol(
        folder, device, counter, hosts=hosts_of(folder), tls_port=tls, plain_port=plain, role=role
    )
    typer.echo(words or f"{device} was enrolled before")
    # One that runs hears of it now, one that does not when it starts.
    with contextlib.suppress(NoAnswer):
        key = folder.settings(device)["key"]
        path = f"{address(config, url)}/api/devices/{device}/authorise"
        typer.echo(ask(path, {"key": key})["words"])
