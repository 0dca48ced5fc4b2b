"""deploy/compose*: as much of it as can be tried without a container engine, by the real
programs.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import psycopg
import pytest

from datahub import commands
from datahub.fog import topics
from manager.broker import free_port
from manager.process import Child
from simulator import kafka as kafka_engine
from simulator.postgres import Postgres
from tests.datahub.conftest import Cloud
from tests.real_parts import real_part

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
COMPOSE = DEPLOY / "compose.yaml"


def environment(folder: Path) -> Path:
    """The example with every secret filled in."""
    text = (DEPLOY / "compose" / "example.env").read_text()
    path = folder / "env"
    path.write_text(re.sub(r"=$", "=secret", text, flags=re.MULTILINE))
    return path


def test_the_file_is_what_docker_compose_reads(tmp_path: Path) -> None:
    program = real_part("docker-compose")
    good = [program, "-f", str(COMPOSE), "--env-file", str(environment(tmp_path)), "config", "-q"]
    done = subprocess.run(good, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    empty = DEPLOY / "compose" / "example.env"
    bare = [program, "-f", str(COMPOSE), "--env-file", str(empty), "config", "-q"]
    done = subprocess.run(bare, capture_output=True, text=True, check=False)
    assert done.returncode != 0, "it must not start with empty secrets"


def test_every_command_in_it_is_one_of_ours() -> None:
    text = COMPOSE.read_text()
    named = set(re.findall(r"ievcc (fog|cloud) ([a-z-]+)", text))
    assert len(named) >= 5
    ours = {("fog", c.name) for c in commands.fog.registered_commands}
    ours |= {("cloud", c.name) for c in commands.cloud.registered_commands}
    assert named <= ours


def test_every_file_it_mounts_is_there() -> None:
    for place in re.findall(r"- \./(\S+?):/", COMPOSE.read_text()):
        assert (DEPLOY / place).exists(), place


def test_mosquitto_takes_its_configuration_and_the_health_command_works(
    mosquitto: str, tmp_path: Path
) -> None:
    port = free_port()
    text = (DEPLOY / "compose" / "mosquitto" / "mosquitto.conf").read_text()
    text = text.replace("listener 1883", f"listener {port} 127.0.0.1")
    text = text.replace("/mosquitto/data/", f"{tmp_path}/") + "user root\nsys_interval 1\n"
    (tmp_path / "mosquitto.conf").write_text(text)
    child = Child(
        "mosquitto", [mosquitto, "-c", str(tmp_path / "mosquitto.conf")], tmp_path / "log"
    )
    try:
        ask = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(port), "-t", "$SYS/broker/uptime"]
        for _ in range(20):
            done = subprocess.run([*ask, "-C", "1", "-W", "5"], capture_output=True, check=False)
            if done.returncode == 0:
                break
        assert done.returncode == 0, child.words()
    finally:
        child.end()


@pytest.mark.datahub
def test_postgres_answers_the_health_command(postgres: Postgres) -> None:
    ask = ["-q", "-U", "postgres", "-d", "ievcc", "-h", "127.0.0.1", "-p", str(postgres.port)]
    assert subprocess.run([postgres.program("pg_isready"), *ask], check=False).returncode == 0


@pytest.mark.datahub
def test_the_dashboards_questions_are_answered_to_the_reader_who_sees_no_secret(
    cloud: Cloud,
) -> None:
    path = DEPLOY / "compose" / "grafana" / "dashboards" / "fleet.json"
    panels = json.loads(path.read_text())["panels"]
    assert len(panels) >= 5
    with psycopg.connect(cloud.dsn.replace("user=postgres", "user=ievcc_reader")) as db:
        for panel in panels:
            question = panel["targets"][0]["rawSql"]
            filled = re.sub(
                r"\$__timeFilter\(([^)]+)\)",
                r"\1 BETWEEN now() - interval '1 day' AND now()",
                question,
            )
            columns = db.execute(filled.encode()).description
            assert columns
            if panel["type"] == "timeseries":
                assert columns[0].name == "time"
        for table in ("person", "card"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                db.execute(f"SELECT * FROM {table}".encode())  # noqa: S608
            db.rollback()


@pytest.mark.datahub
def test_kafka_starts_with_its_configuration_and_certificates(tmp_path: Path) -> None:
    wrong = kafka_engine.missing()
    if wrong:
        from tests.real_parts import missing

        missing(f"real part missing: {wrong}")
    folder = tmp_path / "compose"
    shutil.copytree(DEPLOY / "compose", folder)
    subprocess.run([str(folder / "certificates.sh"), "localhost"], check=True)
    subprocess.run([str(folder / "certificates.sh"), "localhost"], check=True)  # again: a new one
    broker = kafka_engine.Kafka(tmp_path / "kafka")
    inside, secure = (int(s.rpartition(":")[2]) for s in (broker.servers, broker.secure_servers))
    (controller,) = kafka_engine.free_ports(1)
    text = (folder / "kafka" / "server.properties").read_text()
    for there, here in (
        ("kafka:9092", f"127.0.0.1:{inside}"),
        ("//:9092", f"//127.0.0.1:{inside}"),
        (":9093", f":{secure}"),
        ("localhost:9094", f"127.0.0.1:{controller}"),
        ("/etc/ievcc", str(folder / "kafka")),
        ("/var/lib/kafka/log", str(tmp_path / "log")),
    ):
        assert there in text, there
        text = text.replace(there, here)
    broker.use(text, (folder / "kafka" / "cluster.id").read_text().strip())
    broker.start()
    try:
        topics.prepare(broker.servers)
        topics.admit_site(broker.servers, "oak", "password")
        _says_hello(f"localhost:{secure}", folder / "kafka" / "ca.pem")
    finally:
        broker.stop()


def _says_hello(servers: str, ca: Path) -> None:
    from manager.forward import KafkaSink, Settings, parcel

    settings = Settings("oak", bytes(32), f"kafka://{servers}", ca, "password")
    sink = KafkaSink(settings)
    row = (1, "manager", 1, None, "log", 1_795_392_000_000, '{"level":"info","words":"hello"}')
    sink.send([parcel("oak", settings.key, [row], 1_795_392_000_000)])
    sink.close()
