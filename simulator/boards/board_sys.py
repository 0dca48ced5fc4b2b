"""`sys` with a board's platform name; boot.py puts it in the place of the computer's."""

from sys import *  # noqa: F403
from sys import argv, path  # noqa: F401 - not in its dictionary, so not in *

import wiring

platform = wiring.CHIP
