"""One manager a store: a lock that ends with its process, however that ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from manager.refusal import Refusal


class Running:
    """Held while a manager runs on this store, or while it is restored. Refusal if somebody else does."""

    def __init__(self, store: Path) -> None:
        path = store.with_suffix(".lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as e:
            raise Refusal(f"cannot write beside {store}: {e.strerror}") from e
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            os.close(self._file)
            raise Refusal(f"a manager runs on {store}: stop it first") from e

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def release(self) -> None:
        """Let the next one in."""
        os.close(self._file)
