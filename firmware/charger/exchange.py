"""What the two lanes tell each other: one record each way, copied under a lock that is held for nothing else.

Lists in a record are replaced, never changed in place, so a copied reference stays what it was.
"""

import _thread

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass


class Orders:
    """From the network lane: what may be offered. `limit_a` counts before `until_ms` (-1: always),
    `else_a` after it."""

    def __init__(self) -> None:
        self.limit_a = 0
        self.until_ms = 0
        self.else_a = 0
        self.lease = 0  # its number
        self.allowed = True
        self.plug = -1  # the plugging-in that may have power, and earlier ones; -1: every
        self.present = False
        self.clear = ""
        self.service = False
        self.stop = False  # open and stay open: a restart is coming
        self.settled = False  # the manager has been reached
        self.identify_ms = 0  # until then the light says which charger this is

    def copy(self, o: "Orders") -> None:
        """Become like `o`."""
        self.limit_a = o.limit_a
        self.until_ms = o.until_ms
        self.else_a = o.else_a
        self.lease = o.lease
        self.allowed = o.allowed
        self.plug = o.plug
        self.present = o.present
        self.clear = o.clear
        self.service = o.service
        self.stop = o.stop
        self.settled = o.settled
        self.identify_ms = o.identify_ms

    def amps(self, now_ms: int) -> int:
        """What may be offered now, A."""
        if self.stop:
            return 0
        return self.limit_a if self.until_ms < 0 or now_ms < self.until_ms else self.else_a


class Report:
    """From the safety lane: how the charger is."""

    def __init__(self) -> None:
        self.state = "F1"
        self.offer_a = 0
        self.contactor = False
        self.plugged = False
        self.plugs = 0  # how often a car was plugged in since the start
        self.cap_a = 0
        self.why = ""
        self.faults: "list[str]" = []
        self.lease = 0  # the newest one it acts on
        self.load: "list[int]" = []  # own meter: mA, dV, W, Wh, pf %, of each phase in turn
        self.freq_mhz = 0
        self.load_ms = 0  # when the oldest of it was asked for
        self.loads = 0  # raised with every new reading
        self.settled = False  # it was asked for so long after the contactor opened that all that flowed is in it
        self.suspect = False
        self.meter_lost = False
        self.high_mv = 0
        self.low_mv = 0
        self.rail_high_mv = 0  # what the ADC itself said with the line at +12 V in the start's self-test, no car there
        self.rail_low_mv = 0  # and at -12 V
        self.temperature_c = -273
        self.worst_ms = 0  # longest time between two steps since start
        self.taps = 0  # raised when a card was laid on the reader
        self.card = ""  # its number in hex
        self.card_text = b""
        self.reader_lost = False
        self.cleared = ""  # the `clear` that was acted on last
        self.light = False  # there is one

    def copy(self, o: "Report") -> None:
        """Become like `o`."""
        self.state = o.state
        self.offer_a = o.offer_a
        self.contactor = o.contactor
        self.plugged = o.plugged
        self.plugs = o.plugs
        self.cap_a = o.cap_a
        self.why = o.why
        self.faults = o.faults
        self.lease = o.lease
        self.load = o.load
        self.freq_mhz = o.freq_mhz
        self.load_ms = o.load_ms
        self.loads = o.loads
        self.settled = o.settled
        self.suspect = o.suspect
        self.meter_lost = o.meter_lost
        self.high_mv = o.high_mv
        self.low_mv = o.low_mv
        self.rail_high_mv = o.rail_high_mv
        self.rail_low_mv = o.rail_low_mv
        self.temperature_c = o.temperature_c
        self.worst_ms = o.worst_ms
        self.taps = o.taps
        self.card = o.card
        self.card_text = o.card_text
        self.reader_lost = o.reader_lost
        self.cleared = o.cleared
        self.light = o.light


class Exchange:
    """The place where the records lie. The safety lane never waits here: what it cannot get now it gets next time."""

    def __init__(self, orders: Orders) -> None:
        self._lock: "Any" = _thread.allocate_lock()
        self._orders = Orders()
        self._orders.copy(orders)
        self._report = Report()

    def swap(self, report: Report, orders: Orders) -> bool:
        """The safety lane: leave a report, take the orders; False if the other lane was just here."""
        if not self._lock.acquire(0):
            return False
        self._report.copy(report)
        orders.copy(self._orders)
        self._lock.release()
        return True

    def order(self, orders: Orders) -> None:
        """The network lane leaves orders."""
        self._lock.acquire()
        self._orders.copy(orders)
        self._lock.release()

    def read(self, report: Report) -> None:
        """The network lane takes the report."""
        self._lock.acquire()
        report.copy(self._report)
        self._lock.release()
