"""Who asks: persons by token or cookie, managers by their site's key; and what they may do.

Tokens are OAuth2 bearer tokens (JWT): ours after a password, or an OpenID provider's if one is
configured. What a person sees is decided by the database's row policies; scopes only say early
and clearly what would come back empty.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import jwt
from fastapi import Depends, HTTPException, Request
from fastapi.security import OAuth2PasswordBearer, SecurityScopes
from psycopg import Connection
from psycopg_pool import ConnectionPool
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from datahub.cloud.api import openid
from datahub.cloud.api.limits import Bucket
from datahub.cloud.api.versions import Versions
from datahub.fog import record

ISSUER = "ievcc"
TOKEN_S = 3600
SCOPES = {
    "own": "one's own sessions, cards, bills, and start and stop",
    "site": "everything at the sites one administers",
    "grid": "sums by feeder and site of one's regions",
}
ROLE_SCOPES = {"tenant": "own", "administrator": "site", "operator": "grid"}
_SIGNED_S = 300  # a manager's clock may be off by so much
_passwords = PasswordHash((Argon2Hasher(),))
# Checked when the login is unknown, so that the answer takes as long.
_NOBODY = _passwords.hash("nobody")

bearer = OAuth2PasswordBearer(tokenUrl="/api/v1/token", scopes=SCOPES)


@dataclass(slots=True)
class Settings:
    """What the API needs. `master` is the secret all keys come from: 32 bytes or more."""

    dsn: str
    master: bytes = field(repr=False)
    provider: openid.Settings | None = None
    secure_cookie: bool = True
    rate: float = 20.0
    burst: float = 100.0
    login_rate: float = 1 / 6
    login_burst: float = 10.0

    def __post_init__(self) -> None:
        if len(self.master) < 32:
            raise ValueError("the master key must have 32 bytes or more")

    def key(self, purpose: str) -> bytes:
        """A key for one purpose."""
        return hmac.digest(self.master, f"ievcc {purpose}".encode(), hashlib.sha256)


class Doors:
    """The database through the API's role, one person or manager at a time."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.pool = ConnectionPool(
            settings.dsn,
            min_size=1,
            max_size=10,
            open=False,
            check=ConnectionPool.check_connection,
        )
        self.asks = Bucket(settings.rate, settings.burst)
        self.logins = Bucket(settings.login_rate, settings.login_burst)
        self.versions = Versions(self._versions)
        self.provider = openid.Provider(settings.provider) if settings.provider else None

    def _versions(self, sites: Sequence[str]) -> dict[str, int]:
        with self.nobody() as db:
            return dict(db.execute("SELECT * FROM copy_versions(%s)", (sites,)).fetchall())

    @contextmanager
    def seen_by(self, person: int) -> Iterator[Connection]:
        """One transaction that sees what this person may see."""
        with self.pool.connection() as db:
            db.execute("SELECT set_config('ievcc.person', %s, true)", (str(person),))
            yield db

    @contextmanager
    def nobody(self) -> Iterator[Connection]:
        """One transaction that sees nothing but through the functions made for it."""
        with self.pool.connection() as db:
            db.execute("SELECT set_config('ievcc.person', '', true)")
            yield db


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks, and the scopes of their roles."""

    id: int
    scopes: frozenset[str]


def hashed(password: str) -> str:
    """A password as it is stored. ValueError if it is too short to be one."""
    if len(password) < 10:
        raise ValueError("a password has 10 characters or more")
    return _passwords.hash(password)


def check_login(doors: Doors, login: str, password: str, client: str) -> tuple[Person, int]:
    """The person behind login and password, and their token version; 401 or 429."""
    now = time.monotonic()
    for name in (f"login {login.lower()}", f"client {client}"):
        limited(doors.logins, name, now)
    with doors.nobody() as db:
        row = db.execute("SELECT id, password, token_version FROM login(%s)", (login,)).fetchone()
    good = _passwords.verify(password, row[1] if row else _NOBODY)
    if row is None or not good:
        raise HTTPException(401, "wrong login or password", {"WWW-Authenticate": "Bearer"})
    return Person(row[0], scopes_of(doors, row[0])), row[2]


def scopes_of(doors: Doors, person: int) -> frozenset[str]:
    """The scopes of a person's roles."""
    with doors.seen_by(person) as db:
        roles = db.execute(
            "SELECT DISTINCT role FROM membership WHERE person_id = me()"
        ).fetchall()
    return frozenset(ROLE_SCOPES[role] for (role,) in roles)


def make_token(doors: Doors, person: Person, version: int, kind: str = "api") -> str:
    """A signed token for this person. `kind` "cookie" is for the portal and not taken as a
    bearer's.
    """
    claims = {
        "iss": ISSUER,
        "aud": kind,
        "sub": str(person.id),
        "ver": version,
        "scope": " ".join(sorted(person.scopes)),
        "exp": int(time.time()) + TOKEN_S,
    }
    return jwt.encode(claims, doors.settings.key("token"), algorithm="HS256")


def read_token(doors: Doors, token: str, kind: str = "api") -> Person:
    """The person of a token; 401 if it is not ours, too old, or ended by a new token version."""
    try:
        provider = doors.provider
        unverified = jwt.decode(token, options={"verify_signature": False})
        if provider and unverified.get("iss") == provider.settings.issuer and kind == "api":
            return by_login(doors, provider.login_of(token))[0]
        claims: dict[str, Any] = jwt.decode(
            token, doors.settings.key("token"), algorithms=["HS256"], audience=kind, issuer=ISSUER
        )
        person, version = int(claims["sub"]), int(claims["ver"])
    except (jwt.PyJWTError, KeyError, ValueError) as e:
        raise HTTPException(401, f"token refused: {e}", {"WWW-Authenticate": "Bearer"}) from None
    with doors.nobody() as db:
        row = db.execute("SELECT still_valid(%s, %s)", (person, version)).fetchone()
    if row is None or not row[0]:
        raise HTTPException(401, "token ended", {"WWW-Authenticate": "Bearer"})
    return Person(person, frozenset(str(claims.get("scope", "")).split()))


def by_login(doors: Doors, login: str) -> tuple[Person, int]:
    """The person an OpenID provider vouches for, and their token version; 401 if not here."""
    with doors.nobody() as db:
        row = db.execute("SELECT id, token_version FROM login(%s)", (login,)).fetchone()
    if row is None:
        raise HTTPException(401, "not a user here", {"WWW-Authenticate": "Bearer"})
    return Person(row[0], scopes_of(doors, row[0])), row[1]


def limited(bucket: Bucket, name: str, now_s: float) -> None:
    """429 with the seconds to wait, if this name asks too often."""
    wait = bucket.take(name, now_s)
    if wait:
        raise HTTPException(429, "too many requests", {"Retry-After": str(int(wait) + 1)})


def doors_of(request: Request) -> Doors:
    """The application's doors."""
    doors: Doors = request.app.state.doors
    return doors


def person_of(
    scopes: SecurityScopes,
    token: Annotated[str, Depends(bearer)],
    doors: Annotated[Doors, Depends(doors_of)],
) -> Person:
    """The person of the request's bearer token; 403 without one of the scopes asked for."""
    person = read_token(doors, token)
    limited(doors.asks, f"person {person.id}", time.monotonic())
    if scopes.scopes and not person.scopes & set(scopes.scopes):
        raise HTTPException(403, f"needs the scope {' or '.join(scopes.scopes)}")
    return person


async def site_of(request: Request) -> tuple[int, str, bytes, int]:
    """The site whose manager asks: (number, name, key, version of its copy); 401.

    `Authorization: Ievcc site:unix seconds:mac` with the HMAC over method, path with query,
    time and body.
    """
    doors = doors_of(request)
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    parts = given.split(":")
    if kind != "Ievcc" or len(parts) != 3 or not parts[1].isdigit():
        raise HTTPException(401, "not signed by a site", {"WWW-Authenticate": "Ievcc"})
    name, at, mac = parts
    limited(doors.asks, f"site {name}", time.monotonic())
    with doors.nobody() as db:
        row = db.execute(
            "SELECT id, key_version, copy_version FROM site_key_version(%s)", (name,)
        ).fetchone()
    key = record.site_key(doors.settings.master, name, row[1] if row else 0)
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    said = f"{request.method} {path} {at}\n".encode() + await request.body()
    if row is None or not record.authentic(key, said, mac.encode()):
        raise HTTPException(401, "wrong signature", {"WWW-Authenticate": "Ievcc"})
    if abs(int(at) - time.time()) > _SIGNED_S:
        raise HTTPException(401, "signed at another time: check the clock")
    return row[0], name, key, row[2]
