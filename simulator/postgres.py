"""A PostgreSQL server of one's own in a folder: the real engine for the demo, the bench and the
tests.

Debian's packages start a server for the whole machine; this one runs beside it, on loopback,
and goes with its folder. PostgreSQL refuses to run as root, so root starts it as the user
`postgres`.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from manager.process import Child
from simulator.kafka import free_ports

_START_S = 30.0


class PostgresError(RuntimeError):
    """PostgreSQL cannot be had or did not start; the words say what is missing and how to get
    it.
    """


def programs() -> Path | None:
    """The folder of the newest server installed (15 or later), or None. Debian keeps it off the
    PATH.
    """
    found = []
    for folder in Path("/usr/lib/postgresql").glob("*/bin"):
        match = re.fullmatch(r"\d+", folder.parent.name)
        if match and int(match[0]) >= 15 and (folder / "initdb").exists():
            found.append((int(match[0]), folder))
    if found:
        return max(found)[1]
    there = shutil.which("initdb")
    return Path(there).parent if there else None


def missing() -> str:
    """What is missing to run PostgreSQL, in words; "" if nothing is."""
    if programs() is None:
        return "no PostgreSQL server: apt install postgresql"
    if os.geteuid() == 0 and _as_user() is None:
        return "no user `postgres` to run the server as: apt install postgresql"
    return ""


def _as_user() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return None


def _user_switch(owner: pwd.struct_passwd) -> list[str]:
    # Changing the user forgets the signal that ends a child with its parent, so it is asked for
    # again.
    return [
        "setpriv",
        f"--reuid={owner.pw_uid}",
        f"--regid={owner.pw_gid}",
        "--clear-groups",
        "--pdeathsig",
        "INT",
        "--",
    ]


class Postgres:
    """One server with its data in `folder`; `dsn` is the superuser's way in.

    As root, every folder above it must let the user `postgres` through: a new folder right
    under /tmp does. The data outlive `kill` and `stop`: `start` recovers from the log as after
    a power cut.
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        wrong = missing()
        if wrong:
            raise PostgresError(wrong)
        found = programs()
        assert found is not None
        self._bin = found
        self.folder = folder
        self.data = folder / "data"
        self.port = port or free_ports(1)[0]
        self.dsn = f"host=127.0.0.1 port={self.port} user=postgres dbname=ievcc"
        self._child: Child | None = None
        folder.mkdir(parents=True, exist_ok=True)
        owner = _as_user() if os.geteuid() == 0 else None
        self._run_as = _user_switch(owner) if owner else []
        if not self.data.exists():
            if owner:
                os.chown(folder, owner.pw_uid, owner.pw_gid)
            # Trust: it listens on loopback only and lives as long as the test or demo that made
            # it.
            self._run(
                "initdb",
                "-D",
                str(self.data),
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
            )
            self.start()
            self._run(
                "createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "ievcc"
            )
            self.stop()

    def __getstate__(self) -> dict[str, Any]:
        # Another process may use it; only the one that started it ends it.
        return {**self.__dict__, "_child": None}

    def start(self) -> None:
        """Run the server and wait until it answers."""
        ends = time.monotonic() + _START_S
        while True:
            self._child = self._begin()
            if self._answers(ends):
                return
            # A server killed a moment ago may still be leaving: its last processes hold its shared
            # memory.
            if time.monotonic() > ends or "shared memory" not in self._child.tail():
                raise PostgresError(self._child.words())
            time.sleep(0.2)

    def _begin(self) -> Child:
        return Child(
            "postgres",
            [
                *self._run_as,
                str(self._bin / "postgres"),
                "-D",
                str(self.data),
                "-p",
                str(self.port),
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                f"unix_socket_directories={self.folder}",
                "-c",
                "shared_buffers=256MB",
                "-c",
                "max_wal_size=2GB",
                "-c",
                "max_connections=60",
            ],
            self.folder.parent / f"{self.folder.name}-postgres.log",
        )

    def _answers(self, ends: float) -> bool:
        while self._child is not None and self._child.status() is None and time.monotonic() < ends:
            ready = subprocess.run(
                [str(self._bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)],
                check=False,
            )
            if ready.returncode == 0:
                return True
            time.sleep(0.1)
        return False

    def kill(self) -> None:
        """End every process of it at once, as a power cut would."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def stop(self) -> None:
        """End it in order, without waiting for its clients."""
        if self._child is not None:
            self._run("pg_ctl", "-D", str(self.data), "-m", "fast", "-w", "stop")
            self._child.end()
            self._child = None

    def program(self, name: str) -> str:
        """The path of one of its programs, `pg_dump` for one."""
        return str(self._bin / name)

    def _run(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            [*self._run_as, str(self._bin / name), *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
        if done.returncode:
            raise PostgresError(f"{name}: {done.stdout[-800:]}{done.stderr[-800:]}")
