"""The record of decisions on disk: one gzipped file for each start of the manager, read by `ievcc replay`.

Off unless the site file names a folder for it ([store] decisions): a day of a home is some 20 MB.
"""

from __future__ import annotations

import gzip
import logging
from collections.abc import Sequence
from pathlib import Path

from manager.core import record
from manager.core.commands import Command
from manager.core.events import Event
from manager.core.site import Site

log = logging.getLogger(__name__)

KEPT = 5  # files; older ones are removed
MOST_LINES = 20_000_000  # about a fortnight of a home
FLUSHED_EVERY = 200  # lines; a power cut loses no more


class DecisionLog:
    """Open for as long as the manager runs. A disk that fails ends the record, not the manager."""

    def __init__(self, folder: Path, boot: int, site: Site, now_ms: int) -> None:
        """Begins a record. `site`: the one to go on with, as a replay will have it."""
        folder.mkdir(parents=True, exist_ok=True)
        for old in sorted(folder.glob("decisions-*.jsonl.gz"))[: -KEPT + 1]:
            old.unlink()
        self.path = folder / f"decisions-{boot:08d}.jsonl.gz"
        first, self.site = record.first_line(site, now_ms)
        self._file = gzip.open(self.path, "wt", compresslevel=3, encoding="utf-8")  # noqa: SIM115
        self._lines = 0
        self._open = True
        self._put(first)

    def write(self, event: Event, now_ms: int, commands: Sequence[Command]) -> None:
        """One event and what the core decided."""
        if self._open:
            self._put(record.line(event, now_ms, commands))

    def _put(self, line: str) -> None:
        try:
            self._file.write(line + "\n")
            self._lines += 1
            if self._lines % FLUSHED_EVERY == 1:
                self._file.flush()
        except OSError as e:
            self._end(f"the record of decisions ends: {e}")
        if self._lines >= MOST_LINES:
            self._end(f"the record of decisions ends: {MOST_LINES} lines")

    def _end(self, words: str) -> None:
        log.warning("%s", words)
        self._open = False

    def close(self) -> None:
        """Finish the file."""
        if self._open:
            self._open = False
            self._file.close()
