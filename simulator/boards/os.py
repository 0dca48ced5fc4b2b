"""`os` as on the boards: the computer's own below the board's root, plus `dupterm` and `uname`."""

import host
import wiring

if host.ON_MICROPYTHON:
    from uos import *  # noqa: F403 - the board's file system is mounted at /
else:
    from board_files import *  # noqa: F403

if host.ON_MICROPYTHON:
    import uos

    # Where boot.py has mounted what a board does not have.
    _FOREIGN = ("sim", "host", "rom", "frozen")

    def listdir(path="."):
        """Names."""
        return [entry[0] for entry in ilistdir(path)]

    def ilistdir(path="."):
        """(name, kind, inode, size) of each entry."""
        at_root = path == "/" or (path in (".", "") and uos.getcwd() == "/")
        for entry in uos.ilistdir(path):
            if not (at_root and entry[0] in _FOREIGN):
                yield entry

    if not host.getenv("BOARD_FLASH"):

        def rename(old, new):
            """Replaces what is there, at once."""
            # VfsPosix builds both paths in one buffer, unless they are relative.
            if uos.getcwd() == "/":
                old, new = old.lstrip("/"), new.lstrip("/")
            uos.rename(old, new)


# The REPL sits on UART0 of an ESP8266 after every reset, until dupterm(None, 1).
_terminals = [None, True if wiring.CHIP == "esp8266" else None]


def dupterm(stream, index=0):
    """Attach or detach the REPL's second stream; slot 1 of an ESP8266 is UART0."""
    if index not in (0, 1):
        raise ValueError("invalid dupterm index")
    old = _terminals[index]
    _terminals[index] = stream
    if index == 1:
        wiring.say(86, 0, 0, 0 if stream is None else 1)  # "V"
    return None if old is True else old


def repl_on_uart0():
    """(Of the shim, not of a board.) Does what arrives on UART0 go to the REPL?"""
    return _terminals[1] is not None


def uname():
    """(sysname, nodename, release, version, machine)."""
    return (wiring.CHIP, wiring.CHIP, "1.29.0", "v1.29.0 simulated", wiring.CHIP + " simulated")
