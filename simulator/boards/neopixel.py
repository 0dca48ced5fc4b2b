"""`neopixel.NeoPixel`: colours the bench can see."""

import wiring


class NeoPixel:
    """`n` lamps of 3 (GRB) or 4 bytes on a pin."""

    ORDER = (1, 0, 2, 3)

    def __init__(self, pin, n, bpp=3, timing=1):
        self.pin, self.n, self.bpp = pin, n, bpp
        self.buf = bytearray(n * bpp)

    def __len__(self):
        return self.n

    def __setitem__(self, i, colour):
        for k in range(self.bpp):
            self.buf[i * self.bpp + self.ORDER[k]] = colour[k]

    def __getitem__(self, i):
        return tuple([self.buf[i * self.bpp + self.ORDER[k]] for k in range(self.bpp)])

    def fill(self, colour):
        """All alike."""
        for i in range(self.n):
            self[i] = colour

    def write(self):
        """Send."""
        wiring.busy(30 * len(self.buf))
        wiring.say(78, self.pin.board_id(), 0, 0, bytes(self.buf))  # "N"
