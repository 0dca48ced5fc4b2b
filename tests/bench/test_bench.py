"""The bench's own arithmetic, and a tiny slice of every piece so that `make bench` is known to
run.
"""

import json
from pathlib import Path

import pytest

from bench import __main__ as bench
from bench.reaction import PARTS
from bench.table import Row, as_text, percentile, summed_up


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([5.0], 99, 5.0),
        ([1.0, 2.0], 50, 1.5),
        ([4.0, 1.0, 3.0, 2.0, 5.0], 50, 3.0),
        (list(range(101)), 99, 99),
    ],
)
def test_percentiles(values: list[float], percent: float, expected: float) -> None:
    assert percentile(values, percent) == expected


def test_no_values_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_a_table_has_its_columns_in_line() -> None:
    text = as_text(
        "Time",
        [summed_up("a", [1.0, 2.0, 3.0], "ms"), Row("longer", 12345, None, "bytes", "note")],
    )
    assert text.splitlines() == [
        "Time",
        "----",
        "        median   p99",
        "a            2  2.98  ms",
        "longer  12,345        bytes  note",
    ]


def test_the_codec_piece_measures_every_example_beside_json_and_msgpack(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    assert bench.main(["codec", "--small", "--json", str(out)]) == 0
    rows = {row["what"]: row for row in json.loads(out.read_text())["codec"]}
    for name in ("charger_status", "counter_load", "available_load"):
        assert (
            0
            < rows[f"{name}: message"]["median"]
            < rows[f"{name}: message signed"]["median"]
            <= 512
        )
        assert rows[f"{name}: encode"]["median"] > 0
        assert rows[f"{name}: plain JSON"]["median"] > rows[f"{name}: msgpack"]["median"]


def test_an_unknown_piece_is_wrong_use() -> None:
    with pytest.raises(SystemExit) as stopped:
        bench.main(["nothing"])
    assert stopped.value.code == 2


@pytest.mark.board
@pytest.mark.broker
def test_a_slice_of_the_live_reaction(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    assert bench.main(["reaction", "--small", "--json", str(out)]) == 0
    rows = {row["what"]: row for row in json.loads(out.read_text())["reaction"]}
    parts = [rows[name]["median"] for name in PARTS]
    assert all(part > 0 for part in parts)
    # Medians of the parts need not add up to the median of the whole, but nearly do.
    assert sum(parts) == pytest.approx(rows["register to duty"]["median"], rel=0.5)
