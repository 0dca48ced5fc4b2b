"""The state machine's settings, inputs and outputs."""

from firmware.charger import pilot


class Settings:
    """What does not change while the charger runs. Attributes may be set after making it."""

    def __init__(self) -> None:
        self.max_a = 32  # A: cable, contactor and circuit, 6..80
        self.ventilation = False  # whether a car that asks for ventilation (D) gets power
        self.detachable = False  # a socket: the cable's rating is read from its proximity resistor
        self.mains_sense = True  # whether the voltage after the contactor is sensed
        self.nominal_dv = 2300
        self.resume_ms = (
            60_000  # current must be there so long before a stopped car is offered it again
        )
        self.change_ms = 5_000  # least time between a change of the offer and the next raise
        self.start_delay_ms = (
            0  # after a start with a car already plugged in (drawn at random by the caller)
        )
        self.voltage_delay_ms = 0  # the same after a voltage out of range
        self.residual_retry = False  # try again 15 min after a residual current, at most 4 times
        self.simplified_10a = False  # a car that goes from A to C directly gets at most 10 A
        self.wake_up = True
        self.calibrated = True  # the ADC of the pilot has been


class Inputs:
    """What the board measured for this step. The caller keeps one and changes it."""

    def __init__(self) -> None:
        self.fresh = True  # a new window of the pilot came with this step
        self.letter = ""  # of this window: A..E, "" if it could not be told
        self.high_mv = 0
        self.low_mv = 0
        self.diode = False
        self.rcm = False  # residual current monitor has tripped
        self.pe = False  # protective earth is proven
        self.mains: bool | None = None  # voltage after the contactor; None: not sensed
        self.pp_ohm = -1  # of the cable; -1: open or not read
        self.temperatures_c: "list[int | None]" = []  # None: sensor broken
        self.currents_ma: "list[int]" = []  # own meter, per phase; empty: no reading
        self.asked_ms = 0  # when the oldest of them was asked for
        self.voltages_dv: "list[int]" = []
        self.freq_mhz = 0  # 0: no reading
        self.limit_a = 0  # lease, own rule or fixed current
        self.allowed = True  # a card, or nobody needs to ask
        self.present = False  # a user is at the charger: no random delay
        self.clear = ""  # a latched fault its user has looked after ("*": all)
        self.service = False  # and service is there


class Outputs:
    """What the board has to do now. The state machine keeps one and changes it."""

    def __init__(self) -> None:
        self.duty = pilot.STEADY_LOW  # per mille; a board starts with its pilot at -12 V
        self.offer_a = 0
        self.contactor = False
        self.rcm_test = False
        self.state = "F1"
        self.faults: "list[str]" = []
        self.cap_a = 0  # most it could offer now
        self.why = "self_test"  # why no current flows, "" while the contactor is closed
        self.latches: "dict[str, int]" = {}  # to be kept in flash: latched faults and counts
        self.latched = 0  # raised by one whenever `latches` changed
