"""docs/installing.md and what `ievcc init` says: every command and option there is one; words complete."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from manager import cli, logins
from manager.admission import PAIRING_MOST_MIN
from manager.enrol import Folder
from manager.init import next_steps
from tests.live.running import until
from tests.real_parts import real_part

PAGE = (Path(__file__).parents[2] / "docs" / "installing.md").read_text(encoding="utf-8")


def commands(text: str) -> list[list[str]]:
    """Every line or `quoted words` that begin with ievcc, maybe behind sudo."""
    text = text.replace("\\\n", " ")
    found = re.findall(r"`(ievcc [^`]+)`", text)
    found += re.findall(r"^ {2,}(?:.*?-u \S+ )?(ievcc [^#\n]+)", text, re.MULTILINE)
    return [shlex.split(one) for one in found]


@pytest.mark.parametrize(
    "words",
    [*commands(PAGE), *commands(next_steps(Folder(Path("/x")), "ievcc", Path("/y")))],
    ids=" ".join,
)
def test_every_command_on_the_page_is_one(words: list[str]) -> None:
    found: Any = get_command(cli.app)
    rest = words[1:]
    while rest and hasattr(found, "get_command"):
        name = rest.pop(0)
        found = found.get_command(None, name)
        assert found is not None, name
    options = {o for p in found.params for o in getattr(p, "opts", [])}
    assert {word for word in rest if word.startswith("--")} <= options


def test_the_page_names_enough_of_them() -> None:
    assert len(commands(PAGE)) >= 15


def test_its_figures() -> None:
    for role, (idle, most) in {
        "administrator": ("1 hour", "1 day"),
        "operator": ("8 hours", "7 days"),
        "tenant": ("7 days", "30 days"),
    }.items():
        assert f"| {role} | {idle} | {most} |" in PAGE
        assert logins.IDLE_MS[role] == _ms(idle)
        assert logins.MOST_MS[role] == _ms(most)
    assert PAIRING_MOST_MIN >= 5


def _ms(words: str) -> int:
    number, unit = words.split()
    return int(number) * (3_600_000 if unit.startswith("hour") else 86_400_000)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_words_are_completed_at_the_tab_key(tmp_path: Path, shell: str) -> None:
    program = real_part(shell)
    places = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    home = {**os.environ, "HOME": str(tmp_path), "PATH": places, "TERM": "dumb"}
    # It looks for the shell it is called from.
    installing = [program, "-c", "ievcc --install-completion && true"]
    subprocess.run(installing, check=True, capture_output=True, env=home, timeout=60)
    near, far = pty.openpty()
    with (
        subprocess.Popen(
            [program, "-i"], stdin=far, stdout=far, stderr=far, env=home, start_new_session=True
        ) as typed,
        contextlib.ExitStack() as ending,
    ):
        os.close(far)
        said = ""
        ending.callback(os.killpg, typed.pid, signal.SIGKILL)

        def shows(what: str) -> bool:
            nonlocal said
            while select.select([near], [], [], 0)[0]:
                said += os.read(near, 65_536).decode(errors="replace")
            assert typed.poll() is None, said
            return what in said

        os.write(near, b"echo rea''dy\n")
        until("the shell is there", lambda: shows("ready"), 30)
        os.write(near, b"ievcc \tdevi\t")  # at its first tab zsh only reads what is there
        until("a command", lambda: shows("devices "), 30)
        os.write(near, b"autho\t")
        until("a command of it", lambda: shows("authorise"), 30)
        os.write(near, b"--con\t")
        until("an option", lambda: shows("--config"), 30)
    os.close(near)
