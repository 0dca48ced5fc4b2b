"""The page's server: whose uPlot it is, what it answers, what it refuses."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manager.web import app as web
from tests.live.running import Device, Running, until

pytestmark = pytest.mark.broker

# uPlot 1.6.31 as its author published it on npm (dist/uPlot.iife.min.js, dist/uPlot.min.css).
UPLOT = {
    "/assets/uplot.js": "2d27e8ad3d228164525ce213f9dc716f39b4e3aee0cc773fb3491c96cf4921a2",
    "/assets/uplot.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}


def test_uplot_is_what_its_author_published() -> None:
    files = web.assets()
    assert {path: hashlib.sha256(files[path][0]).hexdigest() for path in UPLOT} == UPLOT


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(web.WebError, match=rf"127.0.0.1:{port}.*name another port"):
            web.listen("127.0.0.1", port)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, mosquitto: str) -> Iterator[Running]:
    system = Running(tmp_path_factory.mktemp("web"), "[site]\nlimit_a = 30\nopen = true\n")
    meter = Device(system, "Counter-1")
    meter.announce_counter()
    meter.measure(5.5)
    charger = Device(system, "Charger-1")
    charger.announce_charger()
    yield system
    meter.close()
    charger.close()
    system.stop()


def test_state_is_json_with_units_in_its_names(running: Running) -> None:
    state = running.state()
    assert state["feeders"][0]["limit_a"] == [30.0]
    assert state["feeders"][0]["house_a"] == [5.5]
    assert state["feeders"][0]["known"] == "measured"
    assert state["meters"][0]["id"] == "Counter-1"
    charger = state["chargers"][0]
    assert charger["id"] == "Charger-1"
    assert charger["reason"]["words"]
    assert charger["reason"]["kind"]


def test_live_stream(running: Running) -> None:
    with urllib.request.urlopen(f"{running.url}/api/live", timeout=5) as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        lines = [stream.readline() for _ in range(4)]
    said = json.loads(lines[0].removeprefix(b"data: "))
    assert said["state"]["name"] == "home"
    assert lines[1] == b"\n"
    assert lines[2].startswith(b"data: ")


def test_history_has_a_point_a_second(running: Running) -> None:
    with urllib.request.urlopen(f"{running.url}/api/recent", timeout=5) as answer:
        points = json.load(answer)["points"]
    gaps = [b["t"] - a["t"] for a, b in itertools.pairwise(points)]
    assert all(0.9 < gap < 3 for gap in gaps)


def test_every_file_forbids_foreign_scripts_and_frames(running: Running) -> None:
    for path in web.assets():
        with urllib.request.urlopen(running.url + path, timeout=5) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'self'" in policy
            assert "frame-ancestors 'none'" in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


def post(running: Running, path: str, data: bytes, kind: str) -> tuple[int, Any]:
    request = urllib.request.Request(running.url + path, data, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as e:
        return e.code, json.load(e)


@pytest.mark.parametrize(
    ("path", "data", "kind", "words"),
    [
        ("limit", b"{}", "text/plain", "send application/json"),
        ("limit", b"charger=", "application/x-www-form-urlencoded", "send application/json"),
        ("limit", b"{", "application/json", "not JSON"),
        ("limit", b"[]", "application/json", "send a JSON object"),
        ("limit", b'{"limit_a":201}', "application/json", "whole number of amperes, 0 to 200"),
        ("limit", b'{"limit_a":1.5}', "application/json", "whole number of amperes, 0 to 200"),
        ("limit", b'{"limit_a":true}', "application/json", "whole number of amperes, 0 to 200"),
        ("limit", b'{"charger":"x","limit_a":6}', "application/json", "no charger x; there is"),
        ("priority", b'{"charger":"Charger-1"}', "application/json", "0 \\(first\\) to 9"),
        ("priority", b'{"charger":"x","priority":1}', "application/json", "no charger x"),
    ],
)
def test_what_cannot_be_is_refused_in_words(
    running: Running, path: str, data: bytes, kind: str, words: str
) -> None:
    status, said = post(running, f"/api/{path}", data, kind)
    assert status == 400
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(said["words"])


def test_a_site_limit_by_hand_is_never_above_the_site_files(running: Running) -> None:
    assert post(running, "/api/limit", b'{"limit_a":20}', "application/json")[0] == 200
    assert running.state()["feeders"][0]["limit_a"] == [20.0]
    assert post(running, "/api/limit", b'{"limit_a":90}', "application/json")[0] == 200
    assert running.state()["feeders"][0]["limit_a"] == [30.0]
    assert post(running, "/api/limit", b'{"limit_a":null}', "application/json")[0] == 200
    assert running.state()["feeders"][0]["limit_a"] == [30.0]


def test_what_was_set_by_hand_outlives_a_restart(running: Running) -> None:
    post(running, "/api/limit", b'{"limit_a":12}', "application/json")
    running.manager.end()
    running.start_manager()
    assert running.state()["feeders"][0]["limit_a"] == [12.0]
    post(running, "/api/limit", b'{"limit_a":null}', "application/json")


class TestCommandLine:
    """Exit status 0 done, 1 refused or failed, 2 wrong use; errors say what and how to mend it."""

    def ievcc(self, *words: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "manager", *words]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        assert "Traceback" not in ran.stderr
        return ran.returncode, ran.stdout, ran.stderr

    def test_status_in_words_and_as_json(self, running: Running) -> None:
        status, out, _ = self.ievcc("status", "--config", str(running.config))
        assert status == 0
        assert "Charger-1" in out
        status, out, _ = self.ievcc("status", "--json", "--url", running.url)
        assert status == 0
        assert json.loads(out)["chargers"][0]["id"] == "Charger-1"

    def test_status_goes_on_being_shown_on_a_terminal(self, running: Running) -> None:
        # Tests begun in a shell's background ignore Ctrl-C, and so would what they start.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        near, far = pty.openpty()
        command = [sys.executable, "-m", "manager", "status", "--watch", "--url", running.url]
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
        with subprocess.Popen(
            command, stdin=far, stdout=far, stderr=far, env=environment, start_new_session=True
        ) as watching:
            os.close(far)
            said = ""

            def read() -> None:
                nonlocal said
                with contextlib.suppress(OSError):  # EIO: the other end is closed
                    while select.select([near], [], [], 0)[0]:
                        said += os.read(near, 65_536).decode(errors="replace")

            def shows(what: str) -> bool:
                read()
                assert watching.poll() is None, said
                return what in said

            def ended() -> bool:
                read()  # a terminal that takes nothing would hold up its goodbye
                return watching.poll() is not None

            until("the site is shown", lambda: shows("Charger-1"), 30)
            assert "\x1b[?1049h" in said  # on a screen of its own
            post(running, "/api/limit", b'{"limit_a":17}', "application/json")
            until("the new limit is shown", lambda: shows("17.0"), 30)
            post(running, "/api/limit", b'{"limit_a":null}', "application/json")
            watching.send_signal(signal.SIGINT)
            until("it ends", ended, 30)
            assert watching.returncode == 0
        os.close(near)

    @pytest.mark.parametrize(
        ("words", "status", "says"),
        [
            (("status", "--config", "no-such.toml"), 1, "no-such.toml"),
            (("status", "--url", "http://127.0.0.1:1"), 1, "start one with `ievcc run`"),
            (("limit", "-3"), 2, "-3"),
            (("priority", "Charger-1", "12"), 2, "equal to 9"),
            (("frobnicate",), 2, "frobnicate"),
            (("run", "--config", "no-such.toml"), 1, "no-such.toml"),
        ],
    )
    def test_refusals(self, words: tuple[str, ...], status: int, says: str) -> None:
        got, _, err = self.ievcc(*words)
        assert got == status
        assert says in err

    def test_a_wrong_site_file_is_named_with_its_line(self, tmp_path: Path) -> None:
        file = tmp_path / "site.toml"
        file.write_text('[site]\nlimit_a = 30\npolicy = "greedy"\n')
        status, _, err = self.ievcc("run", "--config", str(file))
        assert status == 1
        assert "line 3" in err
        assert "greedy" in err
