"""deploy/compose*: as much of it as can be tried without a container engine, by the real
programs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from datahub import commands
from datahub.cloud.api.access import Settings
from datahub.cloud.api.app import make_app
from datahub.fog import intake, topics
from manager.broker import free_port
from manager.process import Child
from simulator import kafka as kafka_engine
from simulator.kafka import Kafka
from simulator.postgres import Postgres
from tests.datahub.conftest import MASTER, Cloud
from tests.datahub.test_flows_down import serving
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


def test_every_image_is_of_one_version() -> None:
    """Brought up again in a year it is the same: three numbers, and no `latest`."""
    images = re.findall(r"^    image: (\S+)$", COMPOSE.read_text(), re.MULTILINE)
    images += re.findall(
        r"^FROM (\S+)$", (DEPLOY / "compose" / "Dockerfile").read_text(), re.MULTILINE
    )
    assert len(images) == 6
    for image in images:
        assert re.search(r":\d+\.\d+(\.\d+)?(-[a-z-]+)?$", image), image


def test_every_health_check_but_grafanas_is_tried_in_this_file() -> None:
    """Its `wget` asks a Grafana, which cannot be had here."""
    text = COMPOSE.read_text()
    programs = re.findall(r'test: \["CMD", "(?:[^"]*/)?([^"/]+)"', text)
    assert sorted(programs) == [
        "influx", "kafka-broker-api-versions.sh", "mosquitto_sub", "pg_isready", "python",
        "python", "wget",
    ]  # fmt: skip


def test_influxdb_takes_the_environment_and_answers_the_health_command(tmp_path: Path) -> None:
    """Debian's 1.6 for the image's 1.8: the same `/write`, the same command."""
    server, client = real_part("influxd"), real_part("influx")
    port, inner = kafka_engine.free_ports(2)
    environment = {
        **os.environ,
        "INFLUXDB_REPORTING_DISABLED": "true",
        "INFLUXDB_META_DIR": str(tmp_path / "meta"),
        "INFLUXDB_DATA_DIR": str(tmp_path / "data"),
        "INFLUXDB_DATA_WAL_DIR": str(tmp_path / "wal"),
        "INFLUXDB_HTTP_BIND_ADDRESS": f"127.0.0.1:{port}",
        "INFLUXDB_BIND_ADDRESS": f"127.0.0.1:{inner}",
    }
    child = Child("influxd", [server, "-config", os.devnull], tmp_path / "log", environment)
    ask = [client, "-host", "127.0.0.1", "-port", str(port), "-execute", "SHOW DATABASES"]
    try:
        ends = time.monotonic() + 60
        while subprocess.run(ask, capture_output=True, check=False).returncode:
            assert time.monotonic() < ends, child.words()
            time.sleep(0.2)
    finally:
        child.end()
    assert subprocess.run(ask, capture_output=True, check=False).returncode


@pytest.mark.datahub
def test_our_services_answer_their_health_commands(cloud: Cloud, kafka: Kafka) -> None:
    """The very commands of the file, with this test's ports."""
    text = COMPOSE.read_text()
    commands_ = re.findall(r'test: \["CMD", "python", "-c", "([^"]+)"\]', text)
    apps = {
        8081: intake.make_app(kafka.servers, cloud.fog, MASTER),
        8000: make_app(Settings(cloud.api, MASTER)),
    }
    for there, app in apps.items():
        (command,) = [c for c in commands_ if f":{there}/" in c]
        (port,) = kafka_engine.free_ports(1)
        here = [sys.executable, "-c", command.replace(f":{there}/", f":{port}/")]
        with serving(app, port):
            done = subprocess.run(here, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        assert subprocess.run(here, capture_output=True, check=False).returncode


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
        assert _kafka_is_well(inside)
    finally:
        broker.stop()


def _kafka_is_well(port: int) -> bool:
    """By the health command of the file: the program behind the script of that name, with its
    arguments, this test's port, and the time that the file gives it.
    """
    text = COMPOSE.read_text()
    found = re.search(
        r'test: \["CMD", "/opt/kafka/bin/kafka-broker-api-versions\.sh", "(\S+)", "kafka:9092"\]'
        r"\n +interval: \S+\n +timeout: (\d+)s",
        text,
    )
    assert found
    program = "org.apache.kafka.tools.BrokerApiVersionsCommand"
    java = ["java", "-cp", f"{kafka_engine.libraries()}/*", program]
    try:
        done = subprocess.run(
            [*java, found[1], f"127.0.0.1:{port}"],
            capture_output=True, text=True, check=False, timeout=int(found[2]),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0 and f":{port} (id: 1" in done.stdout


def _says_hello(servers: str, ca: Path) -> None:
    from manager.forward import KafkaSink, Settings, parcel

    settings = Settings("oak", bytes(32), f"kafka://{servers}", ca, "password")
    sink = KafkaSink(settings)
    row = (1, "manager", 1, None, "log", 1_795_392_000_000, '{"level":"info","words":"hello"}')
    sink.send([parcel("oak", settings.key, [row], 1_795_392_000_000)])
    sink.close()
