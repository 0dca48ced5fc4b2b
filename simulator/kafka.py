"""Apache Kafka as one JVM in KRaft mode, from its published jars: the real broker where no
container engine is.

Clients come in two ways, as in service: buildings over TLS with SASL/SCRAM, and may only write
to the intake; the datahub's own programs over loopback. `python -m simulator.kafka` fetches the
jars that deploy/kafka/pom.xml pins.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from manager.process import Child

ROOT = Path(__file__).parent.parent
POM = ROOT / "deploy" / "kafka" / "pom.xml"
FOG_USER = "fog"
_START_S = 60.0
# Serial collector and first-tier compiler: a broker of one's own starts in half the time and stays
# small.
_JVM = (
    "-Xms128m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)


class KafkaError(RuntimeError):
    """Kafka cannot be had or did not start; the words say what is missing and how to get it."""


def libraries() -> Path:
    """Where the jars are kept: IEVCC_KAFKA_LIBS, else build/kafka-libs in the tree."""
    return Path(os.environ.get("IEVCC_KAFKA_LIBS") or ROOT / "build" / "kafka-libs")


def missing() -> str:
    """What is missing to run Kafka, in words with the remedy; "" if nothing is."""
    lacks = _programs_missing()
    if not _fetched(libraries()) and shutil.which("mvn") is not None:
        lacks.append("no Kafka jars: `make kafka` fetches them with Maven")
    return "; ".join(lacks)


def _programs_missing() -> list[str]:
    lacks = []
    if shutil.which("java") is None:
        lacks.append("no Java, which runs Kafka: apt install openjdk-17-jre-headless")
    if not _fetched(libraries()) and shutil.which("mvn") is None:
        lacks.append("no Maven, which fetches Kafka's jars: apt install maven, then `make kafka`")
    if shutil.which("openssl") is None:
        lacks.append("no openssl: apt install openssl")
    return lacks


def prepare() -> Path:
    """Fetch the jars with Maven unless they are there for this very pom. KafkaError in words."""
    folder = libraries()
    if _fetched(folder):
        return folder
    if shutil.which("mvn") is None:
        raise KafkaError("no maven: apt install maven openjdk-17-jre-headless")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    done = subprocess.run(
        [
            "mvn",
            "-q",
            "-B",
            "-f",
            str(POM),
            "dependency:copy-dependencies",
            "-DincludeScope=runtime",
            f"-DoutputDirectory={folder}",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise KafkaError(
            f"maven could not fetch Kafka:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    _stamp(folder).write_text(_pom_hash())
    return folder


def _pom_hash() -> str:
    return hashlib.sha256(POM.read_bytes()).hexdigest()


def _stamp(folder: Path) -> Path:
    return folder / "pom.sha256"


def _fetched(folder: Path) -> bool:
    return _stamp(folder).exists() and _stamp(folder).read_text() == _pom_hash()


def free_ports(count: int) -> list[int]:
    """TCP ports on loopback nobody listens on at this moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [int(s.getsockname()[1]) for s in sockets]
    finally:
        for s in sockets:
            s.close()


class Kafka:
    """One broker with its files in `folder`. `servers` is the datahub's way in, `secure_servers`
    the buildings'.

    The files outlive `kill` and `stop`: `start` goes on with what was written.
    """

    def __init__(self, folder: Path) -> None:
        wrong = missing()
        if wrong:
            raise KafkaError(wrong)
        self.folder = folder
        self.ca = folder / "ca.pem"
        self.child: Child | None = None
        self._properties = folder / "server.properties"
        folder.mkdir(parents=True, exist_ok=True)
        inside, secure, controller = free_ports(3)
        self.servers = f"127.0.0.1:{inside}"
        self.secure_servers = f"127.0.0.1:{secure}"
        self._make_certificates()
        self._write_properties(inside, secure, controller)
        self._format("ievccDemoClusterAAAAAA")

    def use(self, properties: str, cluster: str) -> None:
        """Another configuration, before the first start: one that is to be tried."""
        self._properties.write_text(properties)
        self._format(cluster)

    def _format(self, cluster: str) -> None:
        tool = "kafka.tools.StorageTool"
        self._tool(tool, "format", "-t", cluster, "-c", str(self._properties))

    def __getstate__(self) -> dict[str, Any]:
        # Another process may use it; only the one that started it ends it.
        return {**self.__dict__, "child": None}

    def start(self) -> None:
        """Run the broker and wait until it answers."""
        classpath = f"{libraries()}/*"
        self.child = Child(
            "kafka",
            ["java", *_JVM, "-cp", classpath, "kafka.Kafka", str(self._properties)],
            self.folder / "kafka.log",
        )
        self._wait()

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self.child is not None:
            self.child.kill()
            self.child = None

    def stop(self) -> None:
        """End it in order."""
        if self.child is not None:
            self.child.end()
            self.child = None

    def _wait(self) -> None:
        host, port = self.servers.split(":")
        ends = time.monotonic() + _START_S
        while time.monotonic() < ends:
            if self.child is None or self.child.status() is not None:
                raise KafkaError(self.child.words() if self.child else "stopped")
            try:
                with socket.create_connection((host, int(port)), 1):
                    return
            except OSError:
                time.sleep(0.2)
        raise KafkaError(
            f"Kafka does not listen after {_START_S:.0f} s; see {self.folder / 'kafka.log'}"
        )

    def _tool(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            ["java", *_JVM, "-cp", f"{libraries()}/*", name, *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise KafkaError(f"{name}: {done.stdout[-1500:]}{done.stderr[-1500:]}")

    def _make_certificates(self) -> None:
        def openssl(*arguments: str) -> None:
            done = subprocess.run(
                ["openssl", *arguments], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise KafkaError(f"openssl: {done.stderr[-800:]}")

        f = self.folder
        openssl(
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=ievcc fog test CA",
            "-keyout",
            str(f / "ca.key"),
            "-out",
            str(self.ca),
        )
        openssl(
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            "/CN=127.0.0.1",
            "-keyout",
            str(f / "server.key"),
            "-out",
            str(f / "server.csr"),
        )
        (f / "server.ext").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        openssl(
            "x509",
            "-req",
            "-in",
            str(f / "server.csr"),
            "-CA",
            str(self.ca),
            "-CAkey",
            str(f / "ca.key"),
            "-CAcreateserial",
            "-days",
            "30",
            "-extfile",
            str(f / "server.ext"),
            "-out",
            str(f / "server.crt"),
        )
        keystore = (
            (f / "server.key").read_text() + (f / "server.crt").read_text() + self.ca.read_text()
        )
        (f / "server.pem").write_text(keystore)

    def _write_properties(self, inside: int, secure: int, controller: int) -> None:
        self._properties.write_text(f"""\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=INSIDE://127.0.0.1:{inside},SITES://127.0.0.1:{secure},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=INSIDE://127.0.0.1:{inside},SITES://127.0.0.1:{secure}
controller.listener.names=CONTROLLER
inter.broker.listener.name=INSIDE
listener.security.protocol.map=CONTROLLER:PLAINTEXT,INSIDE:PLAINTEXT,SITES:SASL_SSL
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.sites.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.sites.scram-sha-512.sasl.jaas.config=\\
    org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sites.ssl.keystore.type=PEM
listener.name.sites.ssl.keystore.location={self.folder / "server.pem"}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:{FOG_USER}
allow.everyone.if.no.acl.found=false
auto.create.topics.enable=false
log.dirs={self.folder / "log"}
log.message.timestamp.type=LogAppendTime
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=2000
""")


def main() -> None:
    """Fetch the jars. With `--programs` only say what must be installed first, and end with 3."""
    if sys.argv[1:] == ["--programs"]:
        for words in _programs_missing():
            sys.stderr.write(f"demo-cloud: {words}\n")
        sys.exit(3 if _programs_missing() else 0)
    try:
        folder = prepare()
    except KafkaError as e:
        sys.exit(f"kafka: {e}")
    print(f"Kafka's jars are in {folder}")


if __name__ == "__main__":
    main()
