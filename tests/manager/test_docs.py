"""docs/manager.md says what is so: its site file loads, its commands and addresses exist."""

from __future__ import annotations

import re
from pathlib import Path

from typer.main import get_command

from manager import cli
from manager.site_file import parse
from manager.web import app as web

PAGE_OF_REQUIREMENTS = Path(__file__).parents[2] / "docs" / "manager-requirements.md"
PAGE = (Path(__file__).parents[2] / "docs" / "manager.md").read_text(encoding="utf-8")


def test_its_site_file_loads() -> None:
    found = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert found
    file = parse(found[1])
    assert set(file.devices) == {"Counter-1", "Charger-1"}
    assert file.web.port == 8080


def test_its_commands_exist() -> None:
    group = get_command(cli.app)
    named = set(re.findall(r"`ievcc ([a-z-]+)", PAGE))
    assert {"status", "devices", "limit", "priority", "demo"} <= named
    listed = group.list_commands(None)  # type: ignore[attr-defined]
    assert named <= set(listed)


def test_its_addresses_are_those_of_the_page() -> None:
    files = Path(web.__file__).parent.glob("*.py")
    source = "".join(file.read_text(encoding="utf-8") for file in files)
    for address in re.findall(r"`(?:GET|POST) (/api/[a-z]+)`", PAGE):
        assert f'"{address}"' in source


def test_what_is_said_to_show_a_requirement_exists() -> None:
    page = PAGE_OF_REQUIREMENTS.read_text(encoding="utf-8")
    here = Path(__file__).parent
    places = {"live": here.parent / "live", "core": here / "core", "": here}
    named = re.findall(r"`(?:(live|core)/)?(test_\w+\.py)`", page)
    assert len(named) > 50
    missing = [n for n in named if not (places[n[0]] / n[1]).exists()]
    assert missing == [("", "test_x.py")]  # the one that stands for all of them
    manager = Path(web.__file__).parents[1]
    code = set(
        re.findall(
            r"`([\w./*]+)`", "".join(re.findall(r"^\|[^|]+\|([^|]+)\|", page, re.MULTILINE))
        )
    )
    for name in code - {"manager", "web"}:
        whole = name if "/" in name else name.replace(".", "/")
        within = whole.rpartition("/")[0] or whole  # a function of a module
        found = [
            *manager.glob(f"{whole}*"), *(manager / "web").glob(f"{whole}*"),
            *manager.glob(f"{within}.py"), *manager.parent.glob(name),
        ]  # fmt: skip
        assert found, name
