"""A broker with TLS for chargers, and what a charger needs on its flash to believe it and be believed."""

import contextlib
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from manager import authority
from manager.broker import free_port
from manager.process import Child
from tests.firmware.charger.bench import until

NOW = datetime.now(UTC)
OURS, OTHER = (authority.make_authority(site, NOW) for site in ("home", "elsewhere"))
NAME = "broker.home.arpa"


def der(certificate: bytes) -> bytes:
    """As a board reads it."""
    return x509.load_pem_x509_certificate(certificate).public_bytes(Encoding.DER)


def key_der(key: bytes) -> bytes:
    """As a board reads it."""
    return load_pem_private_key(key, None).private_bytes(
        Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    )


@contextlib.contextmanager
def tls_broker(folder: Path, program: str) -> Iterator[tuple[int, int, int]]:
    """mosquitto with a plain port for the test's manager, and one with TLS that asks for a certificate; its pid."""
    leaf = authority.issue(OURS, "broker", NOW, ("localhost", NAME))
    (folder / "ca.pem").write_bytes(OURS.certificate)
    (folder / "cert.pem").write_bytes(leaf.certificate)
    (folder / "key.pem").write_bytes(leaf.key)
    plain, secure = free_port("127.0.0.1"), free_port("127.0.0.1")
    conf = folder / "mosquitto.conf"
    conf.write_text(
        "user root\nallow_anonymous true\nset_tcp_nodelay true\n"
        f"listener {plain} 127.0.0.1\nlistener {secure} 127.0.0.1\n"
        f"cafile {folder}/ca.pem\ncertfile {folder}/cert.pem\nkeyfile {folder}/key.pem\nrequire_certificate true\n"
    )
    child = Child("mosquitto", [program, "-c", str(conf)], folder / "mosquitto.log")
    try:
        until(lambda: _listens(plain) and _listens(secure), 15, child.words)
        yield plain, secure, child.pid
    finally:
        child.end()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def flash(target: Path, ca: authority.Credential) -> None:
    """Put the authority that is believed, and a proof of who this charger is, on a board's flash."""
    own = authority.issue(OURS, "Charger-1", NOW)
    target.mkdir(exist_ok=True)
    (target / "ca.der").write_bytes(der(ca.certificate))
    (target / "cert.der").write_bytes(der(own.certificate))
    (target / "key.der").write_bytes(key_der(own.key))
