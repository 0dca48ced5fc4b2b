"""`machine.Signal` and `idle`, which MicroPython has built in."""

import wiring


class Signal:
    """A pin that may be inverted."""

    def __init__(self, pin, invert=False):
        self._pin, self._invert = pin, bool(invert)

    def value(self, level=None):
        """Read or drive."""
        if level is None:
            return self._pin.value() ^ self._invert
        return self._pin.value(bool(level) ^ self._invert)

    def on(self):
        """Active."""
        self.value(1)

    def off(self):
        """Inactive."""
        self.value(0)


def idle():
    """Let time pass."""
    wiring.sleep_us(1000)
