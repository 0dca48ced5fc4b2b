"""`sys` with a board's platform name; boot.py puts it in the place of the computer's."""

from sys import *  # noqa: F403

import wiring

platform = wiring.CHIP
