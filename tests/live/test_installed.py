"""From `ievcc init` to a lease over TLS: mosquitto, manager and boards with what init made for them."""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manager import broker, unit
from manager.enrol import Folder
from manager.process import Child
from simulator.pzem_slave import LineThread, Pzem
from tests.live.installed import Installed, Party, board, ievcc
from tests.live.running import until
from tests.real_parts import real_part

pytestmark = pytest.mark.broker

DEVICES = ["--meter", "Counter-1", "--charger", "Charger-1@Counter-1"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, mosquitto: str) -> Iterator[Installed]:
    made = Installed(tmp_path_factory.mktemp("installed"), DEVICES)
    yield made
    made.stop()


def files(folder: Path) -> dict[str, bytes]:
    """What init made."""
    made = [
        folder / n for n in ("site.toml", "manager.crt", "manager.key", "web.key", "hosts.json")
    ]
    for inner in ("authority", "broker", "devices", "systemd"):
        made += [p for p in (folder / inner).rglob("*") if p.is_file()]
    return {str(p): p.read_bytes() for p in made}


@pytest.mark.board
def test_boards_with_what_init_made_get_a_lease_over_tls(site: Installed, tmp_path: Path) -> None:
    with LineThread([Pzem()]) as line:
        meter, _ = board(site, "energy_meter", "Counter-1")
        charger, _ = board(site, "charger", "Charger-1", start_delay_s=0, resume_s=1)
        boards = [
            Child("meter", [*meter, "--uart", line.path], tmp_path / "meter.log"),
            Child("charger", [*charger, "--bench", str(tmp_path / "bench")], tmp_path / "c.log"),
        ]
        try:
            until("the meter measures", lambda: site.state()["meters"][0:1], 60)
            until("the charger is registered", lambda: site.charger("Charger-1"), 60)

            def leased() -> Any:
                found = site.charger("Charger-1")
                return found and found["online"] and found["state"]

            until("it reports", leased, 60)
            with socket.socket(socket.AF_UNIX) as bench:
                until("bench", lambda: not bench.connect_ex(str(tmp_path / "bench")), 20)
                bench.sendall(b'{"ev":"C"}\n')
                until("it has a lease", lambda: site.charger("Charger-1")["offer_a"] >= 6, 60)
            devices = {d["id"]: d for d in site.get("/api/devices")["devices"]}
            assert devices["Charger-1"]["signed"]
            assert devices["Counter-1"]["signed"]
            assert set(site.state()["refused"]) <= {"replay"}  # QoS 1: twice is once
        finally:
            for child in boards:
                child.end()
    settings = Folder(site.folder).settings("Charger-1")
    assert (settings["broker_tls"], settings["broker_port"]) == (1, site.tls_port)
    assert "broker_password" not in settings


def test_the_managers_own_link_is_tls_and_it_checks_whom_it_talks_to(site: Installed) -> None:
    log = (site.folder / "broker.log").read_text()
    assert re.search(r"as ievcc-manager-home \(.*u'manager'\)", log)
    elsewhere = site.folder / "other.toml"
    text = site.config.read_text().replace('"ievcc.db"', '"other.db"')
    other = site.folder.parent / "other"
    ievcc("init", str(other), "--host", "localhost")
    text = text.replace("authority/ca.crt", str(other / "authority/ca.crt"))
    elsewhere.write_text(re.sub(r"(\[web\][^[]*port = )\d+", r"\g<1>0", text))
    command = [sys.executable, "-m", "manager", "run", "--config", str(elsewhere)]
    child = Child("manager", command, site.folder / "other.log")
    try:
        log_file = site.folder / "other.log"
        until("it is refused", lambda: "certificate verify failed" in log_file.read_text(), 20)
    finally:
        child.end()


def test_the_doctor_finds_nothing_wrong_with_what_runs(site: Installed) -> None:
    found = json.loads(ievcc("doctor", "--json", "--config", str(site.config)))
    assert [f for f in found if f["level"] == "bad"] == []
    words = {f["what"]: f["words"] for f in found if f["level"] == "ok"}
    assert "lets the manager in over TLS" in words["broker"]
    assert words["manager"].startswith("runs")
    assert words["store"].startswith("whole")
    assert "secret files" in words["file modes"]


def test_the_doctor_finds_a_broker_that_lets_anybody_in(site: Installed) -> None:
    conf = site.folder.parent / "open"
    conf.mkdir()
    port = broker.free_port()
    (conf / "c").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    program = broker.mosquitto()
    assert program
    child = Child("open", [program, "-c", str(conf / "c")], conf / "log")
    text = site.config.read_text().replace(f"port = {site.tls_port}", f"port = {port}")
    other = site.folder / "open.toml"
    other.write_text(
        "\n".join(
            x for x in text.splitlines() if not x.startswith(("ca =", "cert", 'key = "manager'))
        )
    )
    try:
        until("it listens", lambda: not broker.is_free(port))
        done = subprocess.run(
            [sys.executable, "-m", "manager", "doctor", "--config", str(other)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert f"port {port} lets anybody in" in done.stdout
        assert f"port {site.tls_port}" not in done.stdout
        assert f"port {site.plain_port}" not in done.stdout
    finally:
        child.end()
        other.unlink()


def test_the_page_over_https_and_commands_that_know_whom_they_ask(
    site: Installed, tmp_path: Path
) -> None:
    port = broker.free_port()
    text = '[site]\nlimit_a = 30\n[broker]\nport = 0\n[web]\nhost = "127.0.0.1"\n'
    text += f'port = {port}\ncertificate = "web.crt"\nkey = "web.key"\n'
    config = tmp_path / "site.toml"
    config.write_text(text)
    for name in ("web.crt", "web.key"):
        (tmp_path / name).write_bytes((site.folder / name).read_bytes())
    command = [sys.executable, "-m", "manager", "run", "--config", str(config)]
    child = Child("manager", command, tmp_path / "log")
    try:
        until("it says where", lambda: f"https://127.0.0.1:{port}" in child.tail(), 30)
        until("it serves", lambda: not broker.is_free(port), 30)
        ievcc("accounts", "add", "Ana", "--role", "operator", "--stdin", "--config", str(config),
              stdin="correct horse battery\n")  # fmt: skip
        assert json.loads(ievcc("status", "--json", "--config", str(config)))["name"] == "home"
        context = ssl.create_default_context(cafile=site.folder / "authority/ca.crt")
        request = urllib.request.Request(
            f"https://localhost:{port}/api/login",
            b'{"name":"Ana","password":"correct horse battery"}',
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            assert "; secure" in answer.headers["Set-Cookie"].lower()
        # Whoever answers there with another certificate is told nothing, least of all the token.
        (tmp_path / "web.crt").write_bytes((site.folder / "manager.crt").read_bytes())
        with pytest.raises(AssertionError, match="no manager answers"):
            ievcc("status", "--json", "--config", str(config))
    finally:
        child.end()


def test_init_again_leaves_everything_as_it_is(site: Installed) -> None:
    before = files(site.folder)
    said = ievcc("init", str(site.folder), *DEVICES, *site.options())
    assert "everything was there" in said
    assert files(site.folder) == before
    # What is missing is made anew, and only that.
    (site.folder / "systemd/ievcc.service").unlink()
    (site.folder / "devices/Counter-1/config.json").rename(site.folder / "kept.json")
    said = ievcc("init", str(site.folder), *site.options())
    assert f"made {site.folder}/systemd/ievcc.service" in said
    (site.folder / "kept.json").rename(site.folder / "devices/Counter-1/config.json")
    assert files(site.folder) == before


def test_secrets_are_their_owners_alone(site: Installed) -> None:
    for path in site.folder.rglob("*"):
        mode = path.stat().st_mode & 0o777
        secret = path.suffix in (".key", ".db", ".token") or path.name in (
            "key.der",
            "config.json",
            "passwords",
            "site.toml",
        )
        if path.is_dir() and path.parent == site.folder and path.name != "debian":
            assert mode == 0o700 or path.suffix == ".flash", path
        if secret and path.parent.name in ("site", "authority", "broker", "Charger-1"):
            assert path.name == "Charger-1.key" or mode & 0o077 == 0, f"{path} {mode:o}"


def test_a_device_added_while_all_runs_comes_in_and_one_revoked_does_not(
    site: Installed,
) -> None:
    config = ["--config", str(site.config)]
    said = ievcc("devices", "add", "Charger-7", "--counter", "Counter-1", *config)
    assert "Charger-7 is authorised" in said
    site.reload_broker()
    meter = Party(site, "Counter-1", boot=1000)
    charger = Party(site, "Charger-7")
    try:
        assert meter.announce_counter() == "Counter registered: Counter-1"
        assert charger.announce_charger() == "Charger registered: Charger-7"
        assert "Charger-7" in site.config.read_text()
        said = ievcc("devices", "revoke", "Charger-7", *config)
        assert "heard no more" in said
        assert "off the broker's lists" in said
        assert not (site.folder / "devices/Charger-7").exists()
        assert "Charger-7" not in (site.folder / "broker/acl").read_text()
        site.reload_broker()
        before = site.state()["taken"]
        charger.measure(1, 0x032)
        meter.measure(2)
        until("only the meter is heard", lambda: site.state()["taken"] > before)
        devices = {d["id"]: d["standing"] for d in site.get("/api/devices")["devices"]}
        assert devices["Charger-7"] == "revoked"
        # The board that takes its place has another key; who has the old one is nobody.
        stolen = charger.sender
        said = ievcc("devices", "add", "Charger-7", "--counter", "Counter-1", *config)
        assert "Charger-7 is authorised" in said
        site.reload_broker()
        charger.close()
        charger = Party(site, "Charger-7", boot=2)
        ours, charger.sender = charger.sender, stolen
        assert charger.announce_charger() == "Invalid Message: message signature"
        charger.sender = ours
        assert charger.announce_charger() == "Charger registered: Charger-7"
    finally:
        charger.close()
        meter.close()


def test_the_units_are_what_systemd_wants_and_sandboxed(tmp_path: Path) -> None:
    analyze = real_part("systemd-analyze")
    program = Path(sys.executable)
    (tmp_path / "ievcc.service").write_text(
        unit.service(program, Path("/var/lib/ievcc"), "daemon")
    )
    for name, text in [
        ("ievcc-broker.service", unit.broker_service(tmp_path, Path("/etc/mosquitto/ievcc"))),
        ("ievcc-broker.path", unit.broker_path(tmp_path)),
    ]:
        (tmp_path / name).write_text(text)
    names = [str(tmp_path / n) for n in ("ievcc.service", "ievcc-broker.path")]
    done = subprocess.run([analyze, "verify", *names], capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if "ievcc" in line]
    assert ours == []
    for name, most in (("ievcc.service", 15), ("ievcc-broker.service", 30)):
        done = subprocess.run(
            [analyze, "security", "--offline=yes", f"--threshold={most}",
             str(tmp_path / name)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-200:]


def test_it_runs_without_memory_both_writable_and_executable(
    tmp_path: Path, mosquitto: str
) -> None:
    """What MemoryDenyWriteExecute= forbids, forbidden by the kernel itself, if it is a Linux 6.3."""
    config = tmp_path / "site.toml"
    port = broker.free_port()
    config.write_text(f"[site]\nlimit_a = 30\n[broker]\nport = 0\n[web]\nport = {port}\n")
    program = (
        "import ctypes, sys; ctypes.CDLL(None).prctl(65, 1, 0, 0, 0);"  # PR_SET_MDWE
        "from manager.cli import app; app(sys.argv[1:])"
    )
    command = [sys.executable, "-c", program, "run", "--config", str(config)]
    child = Child("manager", command, tmp_path / "log")
    try:
        ievcc_config = ["--config", str(config)]

        def answers() -> Any:
            assert child.status() is None, child.words()
            done = subprocess.run(
                [sys.executable, "-m", "manager", "status", "--json", *ievcc_config],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            return done.returncode == 0 and json.loads(done.stdout)["broker"]["connected"]

        until("it serves", answers, 30)
        # argon2's is the one library here that is called through cffi.
        ievcc("accounts", "add", "Ana", "--role", "operator", "--stdin", *ievcc_config,
              stdin="correct horse battery\n")  # fmt: skip
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/login",
            b'{"name":"Ana","password":"correct horse battery"}',
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert json.load(answer)["role"] == "operator"
    finally:
        child.end()
