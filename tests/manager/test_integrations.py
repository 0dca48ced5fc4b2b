"""The site file's sections for what runs beside: docs/integrations.md's own load, mistakes are named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from manager.site_file import SiteFileError, parse

PAGE = (Path(__file__).parents[2] / "docs" / "integrations.md").read_text(encoding="utf-8")
SITE = "[site]\nlimit_a = 30\n"
KEY = "0" * 32


def test_what_the_page_shows_loads() -> None:
    text = "".join(re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL))
    links = parse(SITE + text.replace("32 hexadecimal digits", KEY)).integrations
    assert links.influxdb
    assert links.emoncms
    assert links.home_assistant
    assert [(t.name, t.language) for t in links.told] == [("caretaker", "en"), ("Ana", "pt")]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[metrics]\ntoken = "short"', "line 4: metrics.token: is too easy to guess"),
        ('[influxdb]\nurl = "localhost:8086"', "line 4: influxdb.url: is not http://"),
        ('[influxdb]\nurl = "http://ana:secret@db"', "line 4: influxdb.url: is not http://"),
        (
            '[influxdb]\nurl = "http://db"\nusername = "a"\ntoken = "t"',
            "line 6: influxdb.token: or username and password",
        ),
        ('[emoncms]\nurl = "http://e"', "emoncms.key: is missing"),
        (f'[emoncms]\nurl = "http://e"\nkey = "{KEY}"\nnode = "a/b"', "line 6: emoncms.node"),
        ('[home_assistant]\nprefix = "#"', "line 4: home_assistant.prefix"),
        ('[[notify]]\nname = "a"\nurl = "json://h"\nlanguage = "xx"', "language"),
        ('[[notify]]\nname = "a"\nurl = "nobody"', "line 5: notify"),
        (
            '[[notify]]\nname = "a"\nurl = "json://a"\nabout = ["love"]',
            "is not a list of fault, offline, full, overload, cards",
        ),
        ('[[notify]]\nname = "a"\nurl = "json://a"\nurgent = true', "urgent: is not known here"),
    ],
)
def test_mistakes_are_named(text: str, why: str) -> None:
    with pytest.raises(SiteFileError) as e:
        parse(SITE + text)
    assert why in str(e.value)
    assert "secret" not in str(e.value)
