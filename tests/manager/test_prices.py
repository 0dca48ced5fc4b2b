"""Tariffs as data, exactly; day-ahead prices from OMIE's files and from where it publishes them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import date, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from manager import beside
from manager.cli_money import tariffs as commands
from manager.core.omie import MARKET_ZONE
from manager.core.tariffs import ALL_DAYS, Rate, Spot, Tariff
from manager.day_ahead import DayAhead, wanted
from manager.prices import (
    OMIE,
    PriceError,
    add_tariffs,
    fetch,
    import_omie,
    omie_address,
    ordered,
    put_spot,
    put_tariffs,
    spot_in,
    tariff_from_plain,
    tariff_to_plain,
    tariffs_from_text,
    tariffs_in,
)
from manager.refusal import Refusal
from manager.run import Manager
from manager.site_file import SiteFileError, parse
from manager.store import Store

DATA = Path(__file__).parent.parent / "data"
QUARTERS = DATA / "omie_2025-10-01_quarter_hours.txt"
DAY = 1_759_269_600  # 2025-10-01 00:00 in Madrid
LISBON = "Europe/Lisbon"

TOML = """
[[tariff]]
name = "house 2026"
valid_from = 2026-01-01
timezone = "Europe/Lisbon"
vat_percent = 23
per_session = 0.25
idle_per_hour = 1.20
idle_grace_min = 30
solar_per_kwh = 0.09
rates = [
  { days = "mon-fri", from = "08:00", to = "22:00", per_kwh = 0.213457 },
  { per_kwh = 0.1102 },
]
[[tariff]]
name = "spot 2027"
valid_from = "2027-01-01"
spot = { area = "PT", factor = 1.08, add = 0.0523 }
"""


def test_a_tariff_is_read_exactly() -> None:
    house, spot = tariffs_from_text(TOML, LISBON)
    assert house == Tariff(
        "house 2026",
        rates=(Rate(213_457, frozenset(range(5)), 480, 1320), Rate(110_200)),
        solar_u=90_000,
        per_session=2500,
        idle_per_hour=12_000,
        idle_grace_s=1800,
        vat_permille=230,
        timezone=LISBON,
        valid_from_s=1_767_225_600,
    )
    assert spot.spot == Spot(1080, 52_300, "PT")
    assert spot.timezone == LISBON


RATES = st.lists(
    st.builds(
        Rate,
        st.integers(-(10**6), 10**7),
        st.frozensets(st.integers(0, 6), min_size=1),
        st.integers(0, 95).map(lambda n: n * 15),
        st.integers(1, 96).map(lambda n: n * 15),
    ),
    max_size=4,
).map(lambda rates: (*rates, Rate(123_456, ALL_DAYS)))
SPOTS = st.builds(Spot, st.integers(0, 3000), st.integers(-(10**6), 10**6), st.just("ES"))


@given(
    st.one_of(RATES.map(lambda r: {"rates": r}), SPOTS.map(lambda s: {"spot": s})),
    st.none() | st.integers(0, 10**6),
    st.lists(st.integers(0, 10**8), min_size=3, max_size=3),
    st.integers(0, 1000),
    st.integers(0, 2_000_000_000),
    st.sampled_from(["UTC", LISBON, "Asia/Kathmandu"]),
)
def test_what_is_written_is_read_again(
    how: dict[str, Any],
    solar: int | None,
    money: list[int],
    vat: int,
    begins: int,
    zone: str,
) -> None:
    tariff = Tariff(
        "t",
        **how,
        solar_u=solar,
        per_hour=money[0],
        per_session=money[1],
        idle_per_hour=money[2],
        vat_permille=vat,
        timezone=zone,
        valid_from_s=begins,
    )
    assert tariff_from_plain(tariff_to_plain(tariff)) == tariff


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"rates": [{"per_kwh": 1}]}, "name"),
        ({"name": "t"}, "give either rates or spot"),
        ({"name": "t", "rates": [{"per_kwh": "0.1234567"}]}, "more than 6 decimals"),
        ({"name": "t", "rates": [{"per_kwh": 0.1}]}, "is not an amount"),  # a float of somebody's
        ({"name": "t", "rates": [{"per_kwh": "NaN"}]}, "per_kwh"),
        ({"name": "t", "rates": [{"per_kwh": "1e99"}]}, "too large"),
        ({"name": "t", "rates": [{}]}, "per_kwh: is missing"),
        ({"name": "t", "rates": [{"per_kwh": 1, "days": "someday"}]}, "days"),
        ({"name": "t", "rates": [{"per_kwh": 1, "from": "25:00"}]}, "not a time of day"),
        ({"name": "t", "rates": [{"per_kwh": 1, "to": "08:00"}]}, "no price on Mon at 08:00"),
        ({"name": "t", "rates": [{"per_kwh": 1}], "per_session": -1}, "less than nothing"),
        ({"name": "t", "rates": [{"per_kwh": 1}], "currency": "euro"}, "three letters"),
        ({"name": "t", "rates": [{"per_kwh": 1}], "timezone": "Mars"}, "timezone"),
        ({"name": "t", "rates": [{"per_kwh": 1}], "valid_from": "soon"}, "not a date"),
        ({"name": "t", "rates": [{"per_kwh": 1}], "vat": 23}, "not known"),
        ({"name": "t", "spot": {"area": "FR"}}, "known are PT, ES"),
        (
            {
                "name": "t",
                "rates": [{"per_kwh": 1}],
                "valid_from": "2026-02-01",
                "valid_to": "2026-01-01",
            },
            "ends before it begins",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_words(said: dict[str, Any], words: str) -> None:
    with pytest.raises(PriceError, match=words):
        tariff_from_plain(said)


def test_two_tariffs_never_hold_at_once(tmp_path: Path) -> None:
    old, new = Tariff("old", (Rate(1),)), Tariff("new", (Rate(2),), valid_from_s=1_000_000)
    with pytest.raises(PriceError, match="'old' and 'new' both hold at 1970-01-12 13:46 UTC"):
        ordered([new, old])
    with beside.change(tmp_path / "ievcc.db") as db:
        put_tariffs(db, [old])
        kept = add_tariffs(db, [new])
        assert [(t.name, t.valid_to_s) for t in kept] == [("old", 1_000_000), ("new", None)]
        middle = Tariff("mid", (Rate(3),), valid_from_s=500_000)
        with pytest.raises(PriceError, match="both hold"):
            add_tariffs(db, [middle])  # the old one was said to last longer: that is not guessed
        assert tariffs_in(db) == kept
        again = Tariff("new", (Rate(5),), valid_from_s=1_000_000)
        assert add_tariffs(db, [again])[1].rates == (Rate(5),)


def test_a_file_of_omie(tmp_path: Path) -> None:
    with beside.change(tmp_path / "ievcc.db") as db:
        text = QUARTERS.read_bytes().decode("latin-1")
        assert import_omie(db, text) == {"PT": 96, "ES": 96}
        assert import_omie(db, text) == {"PT": 96, "ES": 96}  # the same file again is no more
        got = spot_in(db, ["PT"], DAY, DAY + 86_400)["PT"]
        assert (len(got), min(got)) == (96, DAY)
        with pytest.raises(PriceError, match="is this an OMIE price file"):
            import_omie(db, "<html>not today</html>")


# From where it is published: a real server, with the recorded file under OMIE's own path.


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    path = omie_address(date(2025, 10, 1)).partition("omie.es/")[2]
    file = tmp_path / "www" / path
    file.parent.mkdir(parents=True)
    file.write_bytes(QUARTERS.read_bytes())

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = partial(Quiet, directory=str(tmp_path / "www"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield OMIE.replace("https://www.omie.es", f"http://127.0.0.1:{served.server_port}")
        served.shutdown()
        thread.join()


def run(folder: Path, *words: str) -> Any:
    config = folder / "site.toml"
    config.write_text('[site]\nlimit_a = 30\ntimezone = "Europe/Lisbon"\n')
    return CliRunner().invoke(commands, [*words, "--config", str(config)])


def test_prices_are_fetched(tmp_path: Path, server: str) -> None:
    done = run(tmp_path, "fetch", "--day", "2025-10-01", "--address", server)
    assert done.output == "2025-10-01: 96 quarter hours for PT, 96 quarter hours for ES\n"
    with beside.look(tmp_path / "ievcc.db") as db:
        assert len(spot_in(db, ["ES"], DAY, DAY + 86_400)["ES"]) == 96


def test_a_day_that_is_not_out_yet(tmp_path: Path, server: str) -> None:
    done = run(tmp_path, "fetch", "--day", "2025-10-02", "--address", server)
    assert isinstance(done.exception, Refusal)
    assert "a day's prices come out the day before" in str(done.exception)


def test_a_network_that_fails(tmp_path: Path, server: str) -> None:
    with pytest.raises(PriceError, match=r"cannot reach .*refused.*the prices known stay"):
        fetch("http://127.0.0.1:9/prices")
    with pytest.raises(PriceError, match="an address begins with https"):
        fetch("file:///etc/passwd")


def test_a_running_manager_fetches_what_is_missing_and_says_once_what_fails(
    tmp_path: Path, server: str
) -> None:
    store = Store(tmp_path / "ievcc.db")
    site = parse("[site]\nlimit_a = 30\n").site
    manager = Manager(site, store, site, broker=("127.0.0.1", 9), keys={}, open_door=False)
    now = DAY + 3600
    # All days but one are known; that one is at the server.
    with beside.change(store.path) as db:
        for day in wanted(now)[:-1]:
            begins = int(datetime(day.year, day.month, day.day, tzinfo=MARKET_ZONE).timestamp())
            for area in ("PT", "ES"):
                put_spot(db, area, {begins: 1})
    ahead = DayAhead(manager, server, lambda: now)
    assert asyncio.run(ahead.look()) == 1
    assert asyncio.run(ahead.look()) == 0, "nothing is missing, and nothing is said"
    assert [e["words"] for e in manager.events] == ["day-ahead prices of 2025-10-01 are here"]
    now += 13 * 3600  # the next day's ought to be out, and are not there
    assert asyncio.run(ahead.look()) == 0
    assert asyncio.run(ahead.look()) == 0
    assert len(manager.events) == 2
    assert "come out the day before" in manager.events[-1]["words"]
    store.close()


def test_prices_come_out_in_the_early_afternoon() -> None:
    assert wanted(DAY + 12 * 3600)[-1] == date(2025, 10, 1)
    assert wanted(DAY + 13 * 3600)[-1] == date(2025, 10, 2)


@pytest.mark.parametrize("fetch", ["ftp://x/{year}{month}{day}", "https://x/{year}", "esios"])
def test_a_place_to_fetch_from_that_is_none(fetch: str) -> None:
    with pytest.raises(SiteFileError, match="is not omie or an address with"):
        parse(f'[site]\nlimit_a = 30\n[energy]\nfetch = "{fetch}"\n')


def test_where_omie_publishes() -> None:
    assert omie_address(date(2026, 3, 1)) == (
        "https://www.omie.es/sites/default/files/dados/AGNO_2026/MES_03/TXT/"
        "INT_PBC_EV_H_1_01_03_2026_01_03_2026.TXT"
    )
