"""The site file: what a person may write, and what is refused with the line and the sum."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from manager.core import plain
from manager.core.site import MAIN, Settings, Window
from manager.site_file import SiteFileError, load, parse

WHOLE = """
[site]
name = "home"
limit_a = 30
policy = "equal"
update_interval_s = 0
worst_house_a = 18
margin_a = 1.5
timezone = "Europe/Lisbon"

[broker]
host = "127.0.0.1"
port = 0

[[feeder]]
name = "garage"
limit_a = 20

[[device]]
id = "Counter-1"
key = "00112233445566778899aabbccddeeff"

[[device]]
id = "Charger-1"
feeder = "garage"
priority = 2
failsafe_a = 6

[[window]]
days = ["sun"]
start = "22:00"
end = "06:00"
max_a = 10
charger = "Charger-1"
"""


def test_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(WHOLE)
    file = load(path)
    site = file.site
    assert site.settings.policy == "equal"
    assert site.settings.update_interval_ms == 0
    assert site.settings.margin_ma == 1500
    assert site.feeders[MAIN].limit_ma == (30_000,)
    assert site.feeders["garage"].parent == MAIN
    assert site.places == {"Charger-1": "garage"}
    assert site.failsafes == {"Charger-1": 6}
    assert site.priorities["Charger-1"] == 2
    assert site.settings.windows == (Window(6 * 1440 + 22 * 60, 6 * 60, 10, "Charger-1"),)
    assert file.devices["Counter-1"].key == bytes.fromhex("00112233445566778899aabbccddeeff")
    assert (file.broker.host, file.broker.port) == ("127.0.0.1", 0)
    assert not file.open


def test_what_is_left_out_is_as_the_core_has_it() -> None:
    assert parse("[site]\nlimit_a = 30\n").site.settings == Settings()


def test_a_site_comes_back_from_the_disk() -> None:
    site = parse(WHOLE).site
    kept = json.loads(json.dumps(plain.site_to_plain(site)))
    back = plain.site_from_plain(kept, 5_000)
    assert (back.settings, back.feeders, back.failsafes) == (
        site.settings,
        site.feeders,
        site.failsafes,
    )


@pytest.mark.parametrize(
    "spoiled", [{}, {"version": 99}, {"version": 1}, {"version": 1, "chargers": 3}]
)
def test_what_is_no_kept_site_is_told(spoiled: dict[str, object]) -> None:
    with pytest.raises(plain.PlainError):
        plain.site_from_plain(spoiled, 0)


OVERLAP = """[site]
limit_a = 30
[[window]]
start = '22:00'
end = '06:00'
max_a = 9
[[window]]
days = ['tue']
start = '05:00'
end = '07:00'
max_a = 8
"""


@pytest.mark.parametrize(
    ("text", "where", "line", "words"),
    [
        ("[site]\n", "site.limit_a", 1, "is missing"),
        ("[site]\nlimit_a = 0\n", "site.limit_a", 2, "not a number within 1..6300"),
        ("[site]\nphases = 3\nlimit_a = [30, 30]\n", "site.limit_a", 3, "2 limits for 3 phases"),
        ("[site]\nlimit_a = 30\npolicy = 'mine'\n", "site.policy", 3, "one of fair, equal"),
        ("[site]\nlimit_a = 30\nlimt = 3\n", "site.limt", 3, "not known here"),
        ("[site]\nlimit_a = 30\nttl_s = 9\nrenew_s = 5\n", "site.renew_s", 4, "at least twice"),
        ("[site]\nlimit_a = 30\ntimezone = 'Mars'\n", "site.timezone", 3, "not a time zone"),
        (
            "[site]\nlimit_a = 30\n[[feeder]]\nname = 'a'\nlimit_a = 40\n",
            "feeder[1].limit_a", 5, "40 A is more than main, which it hangs under, has (30 A)",
        ),
        (
            "[site]\nlimit_a = 30\n[[feeder]]\nname = 'a'\nlimit_a = 4\nparent = 'b'\n",
            "feeder[1].parent", 6, "no feeder b before this one",
        ),
        (
            "[site]\nlimit_a = 30\n[[device]]\nid = 'a'\n[[device]]\nid = 'a'\n",
            "device[2].id", 6, "a is there twice",
        ),
        ("[site]\nlimit_a = 30\n[[device]]\nid = 'a'\nkey = 'abcd'\n", "device[1].key", 5, "too few"),
        (
            "[site]\nlimit_a = 30\n[[device]]\nid = 'a'\nfailsafe_a = 3\n",
            "device[1].failsafe_a", 5, "3 A cannot be offered",
        ),
        (
            "[site]\nlimit_a = 30\n[[window]]\nstart = '8:00'\nend = '9:00'\nmax_a = 9\ncharger = 'x'\n",
            "window[1].charger", 7, "no device x is listed",
        ),
        (
            OVERLAP,
            "window[2].start", 9, "overlaps window[1] at tue 05:00",
        ),
        ("[site]\nlimit_a = 30\n[[window]]\nstart = '25:00'\n", "window[1].start", 4, "HH:MM"),
        ("[web]\nport = 8080\n", "site.limit_a", 0, "is missing"),
        ("[site]\nlimit_a = 30\n[web]\nport = 99999\n", "web.port", 4, "within 0..65535"),
        ("[site]\nlimit_a = 30\n[wbe]\n", "wbe", 0, "not known here"),
    ],
)  # fmt: skip
def test_refused_with_the_place(text: str, where: str, line: int, words: str) -> None:
    with pytest.raises(SiteFileError) as told:
        parse(text)
    assert (told.value.where, told.value.line) == (where, line)
    assert words in str(told.value)


def test_failsafes_above_the_feeder_are_refused_with_the_sum() -> None:
    text = "[site]\nlimit_a = 30\nworst_house_a = 20\n"
    for n in range(1, 4):
        text += f"[[device]]\nid = 'c{n}'\nfailsafe_a = 6\n"
    with pytest.raises(SiteFileError, match=r"6 A .c1. . 6 A .c2. . 6 A .c3. . 20 A .* = 38 A"):
        parse(text)


def test_what_is_not_toml_or_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SiteFileError, match="not TOML"):
        parse("[site")
    with pytest.raises(SiteFileError, match="cannot be read"):
        load(tmp_path / "none.toml")
