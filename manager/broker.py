"""The MQTT broker for those who have none: mosquitto where installed, else the one in a wheel.

A building in service runs Debian's mosquitto as a service, with passwords and an ACL. This is
for trying the system and for its tests: one listener on this machine, no passwords.
"""

from __future__ import annotations

import getpass
import importlib.metadata
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from manager.process import Child, ProcessError
from manager.refusal import Refusal

if TYPE_CHECKING:
    from pathlib import Path

# How many messages the broker hands the manager before the first is acknowledged. The manager
# acknowledges after its commit, a batch at a time; with mosquitto's default of 20 a batch's
# length would become the delay of the 21st reading.
_INFLIGHT = 2000


KINDS = ("mosquitto", "iotcore")


class BrokerError(Refusal):
    """No broker to be had, or it did not start."""


class Broker:
    """A running broker: `name` says which, `host` and `port` where."""

    def __init__(self, name: str, host: str, port: int, child: Child) -> None:
        self.name = name
        self.host = host
        self.port = port
        self.child = child

    def stop(self) -> None:
        """End it; mosquitto finds its persistent sessions in its folder at the next start."""
        self.child.end()


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port nobody listens on at this moment."""
    with socket.socket() as s:
        s.bind((host, 0))
        return int(s.getsockname()[1])


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as s:
        return s.connect_ex((host, port)) != 0


def mosquitto() -> str | None:
    """Where mosquitto is. Debian keeps it in /usr/sbin, which is not on a plain user's PATH."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
    return shutil.which("mosquitto", path=path)


def start(folder: Path, host: str = "127.0.0.1", port: int = 0, kind: str = "") -> Broker:
    """Start a broker with its files in `folder`; BrokerError says why not.

    Port 0 takes a free one; kind is "mosquitto", "iotcore" or "" for the best there is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    program = mosquitto() if kind in ("", "mosquitto") else None
    if program is None and kind == "mosquitto":
        raise BrokerError("mosquitto is not installed: apt install mosquitto")
    if program is None and importlib.util.find_spec("iotcore") is None:
        raise BrokerError("no MQTT broker: apt install mosquitto, or pip install iotcore")
    if port and not is_free(port, host):
        raise BrokerError(
            f"{host}:{port} is taken: another program listens there; name another port"
        )
    for attempt in range(5):
        chosen = port or free_port(host)
        try:
            if program is not None:
                return _mosquitto(program, folder, host, chosen)
            return _iotcore(folder, host, chosen)
        except ProcessError as e:
            if port or attempt == 4:  # else somebody took the free port since we looked
                raise BrokerError(f"no MQTT broker on {host}:{chosen}: {e}") from e
    raise AssertionError("unreachable")


def _mosquitto(program: str, folder: Path, host: str, port: int) -> Broker:
    conf = folder / "mosquitto.conf"
    lines = [
        f"listener {port} {host}",
        "allow_anonymous true",
        "set_tcp_nodelay true",
        f"max_inflight_messages {_INFLIGHT}",
        "max_queued_messages 20000",
        "persistence true",
        f"persistence_location {folder.resolve()}/",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        "log_type notice",
        "connection_messages false",
    ]
    if os.geteuid() == 0:
        # Started as root it would become the user mosquitto: then it cannot read a folder of
        # root's, and by changing its user it loses the kernel's promise to end it with us.
        lines.append(f"user {getpass.getuser()}")
    conf.write_text("\n".join(lines) + "\n")
    child = Child("mosquitto", [program, "-c", str(conf)], folder / "broker.log")
    _wait_for(child, host, port)
    return Broker(f"mosquitto {_mosquitto_version(program)}", host, port, child)


def _mosquitto_version(program: str) -> str:
    said = subprocess.run(
        [program, "-h"], capture_output=True, text=True, check=False
    ).stdout.split()
    return said[2] if len(said) > 2 and said[1] == "version" else ""


def _iotcore(folder: Path, host: str, port: int) -> Broker:
    command = [sys.executable, "-m", "iotcore", "--listen", host, "--port", str(port)]
    child = Child("iotcore", command, folder / "broker.log")
    _wait_for(child, host, port)
    name = f"iotcore {importlib.metadata.version('iotcore')} (no access control)"
    return Broker(name, host, port, child)


def _wait_for(child: Child, host: str, port: int, within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if child.status() is not None:
            raise ProcessError(child.words())
        if not is_free(port, host):
            return
        time.sleep(0.02)
    child.end()
    raise ProcessError(f"{child.name} did not listen within {within_s:.0f} s\n{child.tail()}")
