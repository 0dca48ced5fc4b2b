"""`make` as a person at a terminal calls it."""

import os
import subprocess

from tools.board_kinds import ROOT


def make(*words: str) -> subprocess.CompletedProcess[str]:
    """Run make with these targets and settings, in the virtual environment that is there."""
    # Under `make test ARGS=...` its own settings would be handed down to this one.
    outer = ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "ARGS")
    env = {name: value for name, value in os.environ.items() if name not in outer}
    # However new pyproject.toml may be, nothing is set up anew by a test.
    command = ["make", "--old-file=.venv/ready", *words]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
