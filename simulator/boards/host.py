"""What the shims need of the computer they run on, the same on MicroPython's unix port and on
CPython.

Every shim bears the name of the board's module it stands for, so the computer's own `time`,
`socket`, ... are reached through here only.
"""

import sys

ON_MICROPYTHON = sys.implementation.name == "micropython"

if ON_MICROPYTHON:
    # "u" before the name gets the built-in module even where a shim of the same name lies on
    # sys.path.

    import _thread as threads

    import tls
    import uos as os
    import uselect as select
    import usocket as socket
    import utime as time

    getenv = os.getenv
    ticks_us = time.ticks_us
    sleep_us = time.sleep_us

    def open_fd(fd):
        """A file over an open descriptor that was set non-blocking: `readinto` gives None when
        nothing is there."""
        return open(fd, "r+b")

    def read_into(file, buffer):
        """How many bytes of what is there were put into it; None if nothing is."""
        try:
            return file.readinto(buffer)
        except OSError as e:
            if e.args[0] in (11, 35):
                return None
            raise

    def open_host(path, mode):
        """A file of the computer (the board's own root is mounted over it, see boot.py)."""
        return open("/host" + path, mode)

    def rename_host(old, new):
        """Put a file in another's place."""
        os.rename("/host" + old, "/host" + new)

    def address(host, port):
        """What the computer's `connect` and `bind` want."""
        return socket.getaddrinfo(host, port)[0][-1]

    def host_port(sockaddr):
        """An address as the boards give it: (host, port)."""
        family, ip, port = socket.sockaddr(sockaddr)[:3]
        return socket.inet_ntop(family, ip), port

    open_board = open

    def verify_mode(mode):
        """As the context wants it."""
        return mode

    def load_cert_chain(context, cert, key):
        """Bytes, as the boards take them."""
        context.load_cert_chain(cert, key)

    def load_verify_locations(context, data):
        """Bytes of one certificate."""
        context.load_verify_locations(data)

    def tls_read(file, size):
        """Bytes, None if none are there yet."""
        return file.read(size)

    def tls_write(file, data):
        """How many went, None if none could."""
        return file.write(data)


else:
    import _thread as threads  # noqa: F401
    import os
    import select  # noqa: F401
    import socket
    import ssl as tls
    import tempfile
    import time
    import traceback  # noqa: F401 - for board_sys

    getenv = os.environ.get

    def ticks_us():
        """Microseconds, monotonic."""
        return time.monotonic_ns() // 1000

    def sleep_us(us):
        """Sleep without looking at anything."""
        time.sleep(us / 1_000_000)

    class _File:
        def __init__(self, fd):
            self._fd = fd

        def fileno(self):
            return self._fd

        def read(self, size):
            try:
                return os.read(self._fd, size)
            except BlockingIOError:
                return None

        def readinto(self, buffer):
            data = self.read(len(buffer))
            if data is None:
                return None
            buffer[: len(data)] = data
            return len(data)

        def write(self, data):
            try:
                return os.write(self._fd, data)
            except BlockingIOError:
                return None

    def open_fd(fd):
        """A file over an open descriptor that was set non-blocking: `readinto` gives None when
        nothing is there."""
        return _File(fd)

    def read_into(file, buffer):
        """How many bytes of what is there were put into it; None if nothing is."""
        return file.readinto(buffer)

    open_host = open  # the board's own `open` is another, see cpython.py
    rename_host = os.replace

    def address(host, port):
        """What the computer's `connect` and `bind` want."""
        return socket.getaddrinfo(host, port, socket.AF_INET)[0][-1]

    def host_port(sockaddr):
        """An address as the boards give it: (host, port)."""
        return sockaddr[:2]

    def open_board(path, mode):
        """A file of the board."""
        return open((getenv("BOARD_ROOT") or "") + path if path.startswith("/") else path, mode)

    def verify_mode(mode):
        """As the context wants it."""
        return tls.VerifyMode(mode)

    def _pem(data, name):
        text = data if isinstance(data, bytes) else data.encode()
        if text.startswith(b"-----"):
            return text
        import base64

        body = base64.encodebytes(text)
        return b"-----BEGIN " + name + b"-----\n" + body + b"-----END " + name + b"-----\n"

    def load_cert_chain(context, cert, key):
        """CPython wants it in files."""
        with tempfile.NamedTemporaryFile() as f:
            f.write(_pem(cert, b"CERTIFICATE") + _pem(key, b"PRIVATE KEY"))
            f.flush()
            context.load_cert_chain(f.name)

    def load_verify_locations(context, data):
        """Bytes of one certificate."""
        context.load_verify_locations(cadata=_pem(data, b"CERTIFICATE").decode())

    def tls_read(file, size):
        """Bytes, None if none are there yet."""
        try:
            return file.recv(size)
        except (tls.SSLWantReadError, tls.SSLWantWriteError):
            return None

    def tls_write(file, data):
        """How many went, None if none could."""
        try:
            return file.send(data)
        except (tls.SSLWantReadError, tls.SSLWantWriteError):
            return None
