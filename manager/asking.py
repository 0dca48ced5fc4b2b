"""How the commands reach the manager that runs: its address from the site file, its answers in words."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Annotated, Any

import typer

from manager.refusal import Refusal

SITE_FILE = Path("site.toml")
Config = Annotated[
    Path, typer.Option("--config", envvar="IEVCC_CONFIG", help="the site file", dir_okay=False)
]
Url = Annotated[
    str, typer.Option(envvar="IEVCC_URL", help="the running manager, if not as the site file says")
]
_tokens: dict[str, str] = {}  # where a manager of this computer answers -> what opens it
_contexts: dict[str, ssl.SSLContext] = {}  # and how it proves that it is it
AsJson = Annotated[bool, typer.Option("--json", help="as JSON")]


class NoAnswer(Refusal):
    """No manager runs there."""


def address(config: Path, url: str) -> str:
    """Where the manager of this site answers. Refusal if the site file cannot be read."""
    if url:
        return url.rstrip("/")
    from manager.site_file import SiteFileError, load  # noqa: PLC0415 - slow on a Raspberry Pi

    try:
        site = load(config)
    except SiteFileError as e:
        raise Refusal(f"{config}: {e}") from e
    web = site.web
    host = "127.0.0.1" if web.host in ("0.0.0.0", "") else web.host  # noqa: S104
    found = f"{'https' if web.certificate else 'http'}://{host}:{web.port}"
    if web.certificate:
        # This very certificate and no other: whose name is on it does not matter then.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        with contextlib.suppress(OSError):
            context.load_verify_locations(config.resolve().parent / web.certificate)
        _contexts[found] = context
    # Who may read what lies beside the store may do anything here.
    with contextlib.suppress(OSError):
        store = config.resolve().parent / site.store
        _tokens[found] = store.with_suffix(".token").read_text()
    return found


def ask(url: str, body: dict[str, Any] | None = None) -> Any:
    """The running manager's answer; Refusal with its own words, or that it does not answer."""
    request = urllib.request.Request(url)  # noqa: S310 - the address is the user's own
    context = next((c for m, c in _contexts.items() if url.startswith(f"{m}/")), None)
    for manager, token in _tokens.items():
        if url.startswith(f"{manager}/"):
            request.add_header("Authorization", f"Bearer {token}")
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=5, context=context) as answer:  # noqa: S310
            return json.load(answer)
    except urllib.error.HTTPError as e:
        try:
            words = json.load(e)["words"]
        except (ValueError, KeyError, TypeError):
            words = str(e)
        raise Refusal(words) from e
    except (
        OSError,
        ValueError,
        http.client.HTTPException,
    ) as e:  # the last: it ended while it spoke
        raise NoAnswer(
            f"no manager answers at {url}: start one with `ievcc run`, or give --config or --url"
        ) from e
