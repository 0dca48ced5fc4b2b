"""The MQTT link of a board: umqtt.simple kept within bounds, and every message sealed and checked.

    link = Link(config, boot, uid)      # config: firmware.common.config.Config, boot: raise_boot()
    while True:
        link.service()                  # connect, ping, fetch; never raises, see `limit_ms`
        if link.session != seen: ...    # a new connection: announce again
        got = link.take()               # (device, message) or None; device "" is the manager
        seq = link.publish(message)     # to <device>/up at QoS 1; its number, 0 if it did not go
        link.wait(50)                   # sleep, or less if something arrives

For a lease's anchor note the ticks before `publish` and remember them under the number it returns.
What arrives while `publish` waits for its acknowledgement is kept for `take`, so an answer is
never seen before `publish` has returned. A link belongs to one thread. It uses about 3 KiB, most
of it the send buffer and umqtt's client.

Why umqtt.simple needs bounds: it calls setblocking(True) after the first byte of every packet,
which on the boards cancels every time-out for good; it waits for acknowledgements without end; it
never notices a dead broker; its packet numbers never wrap. So its `socket` module is replaced by
`_BoundedSocket`: every operation has one deadline, a byte that trickles in does not extend it, and
a packet larger than the boards' memory is read and thrown away.
"""

import gc
import random
import socket

from umqtt import simple

from firmware.common.ticks import sleep_ms, ticks_add, ticks_diff, ticks_ms
from shared import protocol

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass

_LIMIT_MS = 3000  # one operation; below the ESP8266 watchdog's 5 s
_LARGEST = 640  # bytes of the largest part of a packet kept; a message has at most 512
_WAITING = 8  # messages kept for `take`
_BACKOFF_MS = 1000
_BACKOFF_MAX_MS = 30_000
_TIMED_OUT = 110
_RESET = 104
_AGAIN = (11, 35, 115, 119)  # EAGAIN on the boards and Linux, macOS; EINPROGRESS on Linux, ESP32

# What umqtt.simple and the sockets below it raise when a packet is cut, altered or late, and
# memory is short.
_BROKEN = (
    OSError,
    simple.MQTTException,
    AssertionError,
    IndexError,
    TypeError,
    ValueError,
    MemoryError,
)


class _BoundedSocket:
    """Stands where umqtt.simple expects its socket module, and for the one socket it makes with
    it."""

    def __init__(self, limit_ms: int, tls: "Any", resolve: "Any") -> None:
        self._limit_ms = limit_ms
        self._resolve = resolve
        self._tls = tls
        self._raw: "Any" = None
        self._read: "Any" = None
        self._write: "Any" = None
        self._waits = True
        self._until = 0
        self._out = bytearray(_LARGEST)
        self._filled = 0
        self._known: "tuple[str, int, Any] | None" = None
        self._host = ""
        self.heard = 0  # ticks at which the broker last said anything
        self.cut_short = 0  # packet parts thrown away because of their size

    # -- the module's part

    def socket(self, *_: "Any") -> "_BoundedSocket":
        self.close()
        self._raw = socket.socket()
        return self

    def getaddrinfo(self, host: str, port: int) -> "list[tuple[Any, ...]]":
        # A look-up has no time-out on a board: done once, and by the bounded one if there is one.
        if self._known is None or self._known[:2] != (host, port):
            digits = self._resolve(host, self._limit_ms) if self._resolve else host
            self._known = (host, port, socket.getaddrinfo(digits, port)[0][-1])
        self._host = host
        return [(0, 0, 0, "", self._known[2])]

    # -- the socket's part

    def connect(self, address: "Any") -> None:
        raw = self._raw
        raw.settimeout(self._limit_ms / 1000)
        try:
            raw.connect(address)
        except OSError:
            self._known = None  # the broker may have another address by now
            raise
        if self._tls is not None:
            raw = self._raw = self._tls.wrap_socket(raw, server_hostname=self._host)
        raw.setblocking(False)
        # MicroPython's sockets read and write; CPython's receive and send.
        self._read = getattr(raw, "read", None) or raw.recv
        self._write = getattr(raw, "write", None) or raw.send
        self.heard = ticks_ms()

    def setblocking(self, waits: bool) -> None:
        self._waits = waits

    def settimeout(self, _: "Any") -> None:
        self._waits = True

    def begin(self) -> None:
        """An operation starts now; all of it must be over when its limit has passed."""
        self._until = ticks_add(ticks_ms(), self._limit_ms)

    def _pause(self) -> None:
        if ticks_diff(self._until, ticks_ms()) <= 0:
            raise OSError(_TIMED_OUT)
        sleep_ms(1)

    def _some(self, most: int) -> bytes | None:
        """What is there, at most so much; None if there is nothing yet. OSError if the broker has
        hung up."""
        try:
            got: bytes | None = self._read(most)
        except OSError as e:
            if e.args and e.args[0] in _AGAIN:
                return None
            raise
        if got == b"":
            raise OSError(_RESET)
        if got is not None:
            self.heard = ticks_ms()
        return got

    def read(self, size: int) -> bytes | None:
        if self._waits:
            self.flush()
        if size < 0:
            raise OSError(_RESET)
        if not self._waits:
            return self._some(size)
        if size > _LARGEST:
            self.cut_short += 1
            while size:
                got = self._some(min(size, 64))
                if got is None:
                    self._pause()
                else:
                    size -= len(got)
            return b""
        whole = b""
        while len(whole) < size:
            got = self._some(size - len(whole))
            if got is None:
                self._pause()
            else:
                whole = whole + got if whole else got
        return whole

    def write(self, data: bytes, size: int = -1) -> None:
        # Collected, so that a message leaves in one segment: umqtt writes it in five pieces, and
        # each small piece would wait for the other side's delayed acknowledgement.
        size = len(data) if size < 0 else size
        at = 0
        while at < size:
            part = min(size - at, _LARGEST - self._filled)
            self._out[self._filled : self._filled + part] = data[at : at + part]
            self._filled += part
            at += part
            if self._filled == _LARGEST:
                self.flush()

    def flush(self) -> None:
        if not self._filled:
            return
        view = memoryview(self._out)
        at = 0
        size = self._filled
        self._filled = 0
        while at < size:
            try:
                sent = self._write(view[at:size])
            except OSError as e:
                if not e.args or e.args[0] not in _AGAIN:
                    raise
                sent = None
            if sent:
                at += sent
            else:
                self._pause()

    def poll_for(self, poller: "Any") -> None:
        poller.register(self._raw, 1)  # POLLIN is 1 on every port

    def close(self) -> None:
        self._waits = True
        self._filled = 0
        raw = self._raw
        self._raw = self._read = self._write = None
        if raw is not None:
            try:
                raw.close()
            except OSError:
                pass


class Link:
    """One board's connection to the broker, made again for ever.

    `connected`; `session` counts connections; `rejected` counts messages refused (altered,
    replayed, stale, malformed); `fault` says in a word why there is no connection: "" or one of
    address, refused, silent, closed.
    """

    def __init__(
        self,
        config: "Any",
        boot: int,
        uid: str = "",
        follow: "tuple[tuple[str, bytes | None], ...]" = (),
        tls: "Any" = None,
        limit_ms: int = _LIMIT_MS,
        resolve: "Any" = None,
    ) -> None:
        """`uid` tells two boards of one name apart at the broker (machine.unique_id in hex).
        `follow` names other devices whose messages are wanted too, each with its key. `tls`: an
        ssl.SSLContext on boards that have one."""
        self.device: str = config["id"]
        self.root: str = "ievcc/%s/" % config["site"]
        self._config = config
        self._name = self.device + ("-" + uid if uid else "")
        key = bytes.fromhex(config["key"]) or None
        self.boot = boot
        self.signed = key is not None
        self._sender = protocol.Sender(key, boot)
        # Only what answers this start is taken, so what was recorded before it need not be
        # remembered over it.
        self._receivers = {self.device + "/down": ("", protocol.Receiver(key, (0, 0), boot))}
        for device, its_key in follow:
            self._receivers[device + "/up"] = (device, protocol.Receiver(its_key))
        self._socket = _BoundedSocket(limit_ms, tls, resolve)
        self._limit_ms = limit_ms
        self._quiet_ms = (
            config["keepalive_s"] * 500
        )  # half of it: a ping that is lost leaves time for another
        self._client: "Any" = None
        self._poller: "Any" = None
        self._inbox: "list[tuple[str, bytes]]" = []
        self._backoff_ms = 0
        self._retry_at = ticks_ms()
        self._pinged: int | None = None
        self._spoke = 0
        self.connected = False
        self.session = 0
        self.rejected = 0
        self.fault = ""

    def _got(self, topic: bytes, payload: bytes) -> None:
        if len(self._inbox) >= _WAITING:
            self._inbox.pop(0)
            self.rejected += 1
        self._inbox.append((str(topic, "utf-8"), payload))

    def _lost(self, e: "Any") -> None:
        self._socket.close()
        self._client = None
        self._poller = None
        self.connected = False
        number = e.args[0] if isinstance(e, OSError) and e.args else 0
        if number in (_TIMED_OUT, 115, 116, 119):
            self.fault = "silent"
        elif number in (_RESET, -1, 32):
            self.fault = "closed"
        elif number in (-2, -3, -5, -202):
            self.fault = "address"
        else:
            self.fault = "refused"
        self._backoff_ms = min(_BACKOFF_MAX_MS, 2 * self._backoff_ms or _BACKOFF_MS)
        # Up to half as much again: boards that lost one broker together must not come back
        # together.
        jitter = self._backoff_ms * random.getrandbits(8) // 512
        self._retry_at = ticks_add(ticks_ms(), self._backoff_ms + jitter)

    def _connect(self) -> None:
        config = self._config
        simple.socket = self._socket
        client = simple.MQTTClient(
            self._name.encode(),
            config["broker_host"],
            config["broker_port"],
            config["broker_user"].encode() or None,
            config["broker_password"].encode() or None,
            config["keepalive_s"],
        )
        client.set_callback(self._got)
        state = (self.root + self.device + "/state").encode()
        client.set_last_will(state, b"offline", True, 1)
        self._socket.begin()
        client.connect(True)
        # A clean session forgets subscriptions: they are made anew before anybody is told that
        # this board is back.
        for topic in self._receivers:
            self._socket.begin()
            client.subscribe((self.root + topic).encode(), 1)
        self._client = client
        self._publish(state, b"online", True)
        self._poller = None
        self._backoff_ms = 0
        self._pinged = None
        self.connected = True
        self.session += 1
        self.fault = ""

    def _publish(self, topic: bytes, data: bytes, retain: bool) -> None:
        client = self._client
        if client.pid >= 65535:
            # 16 bits on the wire: umqtt would wait for the acknowledgement of number 65536.
            client.pid = 0
        self._socket.begin()
        client.publish(topic, data, retain, 1)
        self._spoke = ticks_ms()

    def service(self) -> bool:
        """Connect if it is time to, keep alive, fetch what has come; True while connected."""
        now = ticks_ms()
        try:
            if not self.connected:
                if not self.device or ticks_diff(now, self._retry_at) < 0:
                    return False
                self._connect()
            self._socket.begin()
            self._socket.flush()
            before = -1
            while before != len(self._inbox) and len(self._inbox) < _WAITING:
                before = len(self._inbox)
                self._socket.begin()
                op = self._client.check_msg()
                if op is not None and op & 0xF0 != 0x30:
                    raise OSError(
                        _RESET
                    )  # umqtt leaves the rest of such a packet unread: all after it is garbage
            self._keep_alive()
        except _BROKEN as e:
            self._lost(e)
        return self.connected

    def _keep_alive(self) -> None:
        now = ticks_ms()
        if self._pinged is not None:
            if ticks_diff(self._socket.heard, self._pinged) >= 0:
                self._pinged = None
            elif ticks_diff(now, self._pinged) > self._limit_ms:
                raise OSError(_TIMED_OUT)
        elif max(ticks_diff(now, self._socket.heard), ticks_diff(now, self._spoke)) > (
            self._quiet_ms
        ):
            self._socket.begin()
            self._client.ping()
            self._socket.flush()
            self._pinged = self._spoke = now

    def publish(self, message: "dict[str, Any]", topic: str = "") -> int:
        """Seal and send a message to `topic` under the site's root (default: this device's own
        `up`) at QoS 1.

        Its sequence number once the broker has acknowledged it; 0 if there is no connection or it
        broke meanwhile. ProtocolError if the message itself is wrong.
        """
        if not self.connected:
            return 0
        topic = self.root + (topic or self.device + "/up")
        data = self._sender.seal(topic, message)
        seq = self._sender.seq
        try:
            self._publish(topic.encode(), data, False)
        except _BROKEN as e:
            self._lost(e)
            return 0
        return seq

    def take(self) -> "tuple[str, dict[str, Any]] | None":
        """The next good message and whose it is ("" for the manager's), None if there is none; bad
        ones are counted."""
        while self._inbox:
            topic, data = self._inbox.pop(0)
            try:
                whose, receiver = self._receivers[topic[len(self.root) :]]
                try:
                    return whose, receiver.open(topic, data)
                except MemoryError:
                    # The collection that the failed allocation made found what `open` itself held
                    # still in use. Seen on a meter that takes an update: an answer lost here is
                    # asked for again only 2 s later.
                    gc.collect()
                    return whose, receiver.open(topic, data)
            except (protocol.ProtocolError, KeyError, MemoryError):
                self.rejected += 1
        return None

    def wait(self, ms: int) -> None:
        """Sleep so long, or until something arrives."""
        if self._inbox:
            return
        if self.connected:
            try:
                # What was received is acknowledged here at the latest, but in one segment with the
                # answer to it where there is one: a second small segment would wait for the other
                # side's delayed acknowledgement of the first, 40 ms and more.
                self._socket.begin()
                self._socket.flush()
            except _BROKEN as e:
                self._lost(e)
                return
            if self._poller is None:
                import select

                self._poller = select.poll()
                self._socket.poll_for(self._poller)
            self._poller.poll(ms)
        else:
            sleep_ms(ms)

    def close(self) -> None:
        """Say goodbye: a clean end sends no last will, so the state is set here."""
        if self.connected:
            try:
                self._publish((self.root + self.device + "/state").encode(), b"offline", True)
                self._client.disconnect()
                self._socket.flush()
            except _BROKEN:
                pass
        self._socket.close()
        self.connected = False
