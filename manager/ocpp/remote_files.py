"""Files a central system names by URL: firmware to fetch, diagnostics to leave. HTTP and HTTPS only."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from urllib.parse import urlsplit

MOST = 1_048_576  # bytes of a bundle: what an update's offer can say
_WITHIN_S = 60


class FileError(OSError):
    """It could not be fetched or left; says why."""


def _checked(url: str) -> str:
    if urlsplit(url).scheme not in ("http", "https"):
        raise FileError(f"{url[:80]!r} is not http:// or https://")
    return url


def _fetch(url: str) -> bytes:
    try:
        with urllib.request.urlopen(_checked(url), timeout=_WITHIN_S) as answer:  # noqa: S310
            data: bytes = answer.read(MOST + 1)
    except (urllib.error.URLError, OSError, ValueError) as e:
        raise FileError(str(e)) from e
    if len(data) > MOST:
        raise FileError(f"more than {MOST} bytes")
    return data


def _leave(url: str, data: bytes) -> None:
    request = urllib.request.Request(_checked(url), data, method="PUT")  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_WITHIN_S):  # noqa: S310
            pass
    except (urllib.error.URLError, OSError, ValueError) as e:
        raise FileError(str(e)) from e


async def fetch(url: str) -> bytes:
    """What is at this URL. FileError if it cannot be had, or is more than `MOST` bytes."""
    return await asyncio.to_thread(_fetch, url)


async def leave(url: str, data: bytes) -> None:
    """Put this there. FileError if that fails."""
    await asyncio.to_thread(_leave, url, data)
