"""The boards' files lie where the program runs: each test gets a folder of its own to run in."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def flash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty flash, and the current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
