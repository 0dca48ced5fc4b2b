"""Where a site's books are and by which clock they are kept, from its site file."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from manager import beside
from manager.billing import cost, prices_for, sessions_in
from manager.core.rights import User
from manager.core.tariffs import Tariff
from manager.refusal import Refusal
from manager.reports import Books
from manager.site_file import Bills, SiteFile, SiteFileError, load


def timezone_of(file: SiteFile) -> str:
    """The site's time zone by name; this system's where the site file names none."""
    if file.timezone:
        return file.timezone
    try:
        _, found, name = str(Path("/etc/localtime").readlink()).partition("zoneinfo/")
    except OSError:
        return "UTC"
    return name if found else "UTC"


@dataclass(frozen=True, slots=True)
class SiteBooks:
    """What whoever opens the books has to know. `tariffs` and `users`: the cloud's, if there is one."""

    store: Path
    timezone: str
    issuer: Bills
    tariffs: Sequence[Tariff] = ()
    users: Mapping[str, User] = field(default_factory=dict)

    def now_ms(self) -> int:
        """Milliseconds UTC."""
        return time.time_ns() // 1_000_000

    def total(self, session: int) -> int | None:
        """What a user has to pay for a session (1/10000 of the currency, whole cents), taxes included; None where
        nobody pays or there is no price.
        """
        with beside.look(self.store) as db:
            found = sessions_in(db, "id = ? AND user <> ''", (session,))
            said = [cost(s, *prices_for(db, found, self.tariffs), self.now_ms()) for s in found]
        return said[0][0].total if said and not isinstance(said[0], str) else None

    def books(self, db: sqlite3.Connection) -> Books:
        """As reports are made from."""
        return Books(db, self.timezone, self.now_ms(), self.tariffs, self.users)


def of_file(config: Path) -> SiteBooks:
    """The books of this site file. Refusal if it cannot be read."""
    try:
        file = load(config)
    except SiteFileError as e:
        raise Refusal(f"{config}: {e}") from e
    here = config.resolve().parent
    store = here / file.store
    tariffs: Sequence[Tariff] = ()
    users: Mapping[str, User] = {}
    if file.fog is not None and file.fog.cloud:
        from manager.cloud_copy import CloudCopy  # noqa: PLC0415 - only where there is a cloud

        name = file.site.settings.name
        copy = CloudCopy(store.with_suffix(".copy"), file.fog.cloud, name, file.fog.key)
        tariffs, users = copy.tariffs(), copy.users()
    return SiteBooks(store, timezone_of(file), file.bills, tariffs, users)


def span(month: str, from_: str, to: str, timezone: str) -> tuple[int, int]:
    """[from, to) in seconds UTC out of local dates, or of a month; all of time if none is said."""
    zone = ZoneInfo(timezone)

    def at(text: str) -> datetime:
        try:
            return datetime.fromisoformat(text).replace(tzinfo=zone)
        except ValueError:
            raise Refusal(f"{text!r} is not a date: write it as 2026-11-23") from None

    if month:
        first = at(f"{month}-01")
        following = (first + timedelta(days=32)).replace(day=1)
        return int(first.timestamp()), int(following.timestamp())
    start = int(at(from_).timestamp()) if from_ else 0
    end = int((at(to) + timedelta(days=1)).timestamp()) if to else 1 << 40
    return start, end
