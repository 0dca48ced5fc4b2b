"""`machine.Pin`: which exist, which can drive, and interrupts when the installation moves one."""

import host
import wiring

if host.ON_MICROPYTHON:
    from umachine import PinBase  # `Signal` needs it
else:
    PinBase = object

if wiring.CHIP == "esp8266":
    _EXIST = (0, 1, 2, 3, 4, 5, 9, 10, 12, 13, 14, 15, 16)
    _INPUT_ONLY = ()
else:
    _EXIST = tuple(n for n in range(40) if n not in (20, 24, 28, 29, 30, 31))
    _INPUT_ONLY = (34, 35, 36, 37, 38, 39)

masked = 0  # machine.disable_irq
_made = {}
_pending = []


class Pin(PinBase):
    """One GPIO; the same number gives the same object, as on the boards."""

    IN, OUT, OPEN_DRAIN = 0, 1, 2
    PULL_UP, PULL_DOWN = (1, None) if wiring.CHIP == "esp8266" else (2, 1)
    IRQ_RISING, IRQ_FALLING = 1, 2
    IRQ_LOW_LEVEL, IRQ_HIGH_LEVEL = 4, 5
    DRIVE_0, DRIVE_1, DRIVE_2, DRIVE_3 = 0, 1, 2, 3
    WAKE_LOW, WAKE_HIGH = 4, 5

    def __new__(cls, id, *args, **kwargs):
        if isinstance(id, Pin):
            return id
        if type(id) is not int or id not in _EXIST:
            raise ValueError("invalid pin")
        pin = _made.get(id)
        if pin is None:
            pin = _made[id] = object.__new__(cls)
            pin._id = id
            pin._mode = -1
            pin._pull = None
            pin._out = 0
            pin._handler = None
            pin._trigger = 0
            pin.pwm = None
        return pin

    def __init__(self, id, mode=-1, pull=-1, *, value=None, drive=None, hold=None, alt=None):
        if mode != -1 or pull != -1 or value is not None:
            self.init(mode, pull, value=value)

    def init(self, mode=-1, pull=-1, *, value=None, drive=None, hold=None, alt=None):
        """Set direction, pull and level. ValueError for what this pin cannot do."""
        if mode in (Pin.OUT, Pin.OPEN_DRAIN) and self._id in _INPUT_ONLY:
            raise ValueError("pin can only be input")
        if pull not in (-1, None):
            if self._id in _INPUT_ONLY:
                raise ValueError("pins 34~39 do not have pull-up or pull-down circuitry")
            if wiring.CHIP == "esp8266" and (pull != Pin.PULL_UP or self._id == 16):
                raise ValueError("Pin(%d) doesn't support that pull" % self._id)
        if pull != -1:
            self._pull = pull
        if value is not None:
            self._out = 1 if value else 0
        if mode != -1:
            if self.pwm is not None:
                self.pwm.released()
            self._mode = mode
            if mode == Pin.IN:
                wiring.say(90, self._id)  # "Z"
        if self._mode in (Pin.OUT, Pin.OPEN_DRAIN) and (mode != -1 or value is not None):
            wiring.say(79, self._id, 0, self._out)  # "O"

    def value(self, level=None):
        """Read the pin, or drive it."""
        if level is None:
            wiring.look()
            if self._mode == Pin.OUT or (self._mode == Pin.OPEN_DRAIN and not self._out):
                return self._out
            return self._level()
        if self._mode in (Pin.IN, -1):
            self._out = 1 if level else 0  # kept in the output register, drives nothing
            return None
        level = 1 if level else 0
        if self._out != level:
            self._out = level
            wiring.say(79, self._id, 0, level)
            for hook in wiring.analog_changed:
                hook(-1)
        return None

    def _level(self):
        level = wiring.levels.get(self._id, -1)
        if level < 0:
            # Nothing drives it: the pull decides. Without one a real pin reads whatever it likes.
            level = 1 if self._pull is not None and self._pull == Pin.PULL_UP else 0
        return level

    def __call__(self, level=None):
        return self.value(level)

    def on(self):
        """Drive high."""
        self.value(1)

    def off(self):
        """Drive low."""
        self.value(0)

    def toggle(self):
        """Drive the other level."""
        self.value(1 - self._out)

    def irq(self, handler=None, trigger=3, *, wake=None, hard=False, priority=0):
        """Call `handler(pin)` on an edge. Soft only on an ESP32: it runs when the interpreter
        next comes round."""
        if hard and wiring.CHIP == "esp32":
            raise ValueError("hard Pin IRQs are not implemented")
        if wiring.CHIP == "esp8266" and self._id == 16:
            raise ValueError("no IRQ on Pin(16)")
        self._handler = handler
        self._trigger = trigger
        return self

    def board_id(self):
        """(Of the shim, not of a board.) The GPIO's number."""
        return self._id

    def __repr__(self):
        return "Pin(%d)" % self._id


def drives_high(id):
    """Does the board drive this pin high as a plain output?"""
    pin = _made.get(id)
    return pin is not None and pin._mode == Pin.OUT and pin._out == 1


def _moved(id, old, new):
    pin = _made.get(id)
    if pin is None or pin._handler is None:
        return
    rest = 1 if pin._pull is not None and pin._pull == Pin.PULL_UP else 0
    old = rest if old < 0 else old
    new = rest if new < 0 else new
    if (new > old and pin._trigger & Pin.IRQ_RISING) or (
        new < old and pin._trigger & Pin.IRQ_FALLING
    ):
        if pin not in _pending:
            _pending.append(pin)
        if not masked:
            run_pending()


def run_pending():
    """Call the handlers of pins that moved."""
    while _pending and not masked:
        pin = _pending.pop(0)
        if pin._handler is not None:
            pin._handler(pin)


wiring.changed.append(_moved)
