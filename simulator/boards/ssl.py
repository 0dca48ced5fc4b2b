"""`ssl` over the boards' sockets. ESP32: Mbed TLS, certificates checked. ESP8266: axTLS, which checks none.

As on the boards a handshake waits for ever: no time-out of the socket reaches it.
"""

import socket

import host
import wiring

PROTOCOL_TLS_CLIENT, PROTOCOL_TLS_SERVER = (
    host.tls.PROTOCOL_TLS_CLIENT,
    host.tls.PROTOCOL_TLS_SERVER,
)
CERT_NONE, CERT_OPTIONAL, CERT_REQUIRED = 0, 1, 2


class SSLContext:
    """What a connection is checked against."""

    def __init__(self, protocol):
        self._real = host.tls.SSLContext(protocol)
        if wiring.CHIP == "esp8266":
            self._real.verify_mode = CERT_NONE

    @property
    def verify_mode(self):
        """CERT_NONE or CERT_REQUIRED."""
        return self._real.verify_mode

    @verify_mode.setter
    def verify_mode(self, mode):
        if wiring.CHIP == "esp8266" and mode != CERT_NONE:
            raise ValueError("CERT_REQUIRED is not supported")
        if not host.ON_MICROPYTHON:
            self._real.check_hostname = mode == CERT_REQUIRED
        self._real.verify_mode = host.verify_mode(mode)

    def load_cert_chain(self, cert, key):
        """This board's own, DER or PEM."""
        host.load_cert_chain(self._real, cert, key)

    def load_verify_locations(self, cafile=None, cadata=None):
        """Whom to believe."""
        if wiring.CHIP == "esp8266":
            raise AttributeError("'SSLContext' object has no attribute 'load_verify_locations'")
        if cadata is None:
            with host.open_board(cafile, "rb") as f:
                cadata = f.read()
        host.load_verify_locations(self._real, cadata)

    def wrap_socket(
        self, sock, *, server_side=False, do_handshake_on_connect=True, server_hostname=None
    ):
        """A socket that speaks TLS; OSError or ValueError when the handshake fails."""
        wiring.look()
        if wiring.faults[wiring.TLS]:
            socket._hang(wiring.TLS)
        raw = sock._raw
        raw.setblocking(True)
        wiring.give_turn()
        try:
            wrapped = self._real.wrap_socket(
                raw,
                server_side=server_side,
                do_handshake_on_connect=True,
                server_hostname=server_hostname,
            )
        finally:
            wiring.take_turn()
        return _Secure(wrapped, raw, sock._timeout_us)


def wrap_socket(
    sock, server_side=False, key=None, cert=None, cert_reqs=0, server_hostname=None, **_
):
    """The old way: nothing is checked unless asked for."""
    context = SSLContext(PROTOCOL_TLS_SERVER if server_side else PROTOCOL_TLS_CLIENT)
    context.verify_mode = cert_reqs
    if cert is not None:
        context.load_cert_chain(cert, key)
    return context.wrap_socket(sock, server_side=server_side, server_hostname=server_hostname)


class _Secure(socket.socket):
    """Reads and writes only; it has no `settimeout` on a board either."""

    def __init__(self, wrapped, below, timeout_us):
        self._raw = wrapped
        self._below = (
            below if host.ON_MICROPYTHON else wrapped
        )  # CPython's takes the descriptor over
        self._below.setblocking(False)
        self._type = socket.SOCK_STREAM
        self._timeout_us = timeout_us
        self._connected = True

    def settimeout(self, seconds):
        raise AttributeError("'SSLSocket' object has no attribute 'settimeout'")

    def _wait(self, events, fault):
        secure, self._raw = self._raw, self._below
        try:
            socket.socket._wait(self, events, fault)
        finally:
            self._raw = secure

    def _receive(self, size):
        while True:
            if not self._cut(wiring.RECEIVE):
                data = host.tls_read(self._raw, size)
                if data is not None:
                    return data
            self._wait(host.select.POLLIN, wiring.RECEIVE)

    def _send(self, data):
        while True:
            if not self._cut(wiring.SEND):
                sent = host.tls_write(self._raw, data)
                if sent:
                    return sent
            self._wait(host.select.POLLOUT, wiring.SEND)

    def close(self):
        """Both layers."""
        self._raw.close()
        self._below.close()
