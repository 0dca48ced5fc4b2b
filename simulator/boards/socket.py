"""`socket` as the boards have it, over the computer's sockets.

Differs from the computer's where the boards do: addresses are (host, port); `setblocking(True)`
cancels every time-out; a look-up has no time-out at all; without Wi-Fi nothing gets out and
nothing says so. Ports below 1024, which the computer gives to root only, are others of its choice
(BOARD_PORTS, "80:40123,53:40124").
"""

import host
import wiring

AF_INET, AF_INET6 = 2, 10
SOCK_STREAM, SOCK_DGRAM, SOCK_RAW = 1, 2, 3
SOL_SOCKET, SO_REUSEADDR, SO_BROADCAST, SO_BINDTODEVICE = 1, 4, 6, 25
IPPROTO_TCP, IPPROTO_UDP, IPPROTO_IP = 6, 17, 0
IP_ADD_MEMBERSHIP, TCP_NODELAY = 3, 1

_AGAIN = (11, 35)
_IN_PROGRESS = (115, 36)
_ENOTCONN, _ETIMEDOUT, _EHOSTUNREACH = 128, 116, 118  # ESP-IDF's lwIP numbers them so
if wiring.CHIP == "esp8266":
    _ENOTCONN, _ETIMEDOUT, _EHOSTUNREACH = 128, 110, 113
_FOREVER_US = 3600 * 1_000_000
_PORTS = dict(
    [int(n) for n in pair.split(":")]
    for pair in (host.getenv("BOARD_PORTS") or "").split(",")
    if pair
)


def getaddrinfo(name, port, af=0, type=0, proto=0, flags=0):
    """[(family, type, proto, "", (ip, port))]; blocks as long as the name server pleases.
    OSError(-202) if unknown."""
    if _is_digits(name):
        return [(AF_INET, SOCK_STREAM, 0, "", (name, port))]
    wiring.look()
    if wiring.faults[wiring.DNS]:
        _hang(wiring.DNS)
    if wiring.faults[wiring.WIFI]:
        wiring.give_turn()
        host.sleep_us(3_000_000)
        wiring.take_turn()
        raise OSError(-202 if wiring.CHIP == "esp32" else -2)
    wiring.give_turn()
    try:
        ip = host.host_port(host.address(name, port))[0]
    except OSError:
        ip = None
    finally:
        wiring.take_turn()
    if ip is None:
        raise OSError(-202 if wiring.CHIP == "esp32" else -2)
    return [(AF_INET, SOCK_STREAM, 0, "", (ip, port))]


def _is_digits(name):
    parts = name.split(".")
    return len(parts) == 4 and all([part.isdigit() for part in parts])


def _hang(fault):
    """Block, as a call into the network stack does, for as long as the fault lasts: other threads
    run, handlers of this one do not. The fault's value is for how many ms at most; 1 is without
    end."""
    limit = wiring.faults[fault]
    started = wiring.now_us()
    while wiring.faults[fault] and (limit == 1 or wiring.now_us() - started < limit * 1000):
        wiring.give_turn()
        host.sleep_us(5000)
        wiring.take_turn()
        if not wiring.threaded:
            # Nobody else takes in what the bench says; handlers wait until this call is over.
            wiring.look_without_handlers()


class socket:
    """A TCP or UDP socket."""

    def __init__(self, af=2, type=1, proto=0, _raw=None):
        self._raw = host.socket.socket(af, type) if _raw is None else _raw
        self._raw.setblocking(False)
        self._type = type
        self._timeout_us = None
        self._connected = _raw is not None
        self._connecting = None

    # -- waiting

    def setblocking(self, on):
        """True waits for ever from now on, whatever was set before."""
        self._timeout_us = None if on else 0

    def settimeout(self, seconds):
        """None: for ever; 0: not at all."""
        self._timeout_us = None if seconds is None else int(seconds * 1_000_000)

    def _wait(self, events, fault):
        """Wait for the computer's socket; OSError(ETIMEDOUT) or EAGAIN when the socket's patience
        is over."""
        patience = self._timeout_us
        if patience == 0:
            raise OSError(11)
        until = wiring.now_us() + (_FOREVER_US if patience is None else patience)
        poller = host.select.poll()
        poller.register(self._raw, events)
        while True:
            # One wait is 50 ms at most, so that a fault that ends or begins is noticed.
            left = until - wiring.now_us()
            if left <= 0:
                if patience is None:
                    until += _FOREVER_US
                    continue
                raise OSError(_ETIMEDOUT if wiring.CHIP == "esp32" else 110)
            wiring.give_turn()
            cut = self._cut(fault)
            if cut:
                host.sleep_us(min(left, 20_000))
                ready = None
            else:
                ready = poller.poll(max(1, min(left // 1000, 50)))
            wiring.take_turn()
            if not wiring.threaded:
                wiring.look_without_handlers()
            if ready and not self._cut(fault):
                return

    @staticmethod
    def _cut(fault):
        return wiring.faults[wiring.WIFI] or wiring.faults[fault]

    # -- calls

    def connect(self, address):
        """OSError if refused, silent or unreachable."""
        name, port = address
        wiring.look()
        if self._type == SOCK_DGRAM:
            self._raw.connect(host.address(name, _PORTS.get(port, port)))
            self._connected = True
            return
        if self._connecting is None:
            self._connecting = host.address(name, _PORTS.get(port, port))
            try:
                if not self._cut(wiring.CONNECT):
                    self._raw.connect(self._connecting)
                    self._connected = True
                    return
            except OSError as e:
                if e.args[0] not in _IN_PROGRESS and e.args[0] not in _AGAIN:
                    self._connecting = None
                    raise
        if self._timeout_us == 0:
            raise OSError(119 if wiring.CHIP == "esp32" else 115)
        begun = wiring.now_us()
        while self._cut(wiring.CONNECT):
            if self._timeout_us is not None and wiring.now_us() - begun > self._timeout_us:
                raise OSError(_ETIMEDOUT if wiring.CHIP == "esp32" else 110)
            wiring.give_turn()
            host.sleep_us(5000)
            wiring.take_turn()
            if not wiring.threaded:
                wiring.look_without_handlers()
        # A fault that has ended left the computer's socket untouched: begin now.
        try:
            self._raw.connect(self._connecting)
        except OSError as e:
            if e.args[0] == 106:
                self._connected = True
                return
            if e.args[0] not in _IN_PROGRESS and e.args[0] not in _AGAIN and e.args[0] != 114:
                raise
        self._wait(host.select.POLLOUT, wiring.CONNECT)
        try:
            self._raw.connect(self._connecting)
        except OSError as e:
            if e.args[0] != 106:  # EISCONN: it is
                raise
        self._connected = True

    def bind(self, address):
        """To a port of this board."""
        port = address[1]
        self._raw.setsockopt(1, 2, 1)
        # Not on every interface of the computer: a simulated board's neighbours live on it too.
        ip = "0.0.0.0" if host.getenv("BOARD_OPEN") else "127.0.0.1"  # noqa: S104
        self._raw.bind(host.address(ip, _PORTS.get(port, port)))

    def listen(self, backlog=1):
        """Take connections."""
        self._raw.listen(backlog)

    def accept(self):
        """(socket, (ip, port)) of who called."""
        while True:
            try:
                raw, address = self._raw.accept()
                break
            except OSError as e:
                if e.args[0] not in _AGAIN:
                    raise
            self._wait(host.select.POLLIN, wiring.RECEIVE)
        return socket(2, 1, 0, raw), host.host_port(address)

    def _receive(self, size):
        """Bytes, b"" at the end; OSError(EAGAIN or ETIMEDOUT) when there is nothing."""
        while True:
            if not self._cut(wiring.RECEIVE):
                try:
                    return self._raw.recv(size)
                except OSError as e:
                    if e.args[0] not in _AGAIN:
                        raise
            else:
                wiring.look_without_handlers()
            self._wait(host.select.POLLIN, wiring.RECEIVE)

    def recv(self, size, flags=0):
        """What has come, at most so much."""
        return self._receive(size)

    def recvfrom(self, size, flags=0):
        """(data, address)."""
        while True:
            try:
                data, address = self._raw.recvfrom(size)
                return data, host.host_port(address)
            except OSError as e:
                if e.args[0] not in _AGAIN:
                    raise
            self._wait(host.select.POLLIN, wiring.RECEIVE)

    def read(self, size=-1):
        """Exactly so much, or up to the end; None if nothing is there and this socket does not
        wait."""
        whole = b""
        while size < 0 or len(whole) < size:
            try:
                part = self._receive(256 if size < 0 else size - len(whole))
            except OSError as e:
                if e.args[0] in _AGAIN:
                    return whole or None
                raise
            if not part:
                break
            whole += part
        return whole

    def readinto(self, buffer, size=-1):
        """Into a buffer; how many bytes, None if nothing is there."""
        data = self.read(len(buffer) if size < 0 else min(size, len(buffer)))
        if data is None:
            return None
        buffer[: len(data)] = data
        return len(data)

    def readline(self):
        """Up to and with a line feed."""
        line = b""
        while not line.endswith(b"\n"):
            part = self.read(1)
            if part is None:
                return line or None
            if not part:
                break
            line += part
        return line

    def _send(self, data):
        while True:
            if not self._cut(wiring.SEND):
                try:
                    sent = self._raw.send(data)
                    if sent is not None:
                        return sent
                except OSError as e:
                    if e.args[0] not in _AGAIN:
                        raise
            else:
                wiring.look_without_handlers()
            self._wait(host.select.POLLOUT, wiring.SEND)

    def send(self, data, flags=0):
        """Some of it; how much."""
        return self._send(data)

    def sendall(self, data, flags=0):
        """All of it."""
        view = memoryview(data)
        at = 0
        while at < len(data):
            at += self._send(view[at:])

    def write(self, data, size=-1):
        """All of it where this socket waits, else what goes; None if nothing does."""
        view = memoryview(data)
        if size >= 0:
            view = view[:size]
        at = 0
        while at < len(view):
            try:
                at += self._send(view[at:])
            except OSError as e:
                if e.args[0] in _AGAIN:
                    return at or None
                raise
        return at

    def sendto(self, data, address):
        """One datagram."""
        wiring.look()
        name, port = address
        if self._cut(wiring.SEND) or (port == 53 and wiring.faults[wiring.DNS]):
            return len(data)  # into the void, as a board does
        if name == "255.255.255.255":
            name = "127.255.255.255"
        return self._raw.sendto(data, host.address(name, _PORTS.get(port, port)))

    def setsockopt(self, level, option, value):
        """Passed on where the computer knows it."""
        if level == SOL_SOCKET and option in (SO_REUSEADDR, SO_BROADCAST):
            self._raw.setsockopt(1, 2 if option == SO_REUSEADDR else 6, 1)

    def makefile(self, mode="rb", buffering=0):
        """The socket itself, as on the boards."""
        return self

    def fileno(self):
        """The descriptor."""
        return self._raw.fileno()

    def close(self):
        """Done with it."""
        self._raw.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
