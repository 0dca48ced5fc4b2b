"""`ievcc simulate`: runs a scenario and writes what happened."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from simulator.scenario import ScenarioError, load, shipped


def _speed(text: str) -> float:
    if text == "max":
        return 0
    try:
        speed = float(text)
    except ValueError:
        speed = -1
    if not 0 < speed <= 1_000_000:
        raise typer.BadParameter("give max, or how many times faster than the clock on the wall")
    return speed


def _clock(ms: int) -> str:
    seconds = ms // 1000
    days = f"{seconds // 86_400}d " if seconds >= 86_400 else ""
    return f"{days}{seconds // 3600 % 24}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


class _Progress:
    """One line that is written over and over on a terminal; a line every tenth elsewhere."""

    def __init__(self, duration_ms: int) -> None:
        self.duration_ms = duration_ms
        self.live = sys.stderr.isatty()
        self.tenth = 0

    def __call__(self, now_ms: int) -> None:
        share = now_ms / self.duration_ms
        line = f"{_clock(now_ms)} of {_clock(self.duration_ms)}, {share:4.0%}"
        if self.live:
            end = "\n" if now_ms >= self.duration_ms else ""
            sys.stderr.write(f"\r{line}{end}")
            sys.stderr.flush()
        elif int(share * 10) > self.tenth:
            self.tenth = int(share * 10)
            sys.stderr.write(line + "\n")


def simulate(
    scenario: Annotated[
        str, typer.Argument(help="a TOML file, or the name of a scenario that comes with IEVCC")
    ] = "",
    speed: Annotated[
        str, typer.Option(metavar="N|max", help="times faster than real time, or max")
    ] = "max",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="folder for events.csv, summary.json, chart.svg and .png"
        ),
    ] = None,
    list_all: Annotated[
        bool, typer.Option("--list", help="name the scenarios that come along")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the summary as JSON")] = False,
) -> None:
    """Run a scenario: the manager's own decisions and the chargers' own parts, cars and a
    house.
    """
    if list_all:
        for name in shipped():
            typer.echo(f"{name:20} {load(name).title}")
        return
    if not scenario:
        typer.echo(
            "Which scenario? `ievcc simulate --list` names those that come along.", err=True
        )
        raise typer.Exit(2)
    times = _speed(speed)
    # Loaded here, so that --help and a mistake in the file do not wait for all of it.
    from simulator.scenario_run import run  # noqa: PLC0415

    began = time.monotonic()
    try:
        checked = load(scenario)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
        record = run(checked, times, _Progress(checked.duration_ms))
    except ScenarioError as e:
        words = str(e)
        typer.echo(words if words.startswith(scenario) else f"{scenario}: {words}", err=True)
        raise typer.Exit(1) from e
    except OSError as e:
        typer.echo(f"{out}: {e.strerror}", err=True)
        raise typer.Exit(1) from e
    took_s = time.monotonic() - began
    summary = record.summary()
    written = "events.csv, summary.json, chart.svg, chart.png"
    if out is not None:
        from simulator.figures import draw  # noqa: PLC0415

        record.write(out)
        try:
            draw(record, out)
        except ImportError as e:
            written = "events.csv, summary.json"
            typer.echo(f"no chart: {e}; pip install 'ievcc-manager[sim]' brings it", err=True)
    if as_json:
        import json  # noqa: PLC0415

        typer.echo(json.dumps(summary, indent=1))
        return
    typer.echo(f"{checked.title}: {_clock(checked.duration_ms)} simulated in {took_s:.1f} s")
    typer.echo(_told(summary))
    if out is not None:
        typer.echo(f"Written to {out}: {written}")


def _told(summary: dict[str, Any]) -> str:
    """The summary in a few lines for people."""
    energy, excess = summary["energy_kwh"], summary["excess"]
    wanted = f" of {energy['wanted']} wanted" if energy["wanted"] else ""
    limit_a, times, longest_s = summary["limit_a"], excess["count"], excess["longest_s"]
    above = f"{times} times, {excess['seconds']} s in all, at most {longest_s} s"
    cars = f"{excess['cars_seconds']} s, {excess['cars_ampere_seconds']} A s"
    budget = f"{summary['trip_budget_used']:.1%}"
    waits = f"longest wait {summary['longest_wait_s']} s"
    lines = [
        f"  cars had {energy['cars']} kWh{wanted}, the house {energy['house']} kWh",
        f"  above {limit_a} A: {above}, {excess['ampere_seconds']} A s, peak {excess['peak_a']} A",
        f"  of that with cars drawing: {cars}; trip budget used at most {budget}",
        f"  starts {summary['starts']}, {waits}, fairness (Jain) {summary['jain_fairness']}",
    ]
    if summary["tripped_s"] is not None:
        lines.append(f"  THE BREAKER TRIPPED after {summary['tripped_s']} s")
    return "\n".join(lines)
