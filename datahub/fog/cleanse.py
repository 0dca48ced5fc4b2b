"""From a building's records to facts: what is new, when it was, how much energy, what is missing.
Pure functions.

Each device has a small state (`Device`), kept with the facts it led to. `take` folds one record
into it. The laws, which the tests state as properties:

- counted energy never falls, never rises faster than the device could have delivered, and a
  counter that starts anew from zero loses nothing but what nobody saw;
- the energy of all windows of a device is exactly the counted energy from its first reading to
  its last;
- a record is new once: what comes again changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from datahub.fog import record

MINUTE_MS = 60_000
QUARTER_MS = 15 * MINUTE_MS
GAP_MS = 60_000  # readings come every 1 to 10 s; a minute without one is a gap
LATENESS_MS = (
    2 * MINUTE_MS
)  # a window still takes a reading that is so late behind its device's newest
AHEAD_MS = 120_000  # a sender's clock may be so far ahead of the broker's before it is corrected
BEHIND_MS = 600_000  # and so far behind: a parcel may wait that long on its way
# 80 A (IEC 62196-2's most), 276 V (230 V + 20 %): the most energy a phase can count in an hour, in
# Wh.
PHASE_MAX_W = 22_080
SLACK_WH = 10  # a PZEM counts whole Wh and reports late

# Flags of a reading, one bit each.
SUSPECT = 1  # the device said so itself
RESET = 2  # the counter started anew
JUMP = 4  # the counter rose faster than it can; not counted
CLOCK = 8  # the time was corrected
LATE = 16  # came after a newer one; stored, not in the counted energy
AFTER_GAP = 32


@dataclass(slots=True)
class Device:
    """What must be known of a device to judge its next record. `raw` are its counters as last
    read, per phase.
    """

    boot: int = -1
    seq: int = -1
    last_ms: int = -1
    raw: list[int] = field(default_factory=list)
    counted_wh: int = 0
    first_ms: int = -1
    changed: bool = True  # since it was last written

    def is_new(self, boot: int, seq: int) -> bool:
        """Newer than all before. If not, whether it came before must be looked up: readings may
        be thinned out.
        """
        return (boot, seq) > (self.boot, self.seq)


@dataclass(slots=True)
class Window:
    """A device's minute or quarter hour. `estimated_wh` is the part of `energy_wh` that fell
    into a gap.
    """

    n: int = 0
    energy_wh: int = 0
    estimated_wh: int = 0
    power_sum_w: int = 0
    power_max_w: int = -(2**31)
    current_max_ma: int = -1

    def add(self, power_w: int, current_ma: int) -> None:
        """One reading."""
        self.n += 1
        self.power_sum_w += power_w
        self.power_max_w = max(self.power_max_w, power_w)
        self.current_max_ma = max(self.current_max_ma, current_ma)


@dataclass(frozen=True, slots=True)
class Gap:
    """No reading came between these times."""

    from_ms: int
    to_ms: int


def true_time(t_ms: int, sent_ms: int, arrived_ms: int) -> tuple[int, int]:
    """When it was by the broker's clock, and CLOCK if that had to be corrected.

    A sender whose clock is off as it sends was off by as much as it stamped: a Raspberry Pi
    without a clock battery before it has found its time server. Nothing is later than its
    arrival.
    """
    skew = sent_ms - arrived_ms
    corrected = 0
    if skew > AHEAD_MS or skew < -BEHIND_MS:
        t_ms -= skew
        corrected = CLOCK
    if t_ms > arrived_ms + AHEAD_MS:
        return arrived_ms, CLOCK
    return t_ms, corrected


def count(device: Device, raw: list[int], t_ms: int) -> tuple[int, int]:
    """The energy to count since the last reading in Wh, and RESET or JUMP if the counter did
    not simply go on.
    """
    before = device.raw
    if len(before) != len(raw):  # first reading, or rewired to another number of phases
        return 0, RESET if before else 0
    most = PHASE_MAX_W * (t_ms - device.last_ms) // 3_600_000 + SLACK_WH
    energy = 0
    flags = 0
    for was, now in zip(before, raw, strict=True):
        rise = now - was
        if rise < 0:
            flags |= RESET
            rise = now  # counted from zero; whatever came before the reset was read by nobody
        if rise > most:
            flags |= JUMP
            rise = 0
        energy += rise
    return energy, flags


def spread(energy_wh: int, from_ms: int, to_ms: int, width_ms: int) -> list[tuple[int, int]]:
    """Energy over (from, to] shared out to windows by time, in whole Wh that add up: [(window
    start, Wh), ...].
    """
    first = from_ms - from_ms % width_ms
    if to_ms < first + width_ms or to_ms <= from_ms:
        return [(to_ms - to_ms % width_ms if to_ms > from_ms else first, energy_wh)]
    shares = []
    given = 0
    start = first
    while start <= to_ms:
        upto = energy_wh * (min(start + width_ms, to_ms) - from_ms) // (to_ms - from_ms)
        if upto != given:
            shares.append((start, upto - given))
            given = upto
        start += width_ms
    return shares


Windows = dict[
    tuple[int, int, int], Window
]  # (device number, width in ms, start) -> what to add to it


def take(
    number: int,
    device: Device,
    boot: int,
    seq: int,
    load: Any,
    t_ms: int,
    flags: int,
    windows: Windows,
    late: bool,
) -> tuple[int, int, int, Gap | None]:
    """Fold one load reading into its device and windows. `late` if it is older than the device's
    newest.

    Returns (time, counted energy total in Wh, flags, gap before it or None).
    """
    power = sum(load.power_w)
    current = max(load.current_ma)
    if load.suspect:
        flags |= SUSPECT
    gap = None
    if late:
        flags |= LATE
        if t_ms > device.last_ms - LATENESS_MS:
            _add(windows, number, t_ms, power, current)
        return t_ms, device.counted_wh, flags, None
    device.boot = boot
    device.seq = seq
    device.changed = True
    if t_ms < device.last_ms:  # its clock was set back: what came later is not earlier
        t_ms = device.last_ms
        flags |= CLOCK
    if device.first_ms < 0:
        device.first_ms = t_ms
    else:
        energy, how = count(device, load.energy_wh, t_ms)
        flags |= how
        elapsed = t_ms - device.last_ms
        if elapsed > GAP_MS:
            flags |= AFTER_GAP
            gap = Gap(device.last_ms, t_ms)
        if energy:
            device.counted_wh += energy
            for width in (MINUTE_MS, QUARTER_MS):
                # Most readings lie in one window with the one before.
                start = t_ms - t_ms % width
                within = start <= device.last_ms
                shares = (
                    [(start, energy)] if within else spread(energy, device.last_ms, t_ms, width)
                )
                for begins, share in shares:
                    window = windows.get((number, width, begins))
                    if window is None:
                        window = windows[number, width, begins] = Window()
                    window.energy_wh += share
                    if gap is not None:
                        window.estimated_wh += share
    device.raw = load.energy_wh
    device.last_ms = t_ms
    _add(windows, number, t_ms, power, current)
    return t_ms, device.counted_wh, flags, gap


def _add(windows: Windows, number: int, t_ms: int, power_w: int, current_ma: int) -> None:
    for width in (MINUTE_MS, QUARTER_MS):
        key = (number, width, t_ms - t_ms % width)
        window = windows.get(key)
        if window is None:
            window = windows[key] = Window()
        window.add(power_w, current_ma)


def pass_over(device: Device, boot: int, seq: int) -> None:
    """A record that is no reading moves only the device's number on."""
    device.boot = boot
    device.seq = seq
    device.changed = True


def is_load(kind: str) -> bool:
    """Whether records of this kind are readings."""
    return kind in record.LOADS
