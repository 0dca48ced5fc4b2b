"""`micropython`: what the firmware calls of it, on CPython."""


def const(value):
    """The value."""
    return value


def native(function):
    """No machine code here."""
    return function


viper = native


def schedule(function, argument):
    """Soon is now."""
    function(argument)


def opt_level(level=None):
    """Nothing to optimise."""
    return 0


def kbd_intr(character):
    """Ctrl-C stays what it is."""


def mem_info(verbose=None):
    """Nothing to tell."""


def alloc_emergency_exception_buf(size):
    """CPython has room for its exceptions."""
