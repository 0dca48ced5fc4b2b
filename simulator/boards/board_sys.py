"""`sys` with a board's platform name; boot.py puts it in the place of the computer's."""

import host

if host.ON_MICROPYTHON:
    from sys import *  # noqa: F403
    from sys import argv, path  # noqa: F401 - not in its dictionary, so not in *
else:
    stdout, stderr, stdin = host.sys.stdout, host.sys.stderr, host.sys.stdin
    exit, implementation, modules = host.sys.exit, host.sys.implementation, host.sys.modules
    maxsize, byteorder, version, argv = 2**31 - 1, "little", host.sys.version, []

    def print_exception(e, file=None):
        """A traceback on the console."""
        host.traceback.print_exception(e, file=file or host.sys.stdout)


import wiring

platform = wiring.CHIP
