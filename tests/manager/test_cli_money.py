"""The commands of docs/billing.md, as the page writes them, on a site of its own."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from manager import beside, cli, people
from manager.core.rights import User
from manager.prices import tariffs_from_text
from manager.refusal import Refusal
from manager.site_file import parse
from tests.manager.test_billing import NOV_5, session

PAGE = (Path(__file__).parents[2] / "docs" / "billing.md").read_text(encoding="utf-8")
FENCED = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
OCT_5 = NOV_5 - 31 * 86_400


class Site:
    """A folder with a site file, and `ievcc` in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "site.toml"
        self.config.write_text(f'[site]\nlimit_a = 30\ntimezone = "Europe/Lisbon"\n{FENCED[1]}')
        self.path = folder / "ievcc.db"

    def run(self, *words: str) -> str:
        """What it says; its refusal as one."""
        done = CliRunner(env={"COLUMNS": "200"}).invoke(
            cli.app, [*words, "--config", str(self.config)]
        )
        if isinstance(done.exception, Refusal):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.output

    def listed(self, *words: str) -> list[dict[str, Any]]:
        """The listing with --json."""
        found: list[dict[str, Any]] = json.loads(self.run(*words, "--json"))
        return found


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def charged(site: Site) -> Site:
    """Two users and a month's sessions at the page's tariff."""
    (site.folder / "prices.toml").write_text(FENCED[0])
    site.run("tariffs", "add", str(site.folder / "prices.toml"))
    with people.change(site.path) as db:
        people.put_user(db, User("ana", "Ana"))
        people.put_user(db, User("rui", "Rui", payer="ana"))
        session(db, 1, "ana", 10_000, OCT_5)
        session(db, 2, "rui", 5000, OCT_5, payer="ana")
        session(db, 3, "", 700, OCT_5)
    return site


def test_the_pages_files_are_read() -> None:
    assert [t.name for t in tariffs_from_text(FENCED[0])] == ["house 2026", "day ahead 2027"]
    assert parse(f"[site]\nlimit_a = 30\n{FENCED[1]}").bills.tax_number == "PT 501 234 567"
    assert tomllib.loads(FENCED[0])


def test_every_command_of_the_page_exists() -> None:
    commands: Any = get_command(cli.app)
    said = set(re.findall(r"^    ievcc ([a-z]+) ?([a-z]*)", PAGE, re.MULTILINE))
    said |= set(re.findall(r"`ievcc ([a-z]+) ?([a-z]*)", PAGE))
    assert len(said) > 15
    for group, word in said:
        command = commands.get_command(None, group)
        assert command is not None, group
        if word and group != "report":
            assert word in command.list_commands(None), (group, word)


def test_users_and_cards(site: Site) -> None:
    windows = "mon-fri 22:00-08:00 16 A; sat,sun 00:00-24:00"
    site.run("users", "add", "ana", "--name", "Ana Maria", "--max-a", "16", "--windows", windows)
    site.run("users", "set", "ana", "--quota-kwh", "150", "--priority", "2")
    site.run("cards", "add", "ana", "04A1B2C3D4E5F6", "--label", "AA-11-BB")
    site.run("cards", "block", "AA-11-BB")
    (ana,) = site.listed("users")
    assert (ana["name"], ana["max_a"], ana["quota_wh"], ana["cards"]) == (
        "Ana Maria",
        16,
        150_000,
        1,
    )
    assert ana["windows"] == windows
    (card,) = site.listed("cards", "list")
    assert (card["label"], card["active"]) == ("AA-11-BB", False)
    site.run("users", "set", "ana", "--max-a", "0", "--quota-kwh", "-1", "--priority", "-1")
    (ana,) = site.listed("users", "list")
    assert (ana["max_a"], ana["quota_wh"], ana["priority"]) == (None, None, None)
    file = site.folder / "people.csv"
    file.write_text("user,card\nrui,0411223344\n")
    assert site.run("users", "import", str(file)) == "1 users and 1 cards taken\n"
    assert "Ana Maria" in site.run("users")
    site.run("cards", "remove", "AA-11-BB")
    assert site.run("users", "remove", "ana") == "ana is removed\n"
    with pytest.raises(Refusal, match="no cards of mark or label"):
        site.run("cards", "block", "AA-11-BB")


def test_a_month_from_the_sessions_to_the_paper(charged: Site) -> None:
    site = charged
    (tariff, following) = site.listed("tariffs")
    assert (tariff["valid_to"], following["valid_to"]) == ("2027-01-01", None)
    rows = site.listed("sessions", "--month", "2026-10")
    assert [(r["user"], r["net"]) for r in rows] == [
        ("ana", "1.3520"),  # 10 kWh at 0.1102 on a Monday before 8, and 0.25
        ("rui", "0.8010"),
        ("", "0.3271"),
    ]
    assert site.listed("sessions", "list", "--month", "2026-09") == []
    site.run("sessions", "export", str(site.folder / "october.xlsx"), "--month", "2026-10")
    assert (site.folder / "october.xlsx").read_bytes()[:2] == b"PK"
    site.run("sessions", "assign", "3", "ana")
    made = site.run("bills", "make", "2026-10")
    assert made.startswith("2026-000001  ana  ")
    assert site.run("bills", "make", "2026-10") == "nothing to bill for 2026-10\n"
    with pytest.raises(Refusal, match="stands on a bill"):
        site.run("sessions", "assign", "3", "rui")
    (bill,) = site.listed("bills")
    assert (bill["net"], bill["total"]) == ("2.4801", "3.05")
    pdf, folder = site.folder / "bill.pdf", site.folder / "october"
    site.run("bills", "write", "2026-000001", str(pdf))
    assert pdf.read_bytes().startswith(b"%PDF-")
    with pytest.raises(Refusal, match="a folder that is there"):
        site.run("bills", "write", "2026-10", str(folder))
    folder.mkdir()
    site.run("bills", "write", "2026-10", str(folder))
    assert (folder / "2026-000001.pdf").read_bytes() == pdf.read_bytes(), "the same each time"
    site.run("bills", "write", "2026-10", str(site.folder / "all.csv"))
    assert (site.folder / "all.csv").read_text().count("2026-000001") == 6
    assert "undoes 2026-000001: -3.05 EUR" in site.run(
        "bills", "credit", "2026-000001", "wrong tariff"
    )
    assert site.run("bills", "check") == "everything adds up\n"
    assert [b["undone_by"] for b in site.listed("bills", "list")] == ["", "2026-000002"]
    (fleet,) = site.listed("report", "fleet")
    assert (fleet["payer"], fleet["user"], fleet["energy_wh"]) == ("ana", "rui", 5000)
    site.run("report", "user", "-o", str(site.folder / "users.csv"))
    assert "energy_kwh" in (site.folder / "users.csv").read_text()
    for table in (("tariffs",), ("sessions",), ("bills",), ("report", "building")):
        assert site.run(*table)


def test_what_does_not_add_up_has_status_1(charged: Site) -> None:
    with beside.change(charged.path) as db:
        db.execute("UPDATE session SET energy_wh = 9 WHERE id = 1")
    with pytest.raises(Refusal, match="1 things do not add up"):
        charged.run("bills", "check")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("report", "profit"), "no report 'profit'"),
        (("report", "user", "-o", "x.doc"), "name it .csv or .xlsx"),
        (("sessions", "--from", "yesterday"), "is not a date"),
        (("bills", "write", "2026-000009", "x.pdf"), "no bill 2026-000009"),
        (("tariffs", "remove", "none"), "no tariff 'none'"),
        (("tariffs", "add", "/nowhere"), "No such file"),
        (("tariffs", "fetch", "--day", "soon"), "is not a day"),
        (("users", "import", "/nowhere"), "No such file"),
        (("cards", "add", "ana"), "give the card's number, or --mark"),
        (("cards", "add", "nobody", "04112233"), "no user nobody"),
    ],
)
def test_refusals_say_why(charged: Site, words: tuple[str, ...], why: str) -> None:
    with pytest.raises(Refusal, match=re.escape(why)):
        charged.run(*words)


def test_without_a_manager_that_ever_ran_listings_say_so(site: Site) -> None:
    with pytest.raises(Refusal, match="has the manager run yet"):
        site.run("sessions")
