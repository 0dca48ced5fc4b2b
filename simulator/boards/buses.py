"""`machine.I2C`, `SPI` and their soft forms: the bench plays the devices, this side keeps the
bus' time.

Transfers name their bus and device; the bench answers with the bytes read, or with nothing when
no such device is wired.
"""

import pins
import wiring

_ENODEV, _ETIMEDOUT = 19, 110
READ, WRITE = 1, 2
SPI_TRANSFER, SPI_SELECT = 3, 4


def _number(pin):
    return pin.board_id() if isinstance(pin, pins.Pin) else pin


_joined = bytearray(1088)  # a display's picture and its control byte


class SoftI2C:
    """7-bit addresses; OSError(ENODEV) from an address nobody answers."""

    def __init__(self, scl, sda, *, freq=400_000, timeout=50_000):
        self._freq = freq
        self._pins = (_number(scl), _number(sda))

    def init(self, scl=None, sda=None, *, freq=400_000):
        """Another speed."""
        self._freq = freq

    def _transfer(self, what, address, data):
        wiring.busy((len(data) if what == WRITE else data[0]) * 9_000_000 // self._freq + 60)
        scl, sda = self._pins
        answer = wiring.transfer(what, address | scl << 8 | sda << 16, data)
        if answer is None:
            raise OSError(_ETIMEDOUT)
        if answer[0]:
            raise OSError(_ENODEV)
        return answer[1:]

    def scan(self):
        """Addresses that answer."""
        found = []
        for address in range(8, 120):
            try:
                self._transfer(WRITE, address, b"")
                found.append(address)
            except OSError:
                pass
        return found

    def readfrom(self, address, size, stop=True):
        """Bytes."""
        return self._transfer(READ, address, bytes((size & 0xFF, size >> 8)))

    def readfrom_into(self, address, buffer, stop=True):
        """Into a buffer."""
        buffer[:] = self.readfrom(address, len(buffer))

    def writeto(self, address, data, stop=True):
        """How many bytes were acknowledged."""
        self._transfer(WRITE, address, data)
        return len(data)

    def writevto(self, address, parts, stop=True):
        """Several buffers as one transfer."""
        size = 0
        for part in parts:
            if size + len(part) > len(_joined):
                return self.writeto(address, b"".join([bytes(p) for p in parts]), stop)
            _joined[size : size + len(part)] = part
            size += len(part)
        return self.writeto(address, memoryview(_joined)[:size], stop)

    def readfrom_mem(self, address, register, size, *, addrsize=8):
        """A register's content."""
        self.writeto(address, bytes((register,)), False)
        return self.readfrom(address, size)

    def writeto_mem(self, address, register, data, *, addrsize=8):
        """Set a register."""
        self.writeto(address, bytes((register,)) + bytes(data))


class I2C(SoftI2C):
    """Hardware I2C of an ESP32 (0, 1); an ESP8266 has none and gives SoftI2C's behaviour."""

    def __init__(self, id=-1, *, scl=None, sda=None, freq=400_000, timeout=50_000):
        if wiring.CHIP == "esp32" and id not in (-1, 0, 1):
            raise ValueError("I2C(%s) does not exist" % id)
        if scl is None:
            scl, sda = 18, 19
        SoftI2C.__init__(self, scl, sda, freq=freq, timeout=timeout)


class SoftSPI:
    """The bench plays the one device; its chip select is seen as a pin."""

    MSB, LSB = 0, 1

    def __init__(
        self,
        baudrate=500_000,
        *,
        polarity=0,
        phase=0,
        bits=8,
        firstbit=0,
        sck=None,
        mosi=None,
        miso=None,
    ):
        self._baud = baudrate
        self._firstbit = firstbit

    def init(self, baudrate=500_000, **_):
        """Another speed."""
        self._baud = baudrate

    def deinit(self):
        """Nothing to do."""

    def _transfer(self, data):
        wiring.busy(len(data) * 8_000_000 // self._baud + 20)
        answer = wiring.transfer(SPI_TRANSFER, self._firstbit, bytes(data))
        # A bus with nobody on it floats.
        return bytes(b"\xff" * len(data)) if answer is None or answer[0] else answer[1:]

    def write(self, data):
        """Send."""
        self._transfer(data)

    def read(self, size, write=0):
        """Receive while sending `write`."""
        return self._transfer(bytes((write,)) * size)

    def readinto(self, buffer, write=0):
        """Into a buffer."""
        buffer[:] = self.read(len(buffer), write)

    def write_readinto(self, out, into):
        """Both at once."""
        into[:] = self._transfer(out)


class SPI(SoftSPI):
    """Hardware SPI: 1 and 2 on an ESP32, 1 on an ESP8266; MSB first only on the latter."""

    def __init__(self, id, baudrate=1_000_000, **how):
        if id not in ((1, 2) if wiring.CHIP == "esp32" else (0, 1)):
            raise ValueError("SPI(%s) does not exist" % id)
        SoftSPI.__init__(self, baudrate, **how)
