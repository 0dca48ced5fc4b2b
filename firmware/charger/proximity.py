"""The cable's rating from its proximity resistor (IEC 61851-1 Annex B), for sockets with a loose cable."""

# Bands, ohm, and what the cable carries, A. A value between two bands gets the lower rating of its neighbours;
# outside them there is no cable anybody may load.
RATINGS = (
    (60, 156, 63),  # nominal 100: 63 A three-phase, 70 A single-phase
    (156, 340, 32),  # nominal 220
    (340, 970, 20),  # nominal 680
    (970, 4500, 13),  # nominal 1500
)
PULL_UP_OHM = 1000
SUPPLY_MV = 3300


def ohm(node_mv: int) -> int:
    """The resistor for the voltage over it under a 1 k pull-up to 3.3 V; -1 for an open line."""
    if node_mv >= SUPPLY_MV * 9 // 10:
        return -1
    return PULL_UP_OHM * node_mv // (SUPPLY_MV - node_mv)


def rating_a(pp_ohm: int) -> int:
    """What a cable with this resistor may carry, A; 0 if it is no cable's."""
    for low, high, a in RATINGS:
        if low <= pp_ohm <= high:
            return a
    return 0
