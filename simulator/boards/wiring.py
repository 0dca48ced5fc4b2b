"""The wires between a simulated board and the bench that holds it (simulator/board.py): levels
in, levels out.

One SEQPACKET socket whose descriptor is in BOARD_CHANNEL. Records are 12 bytes, little endian,
several to a packet from the bench, one a packet from the board:

    bench to board  kind u8, index u8, a i16, b i32, c i32
      D pin      b level 0 or 1 (b -1: nothing drives it, the pull decides) A pin      a: pin
      whose PWM the voltage follows or -1; b, c: microvolts while that pin is high, low X fault
      b value; index 0 Wi-Fi, 1 DNS, 2 connect, 3 TLS, 4 send, 5 receive, 6 garbage
      C b: how many times faster than the world the board's clock runs from now on I
      a: length of the bytes that follow in this packet: the answer to an I2C or SPI transfer
    board to bench  kind u8, index u8, a u16, b u32, t u32 (the board's milliseconds)
      O pin      b level; Z pin: it is an input now P pin      a duty 0..65535, b frequency in Hz
      W          b time-out in ms; K: fed T index    a: length of the bytes that follow: an
      I2C/SPI/neopixel transfer, index = what, b = address S          the board has started V
      b: is the REPL on UART0? G          b: the level of a fault taken into account (for tests)
      C          b: the clock runs so many times faster now

Threads: the unix port runs threads truly at once, a board never does (its interpreter has one
lock). So a thread here keeps the turn until it waits in one of the shims, which is where a
board's network calls and sleeps give it up too.
"""

import gc
import struct

import host
import micropython

_US = 1_000_000
RECORD = 12
PIN_DIGITAL, PIN_ANALOG, FAULT, ANSWER, CLOCK = 68, 65, 88, 73, 67  # ord("D"), "A", "X", "I", "C"

# Faults the bench can inject into the network, by index; 0 is healthy.
WIFI, DNS, CONNECT, TLS, SEND, RECEIVE, GARBAGE = range(7)
faults = [0, 0, 0, 0, 0, 0, 0]

KIND = host.getenv("BOARD_KIND") or "charger"
CHIP = host.getenv("BOARD_CHIP") or ("esp8266" if KIND == "energy_meter" else "esp32")
_speed = int(
    host.getenv("BOARD_SPEED") or 1
)  # how many times faster than the world the board's clock runs
_start_us = host.ticks_us()  # when this speed began, by the computer's clock
_base_us = 0  # and by the board's

levels = {}  # pin -> 0 or 1 as the installation drives it
voltages = {}  # pin -> [follows pin or -1, microvolts while high, while low]
changed = []  # called with (pin, old, new) for every digital input that changed; machine.Pin puts itself here
analog_changed = []  # called with the pin
every_wait = []  # called whenever the board waits or looks at its wires (the REPL's ears)

_channel = None
_inbox = bytearray(4096)
_outbox = bytearray(RECORD)
answers = []


def _open():
    global _channel
    fd = host.getenv("BOARD_CHANNEL")
    if fd is not None:
        _channel = host.open_fd(int(fd))


# -- turns of threads

_turn = host.threads.allocate_lock()
_turn.acquire()
threaded = False  # becomes True with the first thread; a board with one thread has nobody to take turns with


def give_turn():
    """Let another thread run; `take_turn` before touching anything again."""
    if threaded:
        _turn.release()


def take_turn():
    """Wait until nobody else runs."""
    if threaded:
        _turn.acquire()


# -- time

_virtual_us = 0  # work the board would have been busy with, counted but not yet slept
_virtual_from = 0


def _elapsed_us():
    return _base_us + (host.ticks_us() - _start_us) * _speed


def _pace(speed):
    global _speed, _start_us, _base_us
    _base_us = _elapsed_us()
    _start_us = host.ticks_us()
    _speed = speed


def now_us():
    """Microseconds since the board's start, not less than what its busy loops would have taken."""
    real = _elapsed_us()
    if _virtual_us:
        busy = _virtual_from + _virtual_us
        if busy > real:
            return busy
    return real


@micropython.native
def busy(us):
    """The board's processor is busy for so long; slept in lumps of 2 ms, so that it costs the
    computer little."""
    global _virtual_us, _virtual_from
    if not _virtual_us:
        _virtual_from = _elapsed_us()
    _virtual_us += us
    if _virtual_us >= 2000:
        settle()


def settle():
    """Sleep off what `busy` has counted."""
    global _virtual_us
    until = _virtual_from + _virtual_us
    # Cleared first: while this thread sleeps another one counts anew.
    _virtual_us = 0
    wait_until(until)


_pollers = []  # one a thread that waits; kept because making one allocates


def _poller():
    if _pollers:
        return _pollers.pop()
    poller = host.select.poll()
    if _channel is not None:
        poller.register(_channel, host.select.POLLIN)
    return poller


def wait_until(board_us):
    """Sleep until this time of the board's clock; wires and interrupts are served meanwhile."""
    while True:
        left = (board_us - _elapsed_us()) // _speed
        if left <= 0:
            look()
            return
        # Taken and given back with the turn: without it two threads change the list at once.
        poller = None if left < 1000 or _channel is None else _poller()
        give_turn()
        if poller is None:
            host.sleep_us(min(left, 1000) if _channel is not None else left)
        else:
            # In slices: a garbage collection in another thread interrupts poll(), which would
            # begin anew.
            poller.poll(min(left // 1000, 5 if threaded else 1000))
        take_turn()
        if poller is not None:
            _pollers.append(poller)
        look()


def sleep_us(us):
    """Sleep on the board's clock."""
    if us > 0:
        wait_until(now_us() + us)
    else:
        look()


def wait_readable(file, us):
    """Sleep until `file` has something to read, at most so long; True if it has. `us` < 0: look,
    do not wait."""
    poller = host.select.poll()
    poller.register(file, host.select.POLLIN)
    if us <= 0:
        return bool(poller.poll(0))
    if _channel is not None:
        poller.register(_channel, host.select.POLLIN)
    until = now_us() + us
    while True:
        left = (until - now_us()) // _speed
        if left <= 0:
            return bool(_ready(poller.poll(0), file))
        give_turn()
        ready = poller.poll((left + 999) // 1000)
        take_turn()
        look()
        if _ready(ready, file):
            return True


def wait_any(files, events, us):
    """Sleep until one of the files is ready or a wire moves, at most so long."""
    poller = host.select.poll()
    for file, flags in zip(files, events):
        poller.register(file, flags)
    if _channel is not None:
        poller.register(_channel, host.select.POLLIN)
    give_turn()
    poller.poll(min(5 if faults[GARBAGE] else 50, (us // _speed + 999) // 1000))
    take_turn()
    if faults[GARBAGE]:
        _collect()


_EVERY_US = 20_000  # about once in each round of a charger's safety lane
_collected_us = 0


def _collect():
    """The thread that waits for the network makes garbage all the time: its collections keep every
    other thread waiting, each as many ms of the board's clock as the fault says."""
    global _collected_us
    began = now_us()
    if began - _collected_us < _EVERY_US:
        return
    gc.collect()
    left = began + faults[GARBAGE] * 1000 - _elapsed_us()
    if left > 0:
        host.sleep_us(left // _speed)  # the turn is kept, and nothing is heard meanwhile
    _collected_us = now_us()


def _ready(events, file):
    if not host.ON_MICROPYTHON:
        file = file if isinstance(file, int) else file.fileno()
    return any([event[0] is file or event[0] == file for event in events])


# -- records

_packet = bytearray(RECORD + 1088)


def say(kind, index, a=0, b=0, data=None):
    """Send one record to the bench."""
    if _channel is None:
        return
    now_ms = now_us() // 1000
    if data is None:
        # Filled in place: a pilot that changes must not make garbage.
        struct.pack_into(
            "<BBHII", _outbox, 0, kind, index, a & 0xFFFF, b & 0xFFFFFFFF, now_ms & 0xFFFFFFFF
        )
        packet = _outbox
    else:
        size = RECORD + len(data)
        # Not made anew each time: a board's bus needs no copy of what passes it, and in an
        # ESP8266's heap there is no room for one of a display's picture.
        packet = memoryview(_packet if size <= len(_packet) else bytearray(size))[:size]
        struct.pack_into(
            "<BBHII",
            packet,
            0,
            kind,
            index,
            len(data),
            b & 0xFFFFFFFF,
            now_ms & 0xFFFFFFFF,
        )
        packet[RECORD:] = data
    for _ in range(1000):
        try:
            if _channel.write(packet) is not None:
                return
        except OSError as e:
            if e.args[0] not in (11, 35):
                raise SystemExit(
                    44
                ) from None  # the bench is gone, and with it everything this board hangs on
        host.sleep_us(200)


def look():
    """Take in what the bench has sent since the last look, and call interrupt handlers."""
    for hook in every_wait:
        hook()
    if _channel is None:
        return
    while True:
        try:
            size = _channel.readinto(_inbox)
        except OSError as e:
            if e.args[0] in (11, 35):
                return
            raise
        if size is None:
            return
        if size == 0:
            raise SystemExit(44)
        _take(size)


def look_without_handlers():
    """Take in what the bench has sent; interrupt handlers wait, as they do while a board's thread
    is in a call."""
    import pins

    pins.masked += 1
    try:
        look()
    finally:
        pins.masked -= 1


def _take(size):
    at = 0
    while at + RECORD <= size:
        kind, index, a, b, c = struct.unpack_from("<BBhii", _inbox, at)
        at += RECORD
        if kind == PIN_DIGITAL:
            old = levels.get(index, -1)
            levels[index] = b
            for hook in changed:
                hook(index, old, b)
        elif kind == PIN_ANALOG:
            voltages[index] = (a, b, c)
            for hook in analog_changed:
                hook(index)
        elif kind == FAULT:
            faults[index] = b
        elif kind == CLOCK:
            _pace(b)
            say(CLOCK, 0, 0, b)  # from here on the bench knows this clock again
        elif kind == ANSWER:
            answers.append(bytes(_inbox[at : at + a]))
            at += a


def transfer(what, address, data, timeout_us=1_000_000):
    """Send bytes over a bus the bench plays the other side of; its answer, or None if nobody
    answers."""
    if _channel is None:
        return None
    say(84, what, 0, address, data)  # "T"
    until = now_us() + timeout_us
    while not answers and now_us() < until:
        poller = _poller()
        poller.poll(20)  # the turn is kept: a bus transfer blocks the board
        _pollers.append(poller)
        look()
    return answers.pop(0) if answers else None


_open()
