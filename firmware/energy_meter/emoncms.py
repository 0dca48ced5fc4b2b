"""Readings to an emoncms server, step by step so that no reading waits for it.

As its input API says: POST <address>/input/post with node, fulljson and the write key as bearer.
Its answers are in the body: "ok", or words that say what is wrong, with status 200 either way.
"""

import select
import socket

from firmware.common.resolve import Lookup
from firmware.common.ticks import ticks_add, ticks_diff

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass

_LIMIT_MS = 10_000  # one post, from look-up to answer
_BACKOFF_MAX_MS = 600_000
_IN, _OUT, _BAD = 1, 4, 8 | 16
_WAITS = (11, 35, 115, 119)  # EAGAIN; EINPROGRESS on Linux and the ESP8266, on the ESP32
_IDLE, _LOOKING, _JOINING, _SENDING, _HEARING = range(5)


def split_address(text: str) -> "tuple[str, int, str]":
    """(host, port, path) of "host", "http://host:port/emoncms" and the like. ValueError if it is
    none, or asks for https, for which an ESP8266 is too small."""
    if text.startswith("https:"):
        raise ValueError("https is not possible here: use an http address on the local network")
    if text.startswith("http://"):
        text = text[7:]
    host, slash, path = text, "", ""
    cut = text.find("/")
    if cut >= 0:
        host, slash, path = text[:cut], "/", text[cut + 1 :]
    while path.endswith("/"):
        path = path[:-1]
    port = 80
    colon = host.find(":")
    if colon >= 0:
        port = int(host[colon + 1 :])
        host = host[:colon]
    if not host or not 0 < port < 65536:
        raise ValueError("not an address: " + text)
    return host, port, slash + path if path else ""


def form(node: str, load: "dict[str, Any]") -> str:
    """The body of the post for a load message: whole units, decimals without floats."""
    parts = []
    for i in range(len(load["current_ma"])):
        n = str(i + 1)
        ma, dv = load["current_ma"][i], load["voltage_dv"][i]
        parts.append('"power%s":%d' % (n, load["power_w"][i]))
        parts.append('"current%s":%d.%03d' % (n, ma // 1000, ma % 1000))
        parts.append('"voltage%s":%d.%d' % (n, dv // 10, dv % 10))
        parts.append('"energy%s":%d' % (n, load["energy_wh"][i]))
    text = ",".join(parts)
    # The only characters of it that a form must not carry plain.
    for plain, coded in (('"', "%22"), ("{", "%7B"), ("}", "%7D"), (",", "%2C"), (":", "%3A")):
        text = text.replace(plain, coded)
    return "node=" + node + "&fulljson=%7B" + text + "%7D"


class Emoncms:
    """Posts the newest load every `every_s`. `state` for people: "" or off, ok, or what went
    wrong; `posted` and `failed` count."""

    def __init__(self, config: "Any", name_server: "Any") -> None:
        """`name_server()` gives the network's name server."""
        self.state = "off"
        self.posted = self.failed = 0
        self._phase = _IDLE
        self._sock: "Any" = None
        self._lookup: "Any" = None
        self._next: int | None = None
        self._until = 0
        self._fails = 0
        self._data = b""
        self._name_server = name_server
        self._node = config["emon_node"]
        self._key = config["emon_key"]
        self._every_ms = config["emon_s"] * 1000
        self._host = ""
        if config["emon_address"] and self._key:
            try:
                self._host, self._port, self._path = split_address(config["emon_address"])
                self.state = ""
            except ValueError as e:
                self.state = str(e)

    def step(self, now_ms: int, load: "Any") -> None:
        """Go on with the post; `load()` makes the newest message, or gives None if there is none.
        Returns at once."""
        if not self._host:
            return
        try:
            self._step(now_ms, load)
            if self._phase != _IDLE and ticks_diff(now_ms, self._until) > 0:
                self._failed("no answer", now_ms)
        except (OSError, ValueError, MemoryError) as e:
            self._failed("no connection: " + str(e), now_ms)

    def _step(self, now_ms: int, load: "Any") -> None:
        if self._phase == _IDLE:
            if self._next is not None and ticks_diff(now_ms, self._next) < 0:
                return
            message = load()
            if message is None:
                return
            self._next = ticks_add(now_ms, self._every_ms)
            self._until = ticks_add(now_ms, _LIMIT_MS)
            body = form(self._node, message)
            self._data = (
                "POST %s/input/post HTTP/1.0\r\nHost: %s\r\nAuthorization: Bearer %s\r\n"
                "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s"
                % (self._path, self._host, self._key, len(body), body)
            ).encode()
            self._lookup = Lookup(self._host, self._name_server())
            self._phase = _LOOKING
        elif self._phase == _LOOKING:
            found = self._lookup.step(now_ms)
            if found:
                address = socket.getaddrinfo(found, self._port)[0][-1]  # digits: no look-up
                self._sock = socket.socket()
                self._sock.setblocking(False)
                self._phase = _JOINING
                try:
                    self._sock.connect(address)
                except OSError as e:
                    if e.args[0] not in _WAITS:
                        raise
        else:
            self._exchange(now_ms)

    def _exchange(self, now_ms: int) -> None:
        poller = select.poll()
        poller.register(self._sock, _IN if self._phase == _HEARING else _OUT)
        ready = poller.poll(0)
        if not ready:
            return
        if self._phase == _HEARING:
            got = self._sock.recv(256)
            if got:
                self._data = (self._data + got)[-1024:]
            else:
                self._answered(now_ms)
        elif ready[0][1] & _BAD:
            raise OSError(111)
        else:
            sent = self._sock.send(self._data)
            self._data = self._data[sent:]
            self._phase = _SENDING if self._data else _HEARING

    def _answered(self, now_ms: int) -> None:
        head, body = _split(self._data)
        if " 200" in head[:15] and (body == "ok" or '"success":true' in body.replace(" ", "")):
            self._close()
            self.posted += 1
            self._fails = 0
            self.state = "ok"
        else:
            self._failed(body[:60] if " 200" in head[:15] else head[9:60], now_ms)

    def _failed(self, why: str, now_ms: int) -> None:
        self._close()
        self.failed += 1
        self._fails = min(self._fails + 1, 10)
        self.state = why or "empty answer"
        self._next = ticks_add(now_ms, min(_BACKOFF_MAX_MS, self._every_ms << self._fails))

    def _close(self) -> None:
        self._phase = _IDLE
        self._data = b""
        for part in (self._sock, self._lookup):
            if part is not None:
                part.close()
        self._sock = self._lookup = None


def _split(answer: bytes) -> "tuple[str, str]":
    """First line and body of an HTTP answer, in what letters there are."""
    text = "".join([chr(b) for b in answer])
    cut = text.find("\r\n\r\n")
    return text[: max(0, text.find("\r\n"))], text[cut + 4 :].strip() if cut >= 0 else ""
