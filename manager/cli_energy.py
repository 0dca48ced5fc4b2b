"""`ievcc wish`, `ievcc source`: what a driver wants, and where the cars' energy comes from."""

from __future__ import annotations

from typing import Annotated

import typer

from manager.asking import SITE_FILE, Config, Url, address, ask


def wish(
    charger: Annotated[str, typer.Argument(help="where")],
    kwh: Annotated[float | None, typer.Option(help="so much energy")] = None,
    until: Annotated[str | None, typer.Option(help="when the car leaves, HH:MM")] = None,
    max_a: Annotated[int | None, typer.Option(help="at most so many A")] = None,
    config: Config = SITE_FILE,
    url: Url = "",
) -> None:
    """Say what the driver at a charger wants; without options, take that back."""
    body = {"charger": charger, "kwh": kwh, "until": until, "max_a": max_a}
    typer.echo(ask(f"{address(config, url)}/api/wish", body)["words"])


def source(
    name: Annotated[
        str | None,
        typer.Argument(help="grid, solar_first or solar_only; left out: as the site file says"),
    ] = None,
    config: Config = SITE_FILE,
    url: Url = "",
) -> None:
    """Choose where the cars' energy comes from while the manager runs."""
    typer.echo(ask(f"{address(config, url)}/api/source", {"source": name})["words"])
