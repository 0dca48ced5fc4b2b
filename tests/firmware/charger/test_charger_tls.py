"""The charger over TLS: to a broker that proves itself and wants to know who is there; to nobody else."""

import contextlib
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
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
from tests.firmware.charger.bench import Bench, ChargerManager, until

pytestmark = [pytest.mark.board, pytest.mark.broker]
NOW = datetime.now(UTC)
OURS, OTHER = (authority.make_authority(site, NOW) for site in ("home", "elsewhere"))


def der(certificate: bytes) -> bytes:
    return x509.load_pem_x509_certificate(certificate).public_bytes(Encoding.DER)


def key_der(key: bytes) -> bytes:
    return load_pem_private_key(key, None).private_bytes(
        Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    )


@contextlib.contextmanager
def tls_broker(folder: Path, program: str) -> Iterator[tuple[int, int]]:
    """mosquitto with a plain port for the test's manager, and one with TLS that asks for a certificate."""
    leaf = authority.issue(OURS, "broker", NOW, ("localhost",))
    (folder / "ca.pem").write_bytes(OURS.certificate)
    (folder / "cert.pem").write_bytes(leaf.certificate)
    (folder / "key.pem").write_bytes(leaf.key)
    plain, secure = free_port("127.0.0.1"), free_port("127.0.0.1")
    conf = folder / "mosquitto.conf"
    conf.write_text(
        f"user root\nallow_anonymous true\nlistener {plain} 127.0.0.1\nlistener {secure} 127.0.0.1\n"
        f"cafile {folder}/ca.pem\ncertfile {folder}/cert.pem\nkeyfile {folder}/key.pem\nrequire_certificate true\n"
    )
    child = Child("mosquitto", [program, "-c", str(conf)], folder / "mosquitto.log")
    try:
        time.sleep(0.5)
        yield plain, secure
    finally:
        child.end()


def flash(folder: Path, ca: authority.Credential) -> None:
    own = authority.issue(OURS, "Charger-1", NOW)
    target = folder / "charger.flash"
    target.mkdir()
    (target / "ca.der").write_bytes(der(ca.certificate))
    (target / "cert.der").write_bytes(der(own.certificate))
    (target / "key.der").write_bytes(key_der(own.key))


def test_a_charger_joins_over_tls(tmp_path: Path, micropython: str, mosquitto: str) -> None:
    with tls_broker(tmp_path, mosquitto) as (plain, secure):
        flash(tmp_path, OURS)
        manager = ChargerManager(plain)
        bench = Bench(
            tmp_path,
            broker_tls=1,
            broker_host="localhost",
            broker_port=secure,
            utc_s=int(time.time()),
        )
        try:
            until(lambda: manager.status.get("state") == "A1", 40, bench.log)
            manager.lease(16)
            bench.charge()
            assert bench.line["offer_a"] == 16
        finally:
            bench.stop()
            manager.close()


def test_a_broker_of_another_house_is_not_believed(
    tmp_path: Path, micropython: str, mosquitto: str
) -> None:
    with tls_broker(tmp_path, mosquitto) as (plain, secure):
        flash(tmp_path, OTHER)
        manager = ChargerManager(plain)
        bench = Bench(
            tmp_path,
            broker_tls=1,
            broker_host="localhost",
            broker_port=secure,
            mode="manual",
            manual_a=10,
        )
        try:
            bench.wait(lambda got: got["state"] == "A1")
            time.sleep(4)
            assert not manager.messages
            bench.charge()  # it charges all the same
            assert json.loads((bench.flash / "config.json").read_text())["broker_tls"] == 1
        finally:
            bench.stop()
            manager.close()
