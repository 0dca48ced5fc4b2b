"""An OpenID provider of somebody else's: its tokens at the API, and a login through it.

The provider is found by its issuer (OpenID Connect Discovery 1.0); its keys are fetched as they
change. The login is the authorization code flow with PKCE (RFC 6749, RFC 7636).
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import jwt

# Signatures anybody can check and only the provider can make.
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]
_KEYS_S = 3600.0  # keys are fetched anew at least so often
_UNKNOWN_S = 10.0  # and at most so often for a key nobody knows
_TIMEOUT_S = 5.0
_MOST = 1_000_000
_LEEWAY_S = 30


class OpenIdError(RuntimeError):
    """The provider is away or did not say what it should; a login through it cannot be had now."""


@dataclass(frozen=True, slots=True)
class Settings:
    """A provider by its `issuer`. `audience` is ours in tokens for the API; `client` and `secret`
    are the portal's at the provider, `portal` the portal's own address, https://cloud.example;
    `login_claim` names a person's login here.
    """

    issuer: str
    audience: str
    client: str = ""
    secret: str = field(default="", repr=False)
    portal: str = ""
    login_claim: str = "email"

    def __post_init__(self) -> None:
        if not _safe(self.issuer):
            raise ValueError(f"{self.issuer}: not without TLS, except on this machine itself")
        if self.client and not self.portal:
            raise ValueError("a login through the provider needs the portal's own address")

    @property
    def back(self) -> str:
        """Where the provider sends people back to."""
        return f"{self.portal.rstrip('/')}/portal/openid/back"


@dataclass(frozen=True, slots=True)
class Errand:
    """A login under way: what must come back, and what proves that it was begun here."""

    state: str
    nonce: str
    verifier: str


class Provider:
    """A provider as it is now; safe from many threads."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._said: dict[str, Any] = {}
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched = float("-inf")

    def login_of(self, token: str, audience: str = "", nonce: str = "") -> str:
        """The login of a token the provider signed for us. jwt.PyJWTError if it is not one."""
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key(str(jwt.get_unverified_header(token).get("kid", ""))),
                algorithms=_ALGORITHMS,
                audience=audience or self.settings.audience,
                issuer=self.settings.issuer,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except OpenIdError as e:
            raise jwt.InvalidTokenError(str(e)) from e
        if nonce and claims.get("nonce") != nonce:
            raise jwt.InvalidTokenError("not the answer to this login")
        name = self.settings.login_claim
        # Whoever could write any address into their account there would be anybody here.
        if name == "email" and claims.get("email_verified") is not True:
            raise jwt.InvalidTokenError("the provider has not verified this e-mail address")
        login = claims.get(name)
        if not isinstance(login, str) or not login:
            raise jwt.InvalidTokenError(f"no claim {name}")
        return login

    def begin(self) -> tuple[str, Errand]:
        """Where to send somebody to log in, and what to remember of it. OpenIdError."""
        errand = Errand(*(secrets.token_urlsafe(32) for _ in range(3)))
        digest = hashlib.sha256(errand.verifier.encode()).digest()
        asked = {
            "response_type": "code",
            "client_id": self.settings.client,
            "redirect_uri": self.settings.back,
            "scope": "openid email",
            "state": errand.state,
            "nonce": errand.nonce,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        return f"{self._endpoint('authorization_endpoint')}?{urlencode(asked)}", errand

    def finish(self, errand: Errand, code: str) -> str:
        """The login behind the code the provider sent back. OpenIdError, jwt.PyJWTError."""
        given = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.settings.back,
            "code_verifier": errand.verifier,
        }
        # RFC 6749, 2.3.1: both are form-encoded before they are joined.
        pair = f"{quote(self.settings.client, safe='')}:{quote(self.settings.secret, safe='')}"
        said = _ask(
            self._endpoint("token_endpoint"),
            urlencode(given).encode(),
            {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"},
        )
        token = said.get("id_token")
        if not isinstance(token, str):
            raise OpenIdError("the provider gave no ID token")
        return self.login_of(token, self.settings.client, errand.nonce)

    def _endpoint(self, name: str) -> str:
        with self._lock:
            said = self._discovered()
        where = said.get(name)
        if not isinstance(where, str) or not where.startswith(("https://", "http://")):
            raise OpenIdError(f"the provider names no {name}")
        return where

    def _discovered(self) -> dict[str, Any]:
        if not self._said:
            issuer = self.settings.issuer
            said = _ask(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
            if said.get("issuer") != issuer:
                raise OpenIdError(f"{said.get('issuer')} answers for {issuer}")
            self._said = said
        return self._said

    def _key(self, kid: str) -> jwt.PyJWK:
        with self._lock:
            age = time.monotonic() - self._fetched
            if age > _KEYS_S or (kid not in self._keys and age > _UNKNOWN_S):
                self._fetched = time.monotonic()
                where = self._discovered().get("jwks_uri")
                keys = jwt.PyJWKSet.from_dict(_ask(str(where)))
                self._keys = {str(k.key_id): k for k in keys.keys}
            if kid not in self._keys:
                raise jwt.InvalidTokenError("signed with a key the provider does not name")
            return self._keys[kid]


def _safe(url: str) -> bool:
    """TLS; without it only on this machine itself."""
    parts = urlsplit(url)
    here = parts.hostname in ("127.0.0.1", "localhost")
    return parts.scheme == "https" or (parts.scheme == "http" and here)


def _ask(
    url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    if not _safe(url):
        raise OpenIdError(f"{url}: not without TLS")
    request = urllib.request.Request(url, body, dict(headers or {}))  # noqa: S310 - see above
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
            said = json.loads(answer.read(_MOST))
    except urllib.error.HTTPError as e:
        words = e.read(300).decode(errors="replace")
        raise OpenIdError(f"the provider answers {e.code} {words}") from e
    except (OSError, ValueError) as e:
        raise OpenIdError(f"the provider is away: {e}") from e
    if not isinstance(said, dict):
        raise OpenIdError("the provider's answer is no object")
    return said
