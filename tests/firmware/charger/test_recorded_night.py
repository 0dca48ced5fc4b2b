"""A recorded night replayed: what a charger in the field wrote of its pilot from 22:31 to 7:00, with a
car's place held in C all night, and short returns to B in between.

Times and states as given in github.com/dzurikmiroslav/esp32-evse, issue 110 (N. Robi, 2025-06-06), whose
firmware is another than ours: what we do about these states is held against our own table.
"""

from tests.firmware.charger.rig import Rig

# Time of the night in s since 22:31:23, and what the pilot showed from then on.
NIGHT = (
    (0, "A"),
    (29, "B"),
    (31, "C"),
    (11_256, "B"),
    (11_258, "C"),
    (19_414, "B"),
    (19_417, "C"),
    (30_547, "B"),
    (30_549, "A"),
)
LOCK_OUT_MS, IN_C_MS = 5_000, 500
LONGEST_S = 120  # of a stretch in which nothing happens, so much is enough


def test_the_night():
    rig = Rig()
    seen = ["A"]

    def watch(rig):
        if rig.out.state[0] != seen[-1]:
            seen.append(rig.out.state[0])

    rig.watch = watch
    closed = 0
    for k, (at, letter) in enumerate(NIGHT):
        end = NIGHT[k + 1][0] if k + 1 < len(NIGHT) else at + 60
        was_closed = rig.out.contactor
        left = rig.now
        rig.car = letter
        if letter in "AB":
            took = rig.until_open(1_000)
            assert not was_closed or took <= 100, (at, took)
        else:
            took = rig.run(8_000, lambda: rig.out.contactor)
            # At once the first time, within the 3 s the standard gives; after it had left C, when the lock-out is over.
            least, most = (LOCK_OUT_MS - 3_000, LOCK_OUT_MS) if closed else (IN_C_MS, 3_000)
            assert rig.out.contactor, (at, rig.out.why, rig.out.faults)
            assert least <= took <= most, (at, took)
            closed += 1
        rest = min(end - at, LONGEST_S) * 1000 - (rig.now - left)
        rig.run(max(0, rest))
        assert rig.out.state[0] == letter, (at, rig.out.state)
        assert rig.out.contactor == (letter == "C"), at
        assert rig.out.faults == [], (at, rig.out.faults)
    assert closed == 3
    assert seen == [letter for _, letter in NIGHT]
