"""`esp`: what the firmware may call of it, without effect here."""

SLEEP_NONE, SLEEP_LIGHT, SLEEP_MODEM = 0, 1, 2


def osdebug(uart, level=0):
    """Where the vendor's log goes."""


def sleep_type(kind=None):
    """Power saving of the ESP8266's Wi-Fi."""
    return SLEEP_MODEM


def flash_size():
    """Bytes."""
    return 4 * 1024 * 1024
