"""Energy that only counts up: over the PZEM's own reset, and its return to 0 after 9999.99 kWh."""

import json

from firmware.common.config import write_whole

_SAVE_WH = 1000  # the flash is written once a kWh; what a power cut can hide is less than that


class EnergyTotal:
    """One phase's total in the file `path`: what the device counts now, and what it counted before
    it began anew."""

    def __init__(self, path: str) -> None:
        """Goes on where the file left off; a file that is not there or not readable begins
        anew."""
        self._path = path
        self._before = 0
        self._last = 0
        self._falls = 0
        try:
            with open(path) as f:
                before, last = json.load(f)
            if before >= 0 and last >= 0:
                self._before, self._last = int(before), int(last)
        except (OSError, ValueError, TypeError):
            pass
        self._saved = self._last

    def count(self, wh: int) -> int:
        """The total now that the device says `wh`. It must say less twice to be believed."""
        if wh < self._last:
            self._falls += 1
            if self._falls < 2:
                return self._before + self._last
            self._before += self._last
            self._last = wh
            self._save()
        self._falls = 0
        self._last = wh
        if wh - self._saved >= _SAVE_WH:
            self._save()
        return self._before + wh

    def _save(self) -> None:
        self._saved = self._last
        try:
            write_whole(self._path, json.dumps([self._before, self._last]))
        except OSError:
            pass  # a full file system: the count goes on in memory
