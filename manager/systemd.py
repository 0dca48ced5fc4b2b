"""What systemd is told: that we serve, that we still do, and that we are ending (sd_notify(3))."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket


def say(state: str) -> bool:
    """Tell it, if it started us; False if it did not, or does not listen."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s,
    ):
        s.connect(address)
        s.sendall(state.encode())
        return True
    return False


async def keep_telling(every_s: float = 5.0) -> None:
    """Tell systemd that the loop turns, for as long as it does; it starts us anew if it does not."""
    say("READY=1")
    while True:
        if not say("WATCHDOG=1"):
            return
        await asyncio.sleep(every_s)
