"""The display's pages as pictures, drawn by the firmware through the real driver.

The golden ones are pictures/*.pbm. After a wanted change: `python -m
tests.firmware.energy_meter.test_display_pictures`, and look at what it wrote.
"""

import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PICTURES = HERE / "pictures"


def drawn(micropython: str) -> dict[str, str]:
    """Every page as a PBM, by its name."""
    run = subprocess.run(
        [micropython, "-X", "heapsize=200wk", HERE / "draw_pages.py", ROOT, ROOT / ".deps"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    lines = run.stdout.split()
    return {
        lines[at]: "P1\n128 64\n" + "\n".join(lines[at + 1 : at + 65]) + "\n"
        for at in range(0, len(lines), 65)
    }


@pytest.fixture(scope="module")
def pages(micropython: str) -> dict[str, str]:
    """The pages as they are drawn now."""
    if not (ROOT / ".deps" / "ssd1306.py").exists():
        pytest.skip("ssd1306 is not there: make setup fetches it")
    return drawn(micropython)


@pytest.mark.board
@pytest.mark.parametrize("name", sorted(p.stem for p in PICTURES.glob("*.pbm")))
def test_the_page_looks_as_it_should(pages: dict[str, str], name: str) -> None:
    assert pages[name] == (PICTURES / f"{name}.pbm").read_text()


@pytest.mark.board
def test_every_page_has_its_picture(pages: dict[str, str]) -> None:
    assert sorted(pages) == sorted(p.stem for p in PICTURES.glob("*.pbm"))
    assert len(set(pages.values())) == len(pages)


if __name__ == "__main__":
    for page, text in drawn("micropython").items():
        (PICTURES / f"{page}.pbm").write_text(text)
