"""docs/energy-meter.md names every setting of the meter with its range and default."""

from pathlib import Path

import pytest

from firmware.common.config import COMMON
from firmware.energy_meter.settings import ROWS

PAGE = (Path(__file__).parents[3] / "docs" / "energy-meter.md").read_text()


@pytest.mark.parametrize("row", COMMON + ROWS, ids=lambda row: row.split(":")[0])
def test_the_page_knows_the_setting(row: str) -> None:
    name, kind, low, high, default = row.split(":", 4)
    line = next(text for text in PAGE.splitlines() if text.startswith("|") and f"`{name}`" in text)
    assert default in line
    if kind == "i":
        assert f"{low} to {high}" in line or f"{low}, {high}" in line
    if kind == "e":
        assert high.replace("|", ", ") in line


def test_it_knows_no_setting_that_is_not_there() -> None:
    table = [line for line in PAGE.splitlines() if line.startswith("| `")]
    named = {word for line in table for word in line.split("|")[1].split("`")[1::2]}
    assert named == {row.split(":")[0] for row in COMMON + ROWS}
