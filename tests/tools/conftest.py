"""Pretend boards for the tools: MicroPython on a pty with a littlefs of the board's size."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools.pretend import Pretend, Start


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
