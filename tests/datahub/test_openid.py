"""An OpenID provider that somebody else wrote (npm's oidc-provider): its tokens at the API, and
the portal's login through it in a browser.
"""

from __future__ import annotations

import base64
import hashlib
import http.cookiejar
import json
import re
import secrets
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import expect, sync_playwright

from datahub.cloud.api import openid
from datahub.cloud.api.access import Settings
from datahub.cloud.api.app import make_app
from manager.process import Child
from simulator.kafka import free_ports
from tests.datahub.conftest import MASTER, Cloud
from tests.datahub.test_flows_down import serving
from tests.datahub.town import Town, build
from tests.live.running import until
from tests.real_parts import missing, real_part

pytestmark = pytest.mark.datahub
HERE = Path(__file__).parent / "openid"
BUILT = Path(__file__).parent.parent.parent / "build" / "openid"
AUDIENCE = "https://cloud.example/api"
SECRET = "a secret of the portal alone"


def installed() -> Path:
    """The folder of the provider, from the packages its lock names."""
    real_part("node")
    npm = real_part("npm")
    stamp = BUILT / "lock"
    wanted = (HERE / "package-lock.json").read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(BUILT, ignore_errors=True)
        BUILT.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, BUILT)
        done = subprocess.run(
            [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=BUILT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            missing(f"real part missing: npm could not fetch oidc-provider: {done.stderr[-800:]}")
        stamp.write_text(wanted)
    shutil.copy(HERE / "provider.mjs", BUILT)
    return BUILT


@dataclass(frozen=True)
class There:
    """The provider running, and what our API is told of it."""

    settings: openid.Settings
    portal_port: int


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[There]:
    port, portal_port = free_ports(2)
    settings = openid.Settings(
        f"http://127.0.0.1:{port}",
        AUDIENCE,
        "ievcc-portal",
        SECRET,
        f"http://127.0.0.1:{portal_port}",
    )
    command = [real_part("node"), str(installed() / "provider.mjs"), str(port), settings.back]
    child = Child("provider", command, tmp_path_factory.mktemp("openid") / "log")

    def ready() -> bool:
        assert child.status() is None, child.words()
        return "ready" in child.tail(100)

    try:
        until("the provider listens", ready, 60)
        yield There(settings, portal_port)
    finally:
        child.end()


@pytest.fixture
def town(cloud: Cloud) -> Town:
    return build(cloud)


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def token(settings: openid.Settings, login: str) -> str:
    """An access token for our API, got as a person's own program gets one: log in at the
    provider's pages, consent, exchange the code.
    """
    browser = urllib.request.build_opener(
        urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()), _Stay()
    )

    def go(url: str, form: dict[str, str] | None = None) -> tuple[str, str]:
        """Follow a page or send its form: (where it sends us on to or "", the page)."""
        body = urlencode(form).encode() if form else None
        try:
            with browser.open(url, body, timeout=20) as answer:
                return "", answer.read().decode()
        except urllib.error.HTTPError as e:
            assert e.code in (302, 303), e.read()
            return str(e.headers["Location"]), ""

    verifier = secrets.token_urlsafe(40)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
    asked = {
        "response_type": "code",
        "client_id": settings.client,
        "redirect_uri": settings.back,
        "scope": "openid email api",
        "resource": AUDIENCE,
        "code_challenge": challenge.rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    where = f"{settings.issuer}/auth?{urlencode(asked)}"
    for _ in range(20):
        if where.startswith(settings.back):
            break
        url = where if where.startswith("http") else settings.issuer + where
        where, page = go(url)
        if page:
            action = re.search(r'action="([^"]+)"', page)
            kind = re.search(r'name="prompt" value="(\w+)"', page)
            assert action is not None, page
            assert kind is not None, page
            form = {"prompt": kind[1]}
            if kind[1] == "login":
                form |= {"login": login, "password": "any"}
            where, _ = go(action[1], form)
    code = parse_qs(urlsplit(where).query)["code"][0]
    pair = base64.b64encode(f"{settings.client}:{SECRET.replace(' ', '+')}".encode()).decode()
    exchange = urllib.request.Request(
        f"{settings.issuer}/token",
        urlencode(
            {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": settings.back,
                "code_verifier": verifier,
                "resource": AUDIENCE,
            }
        ).encode(),
        {"Authorization": f"Basic {pair}"},
    )
    with urllib.request.urlopen(exchange, timeout=20) as answer:
        return str(json.load(answer)["access_token"])


def test_its_token_is_taken_for_a_known_login_and_for_nobody_else(
    provider: There, cloud: Cloud, town: Town
) -> None:
    with TestClient(make_app(Settings(cloud.api, MASTER, provider.settings))) as client:

        def answer(bearer: str) -> tuple[int, str]:
            said = client.get("/api/v1/me", headers={"Authorization": f"Bearer {bearer}"})
            return said.status_code, said.text

        good = token(provider.settings, "ana@example.org")
        status, words = answer(good)
        assert status == 200, words
        assert json.loads(words)["login"] == "ana@example.org"
        assert json.loads(words)["scopes"] == ["own"]
        assert answer(token(provider.settings, "stranger@example.org"))[0] == 401
        cloud.do("INSERT INTO person (login, password) VALUES ('unverified@example.org', '')")
        status, words = answer(token(provider.settings, "unverified@example.org"))
        assert status == 401
        assert "verified" in words
        claims = jwt.decode(good, options={"verify_signature": False})
        head = jwt.get_unverified_header(good)
        for forged in (
            good[:-4] + "AAAA",
            jwt.encode(claims, "x" * 32, algorithm="HS256", headers={"kid": head["kid"]}),
            jwt.encode(claims, "", algorithm="none", headers={"kid": head["kid"]}),
            jwt.encode(claims, "x" * 32, algorithm="HS256", headers={"kid": "another"}),
        ):
            assert answer(forged)[0] == 401
    other = openid.Settings(provider.settings.issuer, "https://another.example/api")
    with TestClient(make_app(Settings(cloud.api, MASTER, other))) as client:
        said = client.get("/api/v1/me", headers={"Authorization": f"Bearer {good}"})
        assert said.status_code == 401
        assert "udience" in said.text


@pytest.mark.browser
def test_somebody_logs_into_the_portal_through_it(
    provider: There, cloud: Cloud, town: Town, chromium: str
) -> None:
    settings = Settings(cloud.api, MASTER, provider.settings, secure_cookie=False)
    with (
        serving(make_app(settings), provider.portal_port) as url,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-quic", "--disable-background-networking"],
        )
        for login, words in (
            ("ana@example.org", "Price now"),
            ("stranger@example.org", "not a user here"),
        ):
            page = browser.new_context().new_page()
            page.set_default_timeout(60_000)
            page.goto(f"{url}/portal/login")
            page.get_by_role("link", name="Log in through").click()
            page.locator("input[name=login]").fill(login)
            page.locator("input[name=password]").fill("any")
            page.get_by_role("button").click()
            page.get_by_role("button", name="Continue").click()
            expect(page.get_by_text(words).first).to_be_visible(timeout=60_000)
        # An answer to a login that was not begun in this browser.
        page = browser.new_context().new_page()
        page.goto(f"{url}/portal/openid/back?code=stolen&state=guessed")
        expect(page.get_by_role("alert")).to_be_visible(timeout=60_000)
        page.goto(f"{url}/portal")
        expect(page.get_by_role("button", name="Log in")).to_be_visible(timeout=60_000)
        browser.close()


def test_a_provider_that_is_away_is_said_and_passwords_still_work(
    cloud: Cloud, town: Town
) -> None:
    (port,) = free_ports(1)
    away = openid.Settings(
        f"http://127.0.0.1:{port}", AUDIENCE, "portal", "x", "http://127.0.0.1:1"
    )
    with TestClient(make_app(Settings(cloud.api, MASTER, away))) as client:
        assert client.get("/portal/openid").status_code == 502
        claims = {"iss": away.issuer, "aud": AUDIENCE, "exp": time.time() + 60, "sub": "x"}
        bearer = jwt.encode(claims, "x" * 32, algorithm="HS256")
        said = client.get("/api/v1/me", headers={"Authorization": f"Bearer {bearer}"})
        assert said.status_code == 401
        assert "away" in said.text


def test_no_provider_without_tls() -> None:
    with pytest.raises(ValueError, match="TLS"):
        openid.Settings("http://id.example", AUDIENCE)
