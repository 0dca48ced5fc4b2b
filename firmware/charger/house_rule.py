"""Mode "intelligent": the charger's own rule on what the meter broadcasts. Contracted current less
the house less a buffer.

    limit = contracted_a - house_a - buffer_a, of the worst phase; below 6 A it pauses

A reading counts for 10 s from when it was taken: without a meter nothing is known about the house,
and nothing is offered.
"""

GOOD_MS = 10_000


def limit_a(
    contracted_a: int,
    buffer_a: int,
    max_a: int,
    house_ma: "list[int]",
    own_ma: "list[int]",
    wiring: "list[int]",
) -> int:
    """What may be offered, A: 0 or 6 to `max_a`.

    `house_ma` is the meter's reading per phase of the building; `own_ma` is what of it is this
    charger's, per phase of the
    charger (empty: the meter does not see the charger); `wiring` the building's phase on each of the charger's.
    """
    if not house_ma:
        return 0
    least = max_a
    for k in range(len(wiring)):
        phase = wiring[k] - 1
        if phase >= len(house_ma):
            phase = 0  # a single meter stands for every phase
        house = house_ma[phase] - (own_ma[k] if k < len(own_ma) else 0)
        least = min(least, (contracted_a * 1000 - max(0, house) - buffer_a * 1000) // 1000)
    return least if least >= 6 else 0
