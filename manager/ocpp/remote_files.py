"""Files a central system names by URL: firmware to fetch, diagnostics to leave. HTTP and HTTPS only."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from urllib.parse import urlsplit

MOST = 1_048_576  # bytes of a bundle: what an update's offer can say
_WITHIN_S = 60
# Nothing but HTTP and HTTPS, wherever a redirection leads.
_opener = urllib.request.OpenerDirector()
for _handler in (
    urllib.request.ProxyHandler,
    urllib.request.HTTPHandler,
    urllib.request.HTTPSHandler,
    urllib.request.HTTPRedirectHandler,
    urllib.request.HTTPDefaultErrorHandler,
    urllib.request.HTTPErrorProcessor,
    urllib.request.UnknownHandler,
):
    _opener.add_handler(_handler())


class FileError(OSError):
    """It could not be fetched or left; says why."""


def _checked(url: str) -> str:
    if urlsplit(url).scheme not in ("http", "https"):
        raise FileError(f"{url[:80]!r} is not http:// or https://")
    return url


def _fetch(url: str) -> bytes:
    try:
        with _opener.open(_checked(url), timeout=_WITHIN_S) as answer:
            data: bytes = answer.read(MOST + 1)
    except (urllib.error.URLError, OSError, ValueError) as e:
        raise FileError(str(e)) from e
    if len(data) > MOST:
        raise FileError(f"more than {MOST} bytes")
    return data


def _leave(url: str, data: bytes) -> None:
    request = urllib.request.Request(_checked(url), data, method="PUT")  # noqa: S310
    try:
        with _opener.open(request, timeout=_WITHIN_S):
            pass
    except (urllib.error.URLError, OSError, ValueError) as e:
        raise FileError(str(e)) from e


async def fetch(url: str) -> bytes:
    """What is at this URL. FileError if it cannot be had, or is more than `MOST` bytes."""
    return await asyncio.to_thread(_fetch, url)


async def leave(url: str, data: bytes) -> None:
    """Put this there. FileError if that fails."""
    await asyncio.to_thread(_leave, url, data)
