"""The page of a board's own access point: what it measures, and its settings, one tab each.

Small enough for an ESP8266: one connection at a time, HTTP/1.0, the page in pieces, a form of at
most 700 bytes. A tab is (path, title, names of settings); a tab without settings shows `status()`,
a list of (name, value). Settings are checked by the board's own table before any is kept; keys and
passwords are never shown, and a field for one that is left empty keeps what there is.
"""

import socket

from firmware.common.config import ConfigError
from firmware.common.ticks import sleep_ms, ticks_add, ticks_diff, ticks_ms

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass

_LIMIT_MS = 2000  # one visitor, from first to last byte: measuring waits meanwhile
_HEAD_MOST = 1500
_FORM_MOST = 700
_AGAIN = (11, 35, 110, 116)

_STYLE = (
    "<!DOCTYPE html><html lang=en><head><meta charset=utf-8>"
    "<meta name=viewport content='width=device-width,initial-scale=1'><title>%s</title><style>"
    "body{font:16px sans-serif;margin:0 auto;max-width:30em;padding:0 1em;color:#123;"
    "background:#fff}nav a{display:inline-block;padding:.6em;color:#046;text-decoration:none}"
    "nav a.on{border-bottom:3px solid #07a;font-weight:bold}label{display:block;margin:.8em 0}"
    "input,select{display:block;width:100%%;box-sizing:border-box;padding:.5em;font:inherit}"
    "button{padding:.6em 1.5em;font:inherit}td{padding:.3em 1em .3em 0}.bad{color:#a00}"
    ".good{color:#060}</style></head><body><h1>%s</h1><nav>"
)


def escaped(text: str) -> str:
    """Text as it may stand in HTML, attributes included."""
    for plain, coded in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(plain, coded)
    return text.replace("'", "&#39;")


def unquoted(text: str) -> str:
    """A form's value as it was typed. ValueError if it is not UTF-8."""
    out = bytearray()
    i = 0
    while i < len(text):
        c = text[i]
        if c == "%" and i + 2 < len(text):
            out.append(int(text[i + 1 : i + 3], 16))
            i += 3
            continue
        out.extend(b" " if c == "+" else c.encode())
        i += 1
    return str(bytes(out), "utf-8")


def form_fields(body: str) -> "dict[str, str]":
    """The fields of an urlencoded form."""
    fields = {}
    for part in body.split("&"):
        cut = part.find("=")
        if cut > 0:
            fields[unquoted(part[:cut])] = unquoted(part[cut + 1 :])
    return fields


class Portal:
    """`finished`: the visitor has asked for the restart that puts the settings to use."""

    def __init__(
        self,
        name: str,
        config: "Any",
        tabs: "tuple[tuple[str, str, tuple[str, ...]], ...]",
        status: "Any",
        port: int = 80,
    ) -> None:
        """Listen on `port` of every interface that is up."""
        self._name = name
        self._config = config
        self._tabs = tabs
        self._status = status
        self.finished = False
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(socket.getaddrinfo("0.0.0.0", port)[0][-1])  # noqa: S104
        self._listener.listen(2)
        self._listener.setblocking(False)
        self._until = 0

    def step(self) -> None:
        """Serve a visitor who is waiting, if there is one."""
        try:
            visitor = self._listener.accept()[0]
        except OSError:
            return
        try:
            visitor.setblocking(False)
            self._until = ticks_add(ticks_ms(), _LIMIT_MS)
            self._serve(visitor)
        except (OSError, ValueError, MemoryError):
            pass  # a visitor who is slow, gone or rude
        finally:
            # An ESP8266 whose sockets stay open loses its Wi-Fi.
            visitor.close()

    # -- bytes

    def _wait(self) -> None:
        if ticks_diff(self._until, ticks_ms()) <= 0:
            raise OSError(110)
        sleep_ms(2)

    def _receive(self, visitor: "Any") -> bytes:
        while True:
            try:
                got: bytes | None = visitor.recv(256)
            except OSError as e:
                if e.args[0] not in _AGAIN:
                    raise
                got = None
            if got is not None:
                return got
            self._wait()

    def _send(self, visitor: "Any", text: str) -> None:
        data = text.encode()
        while data:
            try:
                sent = visitor.send(data)
            except OSError as e:
                if e.args[0] not in _AGAIN:
                    raise
                sent = 0
            if sent:
                data = data[sent:]
            else:
                self._wait()

    # -- pages

    def _serve(self, visitor: "Any") -> None:
        head = b""
        while head.find(b"\r\n\r\n") < 0:
            got = self._receive(visitor)
            if not got or len(head) > _HEAD_MOST:
                return
            head += got
        cut = head.find(b"\r\n\r\n")
        body = head[cut + 4 :]
        lines = str(head[:cut], "utf-8").split("\r\n")
        words = lines[0].split(" ")
        if len(words) < 2:
            return
        path = words[1].split("?")[0]
        tab = None
        for each in self._tabs:
            if each[0] == path:
                tab = each
        if path == "/restart" and words[0] == "POST":
            self._head(visitor, "200 OK")
            self._send(visitor, "<p class=good>Restarting with the new settings.</body></html>")
            self.finished = True
        elif tab is None:
            # Whatever else a telephone asks for on a new network leads to the first tab.
            self._send(visitor, "HTTP/1.0 302 Found\r\nLocation: %s\r\n\r\n" % self._tabs[0][0])
        elif words[0] == "POST":
            size = 0
            for line in lines:
                if line.lower().startswith("content-length:"):
                    size = int(line[15:])
            if size > _FORM_MOST:
                self._head(visitor, "413 Too Large")
                return
            while len(body) < size:
                got = self._receive(visitor)
                if not got:
                    return
                body += got
            self._page(visitor, tab, self._keep(tab, form_fields(str(body[:size], "utf-8"))))
        else:
            self._page(visitor, tab, None)

    def _keep(self, tab: "tuple[str, str, tuple[str, ...]]", fields: "dict[str, str]") -> str:
        """Keep what the form says; "" or why not."""
        changes = {}
        for name in tab[2]:
            if name in fields and (fields[name] or not self._config.is_secret(name)):
                changes[name] = fields[name]
        try:
            self._config.change(changes)
        except ConfigError as e:
            return str(e)
        return ""

    def _head(self, visitor: "Any", status: str, on: str = "") -> None:
        self._send(
            visitor,
            "HTTP/1.0 %s\r\nContent-Type: text/html; charset=utf-8\r\nCache-Control: no-store\r\n"
            "Connection: close\r\n\r\n" % status,
        )
        self._send(visitor, _STYLE % (self._name, self._name))
        for path, title, _ in self._tabs:
            mark = " class=on" if path == on else ""
            self._send(visitor, "<a href='%s'%s>%s</a>" % (path, mark, title))
        self._send(visitor, "</nav>")

    def _page(self, visitor: "Any", tab: "tuple[str, str, tuple[str, ...]]", kept: "Any") -> None:
        path, title, names = tab
        self._head(visitor, "200 OK", path)
        self._send(visitor, "<h2>%s</h2>" % title)
        if not names:
            self._send(visitor, "<table>")
            for name, value in self._status():
                self._send(visitor, "<tr><td>%s<td id='%s'>%s" % (name, name, escaped(str(value))))
            self._send(visitor, "</table><script>setTimeout(()=>location.reload(),2000)</script>")
        else:
            if kept is not None:
                if kept:
                    self._send(visitor, "<p class=bad role=alert>%s" % escaped(kept))
                else:
                    self._send(visitor, "<p class=good role=status>Saved.")
            self._send(visitor, "<form method=post action='%s'>" % path)
            for name in names:
                self._field(visitor, name)
            self._send(visitor, "<button>Save</button></form><form method=post action='/restart'>")
            self._send(visitor, "<p><button>Restart and use it</button></form>")
        self._send(visitor, "</body></html>")

    def _field(self, visitor: "Any", name: str) -> None:
        config = self._config
        kind, words = config.kind(name)
        label = "<label>" + name.replace("_", " ")
        if kind == "e":
            self._send(visitor, label + "<select name=%s>" % name)
            for word in words.split("|"):
                chosen = " selected" if word == config[name] else ""
                self._send(visitor, "<option%s>%s" % (chosen, word))
            self._send(visitor, "</select></label>")
        elif config.is_secret(name):
            hint = "kept; type to change" if config[name] else "none"
            self._send(
                visitor,
                label
                + "<input name=%s type=password autocomplete=off placeholder='%s'></label>"
                % (name, hint),
            )
        else:
            value = escaped(str(config[name]))
            self._send(visitor, label + "<input name=%s value='%s'></label>" % (name, value))

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()
