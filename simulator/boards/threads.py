"""`_thread` of the ESP32: one thread runs at a time; it keeps the turn until it waits (see
wiring)."""

import host
import wiring

get_ident = host.threads.get_ident


def stack_size(size=0):
    """Bytes of stack the next threads get; what they need on a 64-bit computer is more."""
    return host.threads.stack_size(size * 4 if size else 0)


class LockType:
    """A lock; waiting for it gives up the turn."""

    def __init__(self):
        self._lock = host.threads.allocate_lock()

    def acquire(self, waitflag=1, timeout=-1):
        """True once it is held; False if it is not to be had (in time)."""
        if self._lock.acquire(0):
            return True
        if not waitflag:
            return False
        until = (
            None if timeout is None or timeout < 0 else wiring.now_us() + int(timeout * 1_000_000)
        )
        while not self._lock.acquire(0):
            if until is not None and wiring.now_us() >= until:
                return False
            wiring.sleep_us(500)
        return True

    def release(self):
        """Let go; RuntimeError if nobody holds it."""
        self._lock.release()

    def locked(self):
        """Is it held?"""
        return self._lock.locked()

    def __enter__(self):
        self.acquire()
        return self

    def __exit__(self, *_):
        self.release()


def allocate_lock():
    """A new lock."""
    return LockType()


def start_new_thread(function, args, kwargs=None):
    """Run `function` in another thread. OSError if the board has none to give."""
    if wiring.CHIP == "esp8266":
        raise ImportError("no module named '_thread'")

    def run():
        wiring.take_turn()
        try:
            function(*args, **(kwargs or {}))
        except SystemExit:
            pass
        except BaseException as e:
            import sys

            if host.ON_MICROPYTHON:
                print("Unhandled exception in thread started by", function)
                sys.print_exception(e)
            else:
                import traceback

                traceback.print_exception(e)
        finally:
            wiring.give_turn()

    # This thread has the turn (the lock was made held); from here on turns are taken.
    wiring.threaded = True
    return host.threads.start_new_thread(run, ())


def exit():
    """End this thread."""
    raise SystemExit
