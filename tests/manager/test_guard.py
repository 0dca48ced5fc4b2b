"""Who may ask what: the guard and the logins before the real API."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from manager import logins
from manager.logins import Logins
from manager.refusal import Refusal
from manager.store import Store
from manager.web import api, guard, login
from manager.web.guard import Guard

GOOD = "correct horse battery"
SCRAPER = "what Prometheus says"


class Site:
    """The guard before a few routes of each kind."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = Store(path)
        self.store.start()
        self.logins = Logins(
            path, self.store.write, lambda: time.time_ns() // 1_000_000, time.monotonic
        )

    def client(
        self,
        shown_on: str = "192.168.1.2",
        url: str = "http://pi.local",
        address: str = "10.0.0.9",
    ) -> TestClient:
        @guard.needs("operator")
        async def plain(request: Request) -> Response:
            return PlainTextResponse(request.state.who.name)

        def said(call: api.Call) -> str:
            return str(call.who.name)

        async def page(_: Request) -> Response:
            return PlainTextResponse("page")

        app = Starlette(
            exception_handlers={Refusal: api.refused},
            routes=[
                Route("/", page),
                Route("/metrics", page),
                Route("/api/plain", plain, methods=["GET", "POST"]),
                *api.routes(
                    [
                        api.Operation("GET", "/api/own", "", said, "tenant"),
                        api.Operation("POST", "/api/own", "", said, "tenant"),
                        api.Operation("POST", "/api/people", "", said, "administrator"),
                        *login.operations(self.logins),
                    ]
                ),
            ],
            middleware=[Middleware(Guard, logins=self.logins, shown_on=shown_on, scraper=SCRAPER)],
        )
        return TestClient(app, base_url=url, client=(address, 5000))

    def add(self, name: str, role: logins.Role) -> None:
        if role == "tenant":
            self.store.write([("INSERT INTO user (id, name) VALUES (?, ?)", (name, name))])
            self.store.flush()
        logins.add(self.path, name, role, name if role == "tenant" else None, GOOD)


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What hashing costs is tested once, in test_logins.py."""
    monkeypatch.setattr(logins, "_hasher", PasswordHasher(1, 8, 1))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path / "ievcc.db")
    yield made
    made.logins.close()
    made.store.close()


def log_in(client: TestClient, name: str) -> dict[str, str]:
    """The header that goes with every change."""
    answer = client.post("/api/login", json={"name": name, "password": GOOD})
    assert answer.status_code == 200, answer.text
    return {"X-CSRF-Token": answer.json()["csrf"]}


def test_without_accounts_on_its_own_address_everybody_is_administrator(site: Site) -> None:
    client = site.client("127.0.0.1", "http://127.0.0.1:8080", "127.0.0.1")
    me = client.get("/api/me").json()
    assert (me["name"], me["role"], me["user"], me["login"]) == (
        "local",
        "administrator",
        None,
        False,
    )
    assert client.post("/api/people").status_code == 200


def test_another_name_that_leads_to_its_own_address_reads_nothing(site: Site) -> None:
    client = site.client("127.0.0.1", "http://rebound.example", "127.0.0.1")
    assert client.get("/api/own").status_code == 403
    assert client.get("/api/me").status_code == 403


def test_without_accounts_elsewhere_nobody_may_do_anything_and_is_told_what_to_run(
    site: Site,
) -> None:
    client = site.client()
    assert client.get("/").text == "page"
    for answer in (client.get("/api/own"), client.post("/api/people"), client.get("/api/none")):
        assert answer.status_code == 401
        assert "ievcc accounts add" in answer.json()["words"]
    assert "ievcc accounts add" in client.get("/api/me").json()["words"]


def test_the_first_account_closes_the_open_door(site: Site) -> None:
    client = site.client("127.0.0.1", "http://localhost", "127.0.0.1")
    assert client.get("/api/own").status_code == 200
    site.add("Ana", "administrator")
    assert client.get("/api/own").json() == {"words": "log in first"}
    assert client.get("/api/me").json()["login"] is True


@pytest.mark.parametrize(
    ("role", "statuses"),
    [
        ("tenant", (200, 403, 403)),
        ("operator", (200, 200, 403)),
        ("administrator", (200, 200, 200)),
    ],
)
def test_roles(site: Site, role: logins.Role, statuses: tuple[int, int, int]) -> None:
    site.add("Ana", role)
    client = site.client()
    csrf = log_in(client, "Ana")
    me = client.get("/api/me").json()
    assert me["user"] == ("Ana" if role == "tenant" else None)
    got = [
        client.get("/api/own"),
        client.get("/api/plain"),
        client.post("/api/people", headers=csrf),
    ]
    assert tuple(a.status_code for a in got) == statuses


def test_the_cookie_is_for_this_site_and_no_script(site: Site) -> None:
    site.add("Ana", "operator")
    for url, secure in (("http://pi.local", False), ("https://pi.local", True)):
        client = site.client(url=url)
        said = client.post("/api/login", json={"name": "Ana", "password": GOOD})
        cookie = said.headers["set-cookie"].lower()
        for word in ("httponly", "samesite=strict", "path=/", "max-age="):
            assert word in cookie
        assert ("; secure" in cookie) is secure


def test_a_change_needs_the_logins_own_header(site: Site) -> None:
    site.add("Ana", "operator")
    client, other = site.client(), site.client()
    csrf = log_in(client, "Ana")
    others = log_in(other, "Ana")
    assert client.post("/api/own", headers=csrf).status_code == 200
    wrong: list[tuple[bytes, bytes]] = [(b"X-CSRF-Token", "é".encode())]
    for headers in ([], [(b"X-CSRF-Token", b"")], list(Headers(others).raw), wrong):
        answer = client.post("/api/own", headers=headers)
        assert answer.status_code == 403
        assert "X-CSRF-Token" in answer.json()["words"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_sites_page_changes_nothing_not_even_who_is_logged_in(
    site: Site, headers: dict[str, str]
) -> None:
    open_page = site.client("127.0.0.1", "http://127.0.0.1:8080", "127.0.0.1")
    assert open_page.post("/api/people", headers=headers).status_code == 403
    site.add("Ana", "operator")
    client = site.client()
    csrf = log_in(client, "Ana")
    body = {"name": "Ana", "password": GOOD}
    assert client.post("/api/own", headers={**csrf, **headers}).status_code == 403
    assert client.post("/api/login", json=body, headers=headers).status_code == 403
    ours = {"Origin": "http://pi.local", "Sec-Fetch-Site": "same-origin"}
    assert client.post("/api/own", headers={**csrf, **ours}).status_code == 200


def test_out_is_out(site: Site) -> None:
    site.add("Ana", "operator")
    client = site.client()
    csrf = log_in(client, "Ana")
    stolen = dict(client.cookies)
    assert client.post("/api/logout", headers=csrf).status_code == 200
    assert client.get("/api/own").status_code == 401
    thief = site.client()
    thief.cookies.update(stolen)
    assert thief.get("/api/own").status_code == 401


def test_a_changed_password_ends_every_login(site: Site) -> None:
    site.add("Ana", "tenant")
    client, other = site.client(), site.client()
    csrf = log_in(client, "Ana")
    log_in(other, "Ana")
    body = {"old": "wrong password", "new": "something quite new"}
    assert client.post("/api/password", json=body, headers=csrf).status_code == 400
    body["old"] = GOOD
    assert client.post("/api/password", json=body, headers=csrf).status_code == 200
    site.store.flush()
    assert other.get("/api/own").status_code == 401
    assert client.post("/api/login", json={"name": "Ana", "password": GOOD}).status_code == 401


def test_guesses_are_answered_429_and_when_to_come_back(site: Site) -> None:
    site.add("Ana", "operator")
    client = site.client()
    statuses = []
    for _ in range(11):
        answer = client.post("/api/login", json={"name": "Ana", "password": "wrong password"})
        statuses.append(answer.status_code)
    assert statuses == [401] * 10 + [429]
    assert int(answer.headers["Retry-After"]) >= 1
    elsewhere = site.client(address="10.0.0.10")
    assert log_in(elsewhere, "Ana")


def test_the_commands_on_this_computer_need_no_login(site: Site) -> None:
    site.add("Ana", "administrator")
    client = site.client()
    logins.keep_token(site.path, site.logins.token)
    file = logins.token_file(site.path)
    assert file.stat().st_mode & 0o777 == 0o600
    bearer = {"Authorization": f"Bearer {file.read_text()}"}
    assert client.post("/api/people", headers=bearer).status_code == 200
    assert client.get("/api/own", headers={"Authorization": "Bearer x"}).status_code == 401


def test_the_scrapers_token_opens_the_metrics_and_nothing_else(site: Site) -> None:
    site.add("Ana", "administrator")
    away = site.client(address="10.0.0.9")
    told = {"Authorization": f"Bearer {SCRAPER}"}
    assert away.get("/metrics", headers=told).status_code == 200
    assert away.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert away.get("/api/own", headers=told).status_code == 401
    assert away.post("/api/people", headers=told).status_code == 401


def test_metrics_are_for_this_computer_and_who_is_logged_in(site: Site) -> None:
    site.add("Ana", "operator")
    here, away = site.client(address="127.0.0.1"), site.client()
    assert here.get("/metrics").status_code == 200
    assert here.get("/metrics", headers={"X-Forwarded-For": "10.0.0.9"}).status_code == 401
    assert away.get("/metrics").status_code == 401
    log_in(away, "Ana")
    assert away.get("/metrics").status_code == 200


@pytest.mark.parametrize("cookie", ["ievcc=", "ievcc=x", "ievcc=é", 'ievcc="\\', ";;;", "\\"])
def test_cookies_of_any_kind_open_nothing(site: Site, cookie: str) -> None:
    site.add("Ana", "operator")
    answer = site.client().get("/api/own", headers=[(b"Cookie", cookie.encode())])
    assert answer.status_code == 401


def test_a_stream_ends_with_its_login(site: Site) -> None:
    site.add("Ana", "operator")
    token = asyncio.run(site.logins.log_in("Ana", GOOD, "10.0.0.9"))

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for n in range(10):
            if n == 3:
                logins.remove(site.path, "Ana")
            body = {"type": "http.response.body", "body": b"%d" % n, "more_body": True}
            await send(body)

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nothing is read")

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/api/live",
        "headers": [(b"cookie", f"ievcc={token}".encode())],
    }
    asyncio.run(Guard(endless, site.logins, "192.168.1.2")(scope, receive, send))
    assert [m.get("body") for m in sent[1:]] == [b"0", b"1", b"2", b""]
    assert sent[-1]["more_body"] is False


def test_no_answer_is_kept_by_a_browser(site: Site) -> None:
    site.add("Ana", "operator")
    client = site.client()
    assert client.get("/api/own").headers["Cache-Control"] == "no-store"
    response = JSONResponse({})
    guard.drop_cookie(response)
    assert "max-age=0" in response.headers["set-cookie"].lower()
