"""docs/installing.md and what `ievcc init` says: every command and option there is one; words complete."""

from __future__ import annotations

import os
import re
import shlex
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


def complete(words: str, home: Path) -> set[str]:
    """What bash offers at the end of these words, by the script that --install-completion put there."""
    script = (
        f'source "{home}/.bash_completions/ievcc.sh"; COMP_WORDS=({words} ""); '
        "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); "
        '_ievcc_completion ievcc; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True,
        env={**os.environ, "HOME": str(home), "PATH": path},
    )  # fmt: skip
    return set(done.stdout.split())


def test_words_complete_in_bash(tmp_path: Path) -> None:
    subprocess.run(
        [str(Path(sys.executable).parent / "ievcc"), "--install-completion", "bash"],
        check=True, capture_output=True, env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert "ievcc" in (tmp_path / ".bashrc").read_text()
    assert {"init", "run", "doctor", "devices", "accounts", "backup"} <= complete(
        "ievcc", tmp_path
    )
    assert {"add", "authorise", "revoke", "list"} <= complete("ievcc devices", tmp_path)
