"""`gc` with a board's calls. CPython's heap has no size: what is said to be free means nothing."""

_enabled = True


def collect():
    """CPython's reference counts have done it already."""
    return 0


def mem_free():
    """Bytes."""
    return 100_000


def mem_alloc():
    """Bytes."""
    return 50_000


def enable():
    """Collect when needed."""
    global _enabled
    _enabled = True


def disable():
    """Do not."""
    global _enabled
    _enabled = False


def isenabled():
    """Is it on?"""
    return _enabled


def threshold(amount=-1):
    """Bytes between two collections."""
    return -1
