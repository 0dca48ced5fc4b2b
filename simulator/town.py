"""A town on one machine, every part a process of its own: brokers and managers of buildings,
Kafka, fog workers, PostgreSQL, the API with its portal. For the datahub's demo and for its
proof under kill -9.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from pathlib import Path

import psycopg

from datahub.cloud import schema
from datahub.fog import record, topics
from manager import broker
from manager.process import Child, wait_until_ended
from simulator.kafka import Kafka, free_ports
from simulator.light_building import LightBuilding
from simulator.postgres import Postgres

FEEDER_W = 40_000


class Building:
    """One building: its broker, its manager with a store, its devices."""

    def __init__(self, folder: Path, town: Town, name: str, chargers: int, every_s: float) -> None:
        self.name = name
        self.folder = folder
        folder.mkdir(parents=True)
        self.broker_port, self.page_port = free_ports(2)
        password = secrets.token_hex(16)
        topics.admit_site(town.kafka.servers, name, password)
        key = record.site_key(town.master, name, 1)
        (folder / "site.toml").write_text(f"""\
[site]
name = "{name}"
limit_a = 40
open = true
[broker]
host = "127.0.0.1"
port = {self.broker_port}
[web]
host = "127.0.0.1"
port = {self.page_port}
[fog]
url = "kafka://{town.kafka.secure_servers}"
key = "{key.hex()}"
password = "{password}"
ca = "{town.kafka.ca.resolve()}"
cloud = "http://127.0.0.1:{town.api_port}/api/v1"
""")
        self.broker: broker.Broker | None = None
        self.manager: Child | None = None
        self.devices = LightBuilding(name, "127.0.0.1", self.broker_port, chargers, every_s)

    @property
    def store(self) -> Path:
        """Its manager's store."""
        return self.folder / "ievcc.db"

    def start_broker(self) -> None:
        """On its port, with what it kept."""
        ends = time.monotonic() + 10
        while True:
            try:
                self.broker = broker.start(self.folder / "broker", port=self.broker_port)
                return
            except broker.BrokerError:
                if time.monotonic() > ends:
                    raise
                time.sleep(0.2)

    def start_manager(self) -> None:
        """As `ievcc run` does."""
        self.manager = Child(
            f"manager {self.name}",
            [sys.executable, "-m", "manager", "run", "--config", str(self.folder / "site.toml")],
            self.folder / "manager.log",
        )


class Town:
    """Everything, in `folder`, which the user `postgres` must be able to enter."""

    def __init__(
        self,
        folder: Path,
        sites: list[str],
        chargers: int,
        every_s: float,
        workers: int,
        api: bool = False,
    ) -> None:
        self.folder = folder
        self.master = secrets.token_bytes(32)
        self.postgres = Postgres(folder / "postgres")
        self.postgres.start()
        self.kafka = Kafka(folder / "kafka")
        self.kafka.start()
        topics.prepare(self.kafka.servers)
        schema.upgrade(self.postgres.dsn)
        with psycopg.connect(self.postgres.dsn) as db:
            db.execute("INSERT INTO region (name) VALUES ('Demo region')")
            db.execute(
                "INSERT INTO feeder (region_id, name, limit_w) SELECT id, 'Demo feeder', %s FROM"
                " region",
                (FEEDER_W,),
            )
            for name in sites:
                db.execute(
                    "INSERT INTO site (name, title, limit_a, feeder_id) SELECT %s, %s, 40, id"
                    " FROM feeder",
                    (name, name.capitalize()),
                )
        (self.api_port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.api_port}"  # of API and portal
        self.api = self._api() if api else None
        self.workers = [self._worker(i) for i in range(workers)]
        self.buildings = [Building(folder / name, self, name, chargers, every_s) for name in sites]
        for building in self.buildings:
            building.start_broker()
            building.start_manager()

    def start_devices(self) -> None:
        """Begin the load."""
        for building in self.buildings:
            building.devices.start()

    def _environment(self, role: str) -> dict[str, str]:
        return {
            **os.environ,
            "IEVCC_KAFKA": self.kafka.servers,
            "IEVCC_MASTER_KEY": self.master.hex(),
            "IEVCC_DSN": self.postgres.dsn.replace("user=postgres", f"user={role}"),
        }

    def _worker(self, number: int) -> Child:
        command = [sys.executable, "-c", "from datahub.commands import fog; fog()", "worker"]
        return Child(
            f"worker {number}",
            command,
            self.folder / f"worker-{number}.log",
            self._environment("ievcc_fog"),
        )

    def restart_worker(self, number: int) -> None:
        """A new one in its place."""
        self.workers[number] = self._worker(number)

    def _api(self) -> Child:
        command = [
            sys.executable,
            "-c",
            "from datahub.commands import cloud; cloud()",
            "serve",
            "--port",
            str(self.api_port),
            "--insecure-cookie",
        ]
        return Child("api", command, self.folder / "api.log", self._environment("ievcc_api"))

    def stop(self) -> None:
        """End everything in order: devices, our own programs, then what they lean on."""
        for building in self.buildings:
            building.devices.close()
        ours = [b.manager for b in self.buildings] + [*self.workers, self.api]
        wait_until_ended([child for child in ours if child is not None], 5)
        for building in self.buildings:
            if building.broker is not None:
                building.broker.stop()
        self.kafka.stop()
        self.postgres.stop()
