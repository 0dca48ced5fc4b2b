"""Pretend boards for the tools: MicroPython on a pty with a littlefs of the board's size."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools.pretend import ROOT, Pretend, Start


@pytest.fixture
def pretend(tmp_path: Path, micropython: str) -> Iterator[Start]:
    """Starts pretend boards, each with a folder of its own; they end with the test."""
    boards: list[Pretend] = []

    def start(kind: str, *more: str) -> Pretend:
        boards.append(Pretend(kind, tmp_path / f"board-{len(boards)}", *more))
        return boards[-1]

    yield start
    for board in boards:
        board.end()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the sources, to change."""
    for folder in ("shared", "firmware", "tools"):
        shutil.copytree(ROOT / folder, tmp_path / "tree" / folder)
    return tmp_path / "tree"
