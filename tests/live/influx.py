"""Debian's influxd for a test, with a user and a database; stopped and started as the test wants."""

from __future__ import annotations

import base64
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from manager import broker
from manager.process import Child
from tests.live.running import until
from tests.real_parts import real_part

USER, PASSWORD, DATABASE = "ievcc", "a secret of two", "ievcc"


class Influx:
    """A server in a folder, asking for a password."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.port, inner = broker.free_port(), broker.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = {
            **os.environ,
            "INFLUXDB_REPORTING_DISABLED": "true",
            "INFLUXDB_META_DIR": str(folder / "meta"),
            "INFLUXDB_DATA_DIR": str(folder / "data"),
            "INFLUXDB_DATA_WAL_DIR": str(folder / "wal"),
            "INFLUXDB_HTTP_BIND_ADDRESS": f"127.0.0.1:{self.port}",
            "INFLUXDB_HTTP_AUTH_ENABLED": "true",
            "INFLUXDB_BIND_ADDRESS": f"127.0.0.1:{inner}",
            "GOMAXPROCS": "1",
        }
        self.start()
        self.ask(f"CREATE USER {USER} WITH PASSWORD '{PASSWORD}' WITH ALL PRIVILEGES", post=True)
        self.ask(f"CREATE DATABASE {DATABASE}", post=True)

    def start(self) -> None:
        command = [real_part("influxd"), "-config", os.devnull]
        self.child = Child("influxd", command, self.folder / "log", self._environment)
        until("influxd answers", self._answers, 60)

    def _answers(self) -> bool:
        assert self.child.status() is None, self.child.words()
        try:
            with urllib.request.urlopen(f"{self.url}/ping", timeout=5) as answer:
                return int(answer.status) == 204
        except (urllib.error.URLError, ConnectionError):
            return False

    def ask(self, question: str, *, post: bool = False) -> list[dict[str, Any]]:
        """The series it answers with."""
        said = {"db": DATABASE, "q": question, "epoch": "ns"}
        data = urllib.parse.urlencode(said)
        url = f"{self.url}/query" if post else f"{self.url}/query?{data}"
        body = data.encode() if post else None
        request = urllib.request.Request(url, body)
        if not question.startswith("CREATE USER"):  # the first one, whom nobody could let in
            both = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            request.add_header("Authorization", f"Basic {both}")
        with urllib.request.urlopen(request, timeout=20) as answer:
            (result,) = json.load(answer)["results"]
        assert "error" not in result, result
        return list(result.get("series", ()))

    def write(self, line: str) -> None:
        """A line as another program would write it."""
        request = urllib.request.Request(f"{self.url}/write?db={DATABASE}", line.encode())
        both = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        request.add_header("Authorization", f"Basic {both}")
        urllib.request.urlopen(request, timeout=20).close()

    def rows(self, question: str) -> list[dict[str, Any]]:
        """Its rows, tags with them."""
        return [
            {**series.get("tags", {}), **dict(zip(series["columns"], row, strict=True))}
            for series in self.ask(question)
            for row in series["values"]
        ]

    def site_file(self) -> str:
        return (
            f'[influxdb]\nurl = "{self.url}"\ndatabase = "{DATABASE}"\nusername = "{USER}"\n'
            f'password = "{PASSWORD}"\n'
        )

    def stop(self) -> None:
        self.child.end(5)
