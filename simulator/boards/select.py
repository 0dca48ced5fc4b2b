"""`select.poll` over simulated sockets and UARTs; waiting gives up the turn and serves the wires."""

import host
import wiring

POLLIN, POLLOUT, POLLERR, POLLHUP = 1, 4, 8, 16


class _Poll:
    def __init__(self):
        self._objects = []

    def register(self, thing, events=5):
        """Watch it."""
        for entry in self._objects:
            if entry[0] is thing:
                entry[1] = events
                return
        self._objects.append([thing, events])

    def modify(self, thing, events):
        """Watch for something else; OSError if it was not watched."""
        for entry in self._objects:
            if entry[0] is thing:
                entry[1] = events
                return
        raise OSError(2)

    def unregister(self, thing):
        """Stop watching."""
        self._objects = [entry for entry in self._objects if entry[0] is not thing]

    def _now(self):
        ready = []
        for thing, events in self._objects:
            if hasattr(thing, "any"):
                flags = (POLLIN if events & POLLIN and thing.any() else 0) | (events & POLLOUT)
            else:
                raw = getattr(thing, "_raw", thing)
                flags = 0
                if not wiring.faults[wiring.WIFI]:
                    poller = host.select.poll()
                    poller.register(raw, events)
                    for event in poller.poll(0):
                        flags = event[1]
            if flags:
                ready.append((thing, flags))
        return ready

    def poll(self, timeout=-1):
        """[(thing, flags)], waiting at most so many ms (-1: for ever)."""
        until = None if timeout is None or timeout < 0 else wiring.now_us() + int(timeout * 1000)
        while True:
            wiring.look()
            ready = self._now()
            if ready:
                return ready
            left = 1_000_000 if until is None else until - wiring.now_us()
            if left <= 0:
                return []
            files = [
                getattr(thing, "_raw", None) or getattr(thing, "_file", None)
                for thing, _ in self._objects
            ]
            wiring.wait_any(
                [f for f in files if f is not None], [e for _, e in self._objects], left
            )

    def ipoll(self, timeout=-1, flags=0):
        """The same, one by one."""
        return iter(self.poll(timeout))


def poll():
    """A new set of things to wait for."""
    return _Poll()


def select(readers, writers, errors, timeout=None):
    """The old form; three lists."""
    watch = _Poll()
    for thing in readers:
        watch.register(thing, POLLIN)
    for thing in writers:
        watch.register(thing, POLLOUT | (POLLIN if thing in readers else 0))
    ready = watch.poll(-1 if timeout is None else int(timeout * 1000))
    return [t for t, f in ready if f & POLLIN], [t for t, f in ready if f & POLLOUT], []
