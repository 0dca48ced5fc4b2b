"""A piece of the bench: our allocation against others' inside ACN-Sim, and the speed of decisions.

ACN-Sim (`acnportal`) needs an old setuptools, so it gets a Python environment of its own, made on
first use in `.venv-acn` beside the project's.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.table import Row, UnavailableError, summed_up
from manager.core.sharing import Wish, fair

TITLE = "sharing: a race inside ACN-Sim, and the time a decision takes"
ROOT = Path(__file__).parent.parent
ENVIRONMENT = ROOT / ".venv-acn"


def _python() -> str:
    python = ENVIRONMENT / "bin" / "python"
    done = ENVIRONMENT / "installed"
    if not done.exists():
        uv = Path(sys.executable).with_name("uv")
        tool = str(uv) if uv.exists() else shutil.which("uv")
        if tool is None:
            raise UnavailableError("ACN-Sim needs uv to make an environment of its own")
        for command in (
            ["venv", "-q", "--clear", "--python", sys.executable, str(ENVIRONMENT)],
            [
                "pip",
                "install",
                "-q",
                "--python",
                str(python),
                "acnportal",
                "setuptools<81",
                "scipy",
            ],
        ):
            if subprocess.run([tool, *command], check=False).returncode:
                raise UnavailableError("ACN-Sim (acnportal) could not be installed")
        done.touch()
    return str(python)


def _run(what: str, days: int) -> list[dict[str, Any]]:
    command = f"{sys.executable} -m manager allocate"
    got = subprocess.run(
        [_python(), str(ROOT / "bench" / "acn_sim.py"), what, "--days", str(days), "--allocate", command],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    if got.returncode:
        raise RuntimeError(got.stderr.strip().splitlines()[-1])
    rows: list[dict[str, Any]] = json.loads(got.stdout.splitlines()[-1])
    return rows


def _growth() -> list[Row]:
    """Time of one fair decision over the number of chargers."""
    rows = []
    for count in (54, 500, 1000, 5000):
        wishes = [
            Wish(f"c{n}", (("main", n % 3), (f"f{n % 50}", n % 3)), 6, 10 + n % 23, rank=(n,))
            for n in range(count)
        ]
        rooms = {("main", p): count * 3_100 for p in range(3)}
        rooms |= {(f"f{f}", p): count * 100 + 6_000 for f in range(50) for p in range(3)}
        times = []
        for _ in range(9):
            start = time.perf_counter()
            fair(wishes, rooms)
            times.append((time.perf_counter() - start) * 1000)
        rows.append(summed_up(f"fair share for {count} chargers on 51 feeders", times, "ms"))
    return rows


def measure(small: bool) -> list[Row]:
    """The whole race, or two days of it."""
    rows = []
    for one in _run("house", 2 if small else 14):
        starts = f", {one['starts']} starts" if one["starts"] >= 0 else ""
        note = f"{one['minutes']} min and {one['ah']:.1f} Ah above 30 A by cars{starts}"
        rows.append(
            Row(f"house: {one['name']}", round(one["energy"], 2), None, "% of energy", note)
        )
    for one in [] if small else _run("unseen", 14):
        starts = f", {one['starts']} starts" if one["starts"] >= 0 else ""
        note = f"{one['minutes']} min and {one['ah']:.1f} Ah above 30 A by cars{starts}"
        rows.append(Row(one["name"], round(one["energy"], 2), None, "% of energy", note))
    for one in _run("site", 1):
        note = f"{one['forbidden']} forbidden decisions"
        rows.append(
            Row(f"54 chargers: {one['name']}", round(one["energy"], 2), None, "% of energy", note)
        )
    speeds = {one["name"]: one["ms"] for one in _run("speed", 1)}
    for name, ms in speeds.items():
        note = f"{speeds['round robin'] / ms:.0f} times round robin's speed"
        rows.append(Row(f"one decision for 54: {name}", ms, None, "ms", note))
    return rows + _growth()
