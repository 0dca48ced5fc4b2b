"""Who asks, before anything is answered: cookies, tokens, where from, and forged requests.

A middleware. It says in `request.state.who` who asks, and refuses by itself what nobody may ask who
is not logged in. What a role may do is said where it is done: `needs`, or an operation's `role`.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable
from functools import wraps
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from manager.logins import MOST_MS, NOBODY, Logins, Role, Who, csrf

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "ievcc"
CSRF = "x-csrf-token"
_SAFE = ("GET", "HEAD", "OPTIONS")
_OPEN = ("/api/me", "/api/login", "/api/openapi.json", "/api/logout")
NO_ACCOUNT = (
    "nobody has an account yet: run `ievcc accounts add NAME --role administrator` on the manager"
)
_LOCAL = Who("local", "administrator")
_COMMANDS = Who("command line", "administrator")

Endpoint = Callable[[Request], Awaitable[Response]]


def needs(role: Role) -> Callable[[Endpoint], Endpoint]:
    """For a plain route: 403 for whoever has less than this role."""

    def decorate(endpoint: Endpoint) -> Endpoint:
        @wraps(endpoint)
        async def guarded(request: Request) -> Response:
            who: Who = getattr(request.state, "who", NOBODY)
            if not who.may(role):
                return refusal(403, f"this is for the {role}")
            return await endpoint(request)

        return guarded

    return decorate


def refusal(status: int, words: str, **headers: str) -> JSONResponse:
    """A refusal as every page of ours understands it."""
    return JSONResponse({"words": words}, status, {"Cache-Control": "no-store", **headers})


def is_loopback(host: str) -> bool:
    """Whether an address or name means this computer only."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def token_of(headers: Headers) -> str:
    """The login's token in the cookie, "" without one."""
    cookie: SimpleCookie = SimpleCookie()
    try:
        cookie.load(headers.get("cookie", ""))
    except CookieError:
        return ""
    morsel = cookie.get(COOKIE)
    return morsel.value if morsel else ""


def set_cookie(response: Response, token: str, role: Role, *, secure: bool) -> None:
    """Give the browser its login."""
    response.set_cookie(
        COOKIE,
        token,
        max_age=MOST_MS[role] // 1000,
        path="/",
        secure=secure,
        httponly=True,
        samesite="strict",
    )


def drop_cookie(response: Response) -> None:
    """Have the browser forget its login."""
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")


class Guard:
    """The middleware. `shown_on`: the address the page is bound to; `scraper`: the token for
    /metrics and nothing else, "" for none.
    """

    def __init__(self, app: ASGIApp, logins: Logins, shown_on: str, scraper: str = "") -> None:
        self.app = app
        self.logins = logins
        self.scraper = scraper
        self.only_here = is_loopback(shown_on)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request: known who asks, then passed on; or refused."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        token = token_of(headers)
        who, by_cookie = self._who(headers, token)
        refused = self._refused(scope, headers, who, token if by_cookie else "")
        if refused is not None:
            await refused(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["who"] = who
        state["token"] = token if by_cookie else ""
        state["csrf"] = csrf(token) if by_cookie else ""
        if by_cookie:
            send = self._while_it_lasts(token, send)
        await self.app(scope, receive, send)

    def _who(self, headers: Headers, token: str) -> tuple[Who, bool]:
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self.logins.is_token(given.strip()):
            return _COMMANDS, False
        if token:
            who = self.logins.who(token)
            if who is not None:
                return who, True
        if self.only_here and not self.logins.any():
            return _LOCAL, False
        return NOBODY, False

    def _refused(self, scope: Scope, headers: Headers, who: Who, token: str) -> Response | None:
        path, method = scope["path"], scope["method"]
        if who is _LOCAL and not is_loopback(_host(headers)):
            # Another site's name that leads here: its page would be read by its own script.
            return refusal(403, "without accounts the page is for this computer's own address")
        if method not in _SAFE and _foreign(headers):
            return refusal(403, "another site's page asks")
        if method not in _SAFE and token:
            given = headers.get(CSRF, "")
            if not hmac.compare_digest(given.encode(), csrf(token).encode()):
                return refusal(403, "the header X-CSRF-Token is missing or of another login")
        if who.role or path in _OPEN or not path.startswith(("/api/", "/metrics")):
            return None
        if path == "/metrics" and (self._asked_here(scope, headers) or self._scrapes(headers)):
            return None
        if not self.logins.any():
            return refusal(401, NO_ACCOUNT)
        return refusal(401, "log in first")

    def _scrapes(self, headers: Headers) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        wanted = self.scraper.encode()
        return (
            bool(wanted)
            and kind.lower() == "bearer"
            and hmac.compare_digest(given.strip().encode(), wanted)
        )

    @staticmethod
    def _asked_here(scope: Scope, headers: Headers) -> bool:
        client = scope.get("client")
        proxied = "x-forwarded-for" in headers or "forwarded" in headers
        return client is not None and is_loopback(client[0]) and not proxied

    def _while_it_lasts(self, token: str, send: Send) -> Send:
        """A stream that ends with the login it was opened with."""
        over = False

        async def checked(message: Message) -> None:
            nonlocal over
            if over:
                return
            more = message["type"] == "http.response.body" and message.get("more_body")
            if more and self.logins.who(token, used=False) is None:
                over = True
                message = {"type": "http.response.body", "body": b"", "more_body": False}
            await send(message)

        return checked


def _host(headers: Headers) -> str:
    return urlsplit(f"//{headers.get('host', '')}").hostname or ""


def _foreign(headers: Headers) -> bool:
    """Whether the browser says that another site's page asks. Programs say nothing."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return True
    origin = headers.get("origin", "")
    return bool(origin) and urlsplit(origin).netloc != headers.get("host", "")
