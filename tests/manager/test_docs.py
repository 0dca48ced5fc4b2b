"""docs/manager.md says what is so: its site file loads, its commands and addresses exist."""

from __future__ import annotations

import re
from pathlib import Path

from typer.main import get_command

from manager import cli
from manager.site_file import parse
from manager.web import app as web

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
