"""What the core wants done. The shell does it, in this order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Send:
    """Publish this message on "<device>/down"; the shell adds its own boot and seq and signs.

    `keep_first`: the site as returned must be on disk (`plain.site_to_plain`) before this is published. Otherwise a
    manager that restarts would not know of a lease it gave, and could give the same amperes twice.
    """

    device: str
    message: Mapping[str, Any]
    keep_first: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth a line in the log of events. `kind` is a word, `device` may be ""."""

    kind: str
    device: str
    words: str
    numbers: Mapping[str, int | float | str] = field(default_factory=dict)


Command = Send | Note
