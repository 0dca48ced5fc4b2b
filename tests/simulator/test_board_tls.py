"""TLS of a simulated board: certificates are checked, a hanging handshake holds its own thread only."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from manager import authority
from simulator.board import micropython
from tests.simulator.running_board import RunningBoard

pytestmark = pytest.mark.board
PYTHONS = [
    pytest.param(
        False,
        id="micropython",
        marks=pytest.mark.skipif(not micropython(), reason="no unix port here"),
    ),
    pytest.param(True, id="cpython"),
]
PROGRAM = """
import _thread, network, socket, ssl, time
wlan = network.WLAN(network.WLAN.IF_STA)
wlan.active(True)
wlan.connect("home", "password")
while not wlan.isconnected(): time.sleep_ms(10)
worst = [0]
def call():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=bytes.fromhex("%s"))
    raw = socket.socket()
    raw.settimeout(2)
    raw.connect(("127.0.0.1", %d))
    try:
        secure = context.wrap_socket(raw, server_hostname="broker.home")
    except (OSError, ValueError) as e:
        print("refused", repr(e))
        raw.close()
        return
    try:
        secure.settimeout(1)
        print("it has settimeout")
    except AttributeError:
        pass
    secure.write(b"hello")
    print("echo", secure.read(5))
    secure.setblocking(False)
    assert secure.read(1) is None
    secure.close()
def work():
    while True:
        call()
        time.sleep_ms(200)
_thread.start_new_thread(work, ())
last, n = time.ticks_ms(), 0
while True:
    time.sleep_ms(10)
    now = time.ticks_ms()
    worst[0] = max(worst[0], time.ticks_diff(now, last))
    last = now
    n += 1
    if n %% 100 == 0:
        print("worst", worst[0])
"""


@pytest.fixture(scope="module")
def credentials() -> tuple[bytes, bytes, authority.Credential]:
    """(our authority, another one, the broker's certificate), the first two DER."""
    now = datetime.now(UTC)
    ours, other = (authority.make_authority(site, now) for site in ("home", "elsewhere"))
    leaf = authority.issue(ours, "broker", now, ("broker.home",))
    return der(ours), der(other), leaf


def der(credential: authority.Credential) -> bytes:
    """The boards' Mbed TLS reads no PEM."""
    return x509.load_pem_x509_certificate(credential.certificate).public_bytes(Encoding.DER)


@contextlib.contextmanager
def echoing(folder: Path, leaf: authority.Credential) -> Iterator[int]:
    """A server that says everything back."""
    (folder / "leaf.pem").write_bytes(leaf.certificate + leaf.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "leaf.pem")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    raw, _ = server.accept()
                except OSError:
                    return
                with (
                    contextlib.suppress(OSError),
                    context.wrap_socket(raw, server_side=True) as secure,
                ):
                    secure.sendall(secure.recv(100))
                    secure.recv(1)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.mark.parametrize("cpython", PYTHONS)
def test_a_known_authority_is_believed(
    tmp_path: Path, cpython: bool, credentials: tuple[bytes, bytes, authority.Credential]
) -> None:
    ours, other, leaf = credentials
    with echoing(tmp_path, leaf) as port:
        with RunningBoard(tmp_path / "a", PROGRAM % (ours.hex(), port), cpython=cpython) as board:
            board.said("echo b'hello'")
            board.put(net={"tls": 1})
            time.sleep(0.6)
            board.printed.clear()
            time.sleep(1.3)
            assert not any(line.startswith("echo") for line in board.printed)
            assert int(board.said("worst").split()[1]) < 150
            board.put(net={"tls": 0})
            board.said("echo b'hello'")
        with RunningBoard(tmp_path / "b", PROGRAM % (other.hex(), port), cpython=cpython) as board:
            board.said("refused")


def test_an_esp8266_cannot_check(tmp_path: Path) -> None:
    program = """
import ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
print("mode", context.verify_mode)
try:
    context.verify_mode = ssl.CERT_REQUIRED
except ValueError as e:
    print(e)
"""
    with RunningBoard(tmp_path, program, "energy_meter") as board:
        board.said("mode 0")
        board.said("CERT_REQUIRED is not supported")
