"""`machine.UART`: a line that ends on a pty where the bench has wired it, and nowhere else.

Bytes that arrive while the receive buffer is full are lost. As on an ESP8266, UART0's buffer has
16 places of which 15 can be used unless `rxbuf` is given, and until `os.dupterm(None, 1)` the
REPL eats what arrives: `read` gives None, and a 0x03 raises KeyboardInterrupt.
"""

import io
import os

import host
import pins
import wiring

_ESP32 = wiring.CHIP == "esp32"
# The lines the bench has laid: (descriptor, baud, UART, tx, rx).
_LINES = [
    [int(n) for n in line.split(",")]
    for line in (host.getenv("BOARD_LINES") or "").split(";")
    if line
]
_opened = {}
_came = bytearray(256)  # once: a board's driver takes nothing of the heap for what arrives


def _number(pin):
    return pin.board_id() if isinstance(pin, pins.Pin) else pin


class UART(io.IOBase):
    """ESP8266: UART 0 on pins (1, 3) or (15, 13), UART 1 sends only. ESP32: 0 (the REPL's), 1, 2
    on any pins."""

    INV_TX, INV_RX, RTS, CTS, IRQ_RX, IRQ_RXIDLE, IRQ_BREAK = 32, 4, 1, 2, 1, 4096, 2

    def __init__(self, id, baudrate=None, *args, **kwargs):
        if id not in ((0, 1, 2) if _ESP32 else (0, 1)):
            raise ValueError("UART(%s) does not exist" % id)
        self._id = id
        self._baud = 115200
        self._tx, self._rx = ((1, 3), (10, 9), (17, 16))[id]
        if not _ESP32 and id == 1:
            self._tx, self._rx = 2, None
        self._timeout_us = 0
        self._between_us = 0
        self._size = 256 if _ESP32 else 15
        self._ring = bytearray()
        self._file = None
        self.lost = 0
        if baudrate is not None:
            kwargs["baudrate"] = baudrate
        names = ("bits", "parity", "stop")
        kwargs.update(dict(zip(names, args)))
        self.init(**kwargs)

    def init(
        self,
        baudrate=None,
        bits=8,
        parity=None,
        stop=1,
        *,
        tx=None,
        rx=None,
        timeout=0,
        timeout_char=None,
        rxbuf=None,
        txbuf=None,
        rts=None,
        cts=None,
        flow=0,
        invert=0,
    ):
        """Set what is given. A time-out not given is 0, not what it was."""
        if baudrate is not None:
            if baudrate <= 0:
                raise ValueError("invalid baudrate")
            self._baud = baudrate
        if tx is not None or rx is not None:
            new = (
                self._tx if tx is None else _number(tx),
                self._rx if rx is None else _number(rx),
            )
            if not _ESP32 and self._id == 0 and new not in ((1, 3), (15, 13)):
                raise ValueError("invalid tx/rx")
            if _ESP32 and new[0] in (34, 35, 36, 37, 38, 39):
                raise ValueError("pin can only be input")
            self._tx, self._rx = new
        if rxbuf is not None:
            if _ESP32 and rxbuf <= 127:
                rxbuf = 128  # the driver refuses less than its hardware buffer
            self._size = rxbuf if _ESP32 else rxbuf - 1
        self._timeout_us = timeout * 1000
        # At least one character of the line's speed, and a little.
        self._between_us = max((timeout_char or 0) * 1000, 13_000_000 // self._baud + 1000)
        self._file, self._line_baud = None, self._baud
        for fd, baud, *ends in _LINES:
            if ends == [self._id, self._tx, self._rx]:
                if fd not in _opened:
                    _opened[fd] = host.open_fd(fd)
                self._file, self._line_baud = _opened[fd], baud

    def _eaten_by_repl(self):
        return not _ESP32 and self._id == 0 and os.repl_on_uart0()

    def _listen(self):
        """Move what has arrived into the buffer, as far as there is room."""
        if self._file is None:
            return
        while True:
            size = host.read_into(self._file, _came)
            if not size:
                return
            data = _came[:size]
            if self._baud != self._line_baud:
                data = bytes(b ^ 0xA5 for b in data[::2])  # another speed: fewer and other bytes
            if self._eaten_by_repl():
                if b"\x03" in data:
                    raise KeyboardInterrupt
                continue
            room = self._size - len(self._ring)
            self.lost += max(0, len(data) - room)
            self._ring.extend(data[:room])

    def any(self):
        """How many bytes can be read at once."""
        wiring.look()
        self._listen()
        return len(self._ring)

    def _wait(self, us):
        until = wiring.now_us() + us
        while not self._ring:
            left = until - wiring.now_us()
            if left <= 0:
                return False
            if self._file is None:
                wiring.sleep_us(left)
            else:
                wiring.wait_readable(self._file, left)
            self._listen()
        return True

    def read(self, size=-1):
        """Up to so many bytes, waiting `timeout` for the first and `timeout_char` between; None
        if there is none."""
        wiring.look()
        self._listen()
        if self._eaten_by_repl():
            return None
        if size < 0:
            size = 1 << 20
        whole = b""
        patience = self._timeout_us
        while len(whole) < size and (self._ring or self._wait(patience)):
            part = bytes(self._ring[: size - len(whole)])
            self._ring = self._ring[len(part) :]
            whole += part
            patience = self._between_us
            if not self._ring:
                self._listen()
        return whole or None

    def readinto(self, buffer, size=-1):
        """The same into a buffer; how many bytes, or None."""
        data = self.read(len(buffer) if size < 0 else min(size, len(buffer)))
        if data is None:
            return None
        buffer[: len(data)] = data
        return len(data)

    def readline(self):
        """Up to a line feed."""
        line = b""
        while not line.endswith(b"\n"):
            part = self.read(1)
            if not part:
                break
            line += part
        return line or None

    def write(self, data):
        """Send; how many bytes. Returns before they are out, see txdone()."""
        data = bytes(data)
        if self._file is not None:
            out = data if self._baud == self._line_baud else bytes(b ^ 0x5A for b in data[::2])
            self._file.write(out)
        return len(data)

    def txdone(self):
        """Is everything out? The line's far end waits for the bytes' own time, so here always."""
        return True

    def flush(self):
        """Wait until everything is out."""

    def sendbreak(self):
        """A break nobody hears."""

    def irq(self, handler=None, trigger=0, hard=False):
        """Not modelled: the firmware polls."""
        raise NotImplementedError("UART.irq")

    def deinit(self):
        """Let go of the line."""
        self._file = None

    def ioctl(self, request, arg):
        """For select.poll and asyncio."""
        if request == 3:
            return (1 if arg & 1 and self.any() else 0) | (arg & 4)
        return -1
