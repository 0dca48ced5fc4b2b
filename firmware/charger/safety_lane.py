"""The safety lane: reads everything, steps the state machine, drives pilot and contactor, feeds the watchdog.

It runs in the main thread, never touches the network, and waits for nobody. Every way out of it opens the contactor.
"""

import gc
import sys

from firmware.charger import latches
from firmware.charger.clock import Clock
from firmware.charger.evse import Evse, Inputs, Settings
from firmware.charger.exchange import Exchange, Orders, Report
from firmware.charger.interlocks import METER_SHOWS_MS
from firmware.charger.own_meter import OwnMeter
from firmware.charger.pilot import STEADY_HIGH, STEADY_LOW, Pilot
from firmware.common.ticks import sleep_ms, ticks_diff, ticks_ms

try:
    from typing import Any  # for type checkers; the boards have no typing
except ImportError:
    pass

PERIOD_MS = 20
COLLECT_EVERY = 10  # rounds: the collector takes an ESP32 some 5 ms
BOOT_WATCHDOG_MS = 8_000
WATCHDOG_MS = 2_000
DEPLOY_WATCHDOG_MS = 600_000  # somebody at the REPL has so long to copy files
SLOW_MS = 1_000  # temperatures and the cable's resistor need no more
SAVE_AGAIN_MS = 1_000


class SafetyLane:
    """`run` until the end; `step` is one round of it."""

    def __init__(self, board: "Any", settings: Settings, exchange: Exchange, orders: Orders, meter: OwnMeter | None,
                 start: int, reader: "Any" = None) -> None:  # fmt: skip
        """`reader` is a card reader (pn532.Reader) or None. `start` ticks are the moment both
        lanes count from; `orders` is what holds until the network lane speaks."""
        self._board = board
        self._exchange = exchange
        self._meter = meter
        self._reader = reader
        self._clock = Clock(start)
        self._pilot = Pilot(board.calibration)
        self._orders = Orders()
        self._orders.copy(orders)
        self._report = Report()
        self._report.light = board.table.LED is not None
        now = self._clock.now_ms()
        self.evse = Evse(settings, latches.load(), now)
        self._inputs = Inputs()
        self._slow_at = now - SLOW_MS
        self._saved = self.evse.out.latched
        self._save_at = now
        self._before = now
        self._booted = False
        self._cleared = ""
        self.trial_ms = 0  # new firmware on trial: until then it must have reached the manager

    def run(self) -> None:
        """For ever; an exception comes through after the contactor is open."""
        board = self._board
        board.watchdog(BOOT_WATCHDOG_MS)
        rounds = 0
        try:
            while True:
                began = ticks_ms()
                self.step()
                board.feed()
                rounds += 1
                if rounds % COLLECT_EVERY == 0:
                    # Here, where nothing is waited for, and not in the middle of a window.
                    gc.collect()
                left = PERIOD_MS - ticks_diff(ticks_ms(), began)
                sleep_ms(left if 0 < left <= PERIOD_MS else 1)
        except KeyboardInterrupt:
            board.safe()
            board.watchdog(DEPLOY_WATCHDOG_MS)
            raise
        finally:
            board.safe()

    def step(self) -> None:
        """One round: about 15 ms, of which 10 to 13 are the pilot's window."""
        board = self._board
        evse = self.evse
        out = evse.out
        i = self._inputs
        samples = board.window()
        now = self._clock.now_ms()
        i.fresh = samples is not None
        if samples is not None:
            i.letter = self._pilot.read(samples, out.duty)
            i.high_mv = self._pilot.high_mv
            i.low_mv = self._pilot.low_mv
            i.diode = self._pilot.diode
            if not self._booted:
                self._rails(samples[len(samples) // 2])
        tripped = board.tripped
        board.tripped = (
            False  # a trip from here on keeps the contactor open and is seen by the next step
        )
        i.rcm = board.rcm() or (tripped and not evse.test.testing_rcm)
        i.pe = board.pe()
        i.mains = board.mains() if evse.settings.mains_sense else None
        if evse.settings.detachable:
            i.pp_ohm = board.proximity_ohm()
        if now - self._slow_at >= SLOW_MS:
            self._slow_at = now
            i.temperatures_c = board.temperatures_c()
        if self._meter is not None:
            self._read_meter(i, now)
        orders = self._orders
        self._exchange.swap(self._report, orders)
        i.limit_a = orders.amps(now)
        # A card lets one car charge: the next must not, however long the other lane does not see that it is another.
        i.allowed = orders.allowed and not 0 <= orders.plug < self._report.plugs
        i.present = orders.present
        # Once each: a fault that comes back is a new one.
        i.clear = orders.clear if orders.clear != self._cleared else ""
        self._cleared = orders.clear
        i.service = orders.service
        evse.step(i, now)
        # The contactor first: opening must not wait for anything, and closing comes after the pilot has said so.
        board.contactor(out.contactor)
        board.line(out.duty, out.offer_a)
        board.rcm_test(out.rcm_test)
        board.led(self._light(now))
        self._tell(now)
        if self._reader is not None:
            self._read_card(now)
        if out.latched != self._saved and now >= self._save_at:
            self._save(now)
        if not self._booted and out.why != "self_test":
            self._booted = True
            board.watchdog(WATCHDOG_MS)
        if self.trial_ms and now >= self.trial_ms and not out.contactor:
            if not orders.settled:
                raise RuntimeError("new firmware that does not reach the manager")
            self.trial_ms = 0

    def _rails(self, node_mv: int) -> None:
        """Remember what the ADC says of both rails while the self-test holds the line steady and no car is there."""
        r = self._report
        if self._inputs.letter == "A" and self.evse.out.duty == STEADY_HIGH:
            r.rail_high_mv = node_mv
        elif self.evse.out.duty == STEADY_LOW and self._inputs.low_mv < -10_000:
            r.rail_low_mv = node_mv

    def _read_meter(self, i: Inputs, now: int) -> None:
        meter = self._meter
        if meter is None:
            return
        loads = meter.loads
        meter.step(ticks_ms(), now)
        if meter.loads != loads or meter.lost:
            i.asked_ms = self._clock.at(meter.asked)
            i.currents_ma = meter.currents_ma
            i.voltages_dv = meter.voltages_dv
            i.freq_mhz = meter.freq_mhz
        if meter.loads != loads:
            r = self._report
            r.load = meter.load
            r.freq_mhz = meter.freq_mhz
            r.load_ms = i.asked_ms
            r.loads = meter.loads
            r.suspect = meter.suspect
            meter.suspect = False

    def _read_card(self, now: int) -> None:
        reader = self._reader
        reader.step(now)
        r = self._report
        if reader.taps != r.taps:
            r.taps = reader.taps
            r.card = reader.card
            r.card_text = reader.text
        r.reader_lost = not reader.online and self._booted

    def _tell(self, now: int) -> None:
        out = self.evse.out
        r = self._report
        r.state = out.state
        r.offer_a = out.offer_a
        r.contactor = out.contactor
        if self.evse.plugged and not r.plugged:
            r.plugs += 1
        r.plugged = self.evse.plugged
        r.settled = not out.contactor and r.load_ms - self.evse.switched_at >= METER_SHOWS_MS
        r.cap_a = out.cap_a
        r.why = out.why
        r.cleared = self._cleared
        r.faults = out.faults
        r.lease = self._orders.lease
        r.meter_lost = self._meter is not None and self._meter.lost
        r.high_mv = self._inputs.high_mv
        r.low_mv = self._inputs.low_mv
        hottest = -273
        for c in self._inputs.temperatures_c:
            if c is not None and c > hottest:
                hottest = c
        r.temperature_c = hottest
        if self._booted and now - self._before > r.worst_ms:
            r.worst_ms = now - self._before
        self._before = now

    def _save(self, now: int) -> None:
        # Written from this lane, so that a latch is in flash before anything else happens; a latch opens the
        # contactor, so nothing is under load while the flash is busy.
        try:
            latches.save(self.evse.out.latches)
            self._saved = self.evse.out.latched
        except OSError as e:
            sys.print_exception(e)
            self._save_at = now + SAVE_AGAIN_MS

    def _light(self, now: int) -> bool:
        """On while charging, a slow blink while a car waits, a fast one with a fault, a flash a second otherwise; two
        quick flashes a second while somebody looks for this charger."""
        out = self.evse.out
        if now < self._orders.identify_ms:
            return now % 1000 < 400 and now % 200 < 100
        if out.faults:
            return now % 400 < 200
        if out.contactor:
            return True
        if self.evse.plugged:
            return now % 2000 < 1000
        return now % 1000 < 50
