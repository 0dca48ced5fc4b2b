"""The week's timer: when charging is allowed, as people write it down: ``mo-fr 22:00-06:00, sa-su 00:00-24:00``."""

DAYS = ("mo", "tu", "we", "th", "fr", "sa", "su")
_DAY_MIN = 24 * 60
_WEEK_MIN = 7 * _DAY_MIN


class ScheduleError(ValueError):
    """A schedule that cannot be read; the words name the part."""


def _minutes(text: str) -> int:
    parts = text.split(":")
    if len(parts) == 2 and len(parts[1]) == 2:
        try:
            hours, minutes = int(parts[0]), int(parts[1])
        except ValueError:
            hours = -1
            minutes = 0
        if 0 <= hours <= 24 and 0 <= minutes < 60 and hours * 60 + minutes <= _DAY_MIN:
            return hours * 60 + minutes
    raise ScheduleError(text + " is no time of day")


def parse(text: str) -> "list[tuple[int, int]]":
    """Minutes of the week (from Monday 0:00) as [start, end) pairs; an end before its start is on the next day, and a
    pair may run past the week's end. Empty: always. ScheduleError names the part that cannot be read."""
    out: "list[tuple[int, int]]" = []
    for part in text.lower().split(","):
        words = part.split()
        if not words and not text.strip():
            continue
        if len(words) != 2:
            raise ScheduleError("write days and times, as mo-fr 22:00-06:00, not " + part.strip())
        days = words[0].split("-")
        hours = words[1].split("-")
        if len(days) > 2 or days[0] not in DAYS or days[-1] not in DAYS:
            raise ScheduleError(
                words[0] + " is no day: mo, tu, we, th, fr, sa, su, or two of them as mo-fr"
            )
        if len(hours) != 2:
            raise ScheduleError(words[1] + " is no span of time: write 22:00-06:00")
        start, end = _minutes(hours[0]), _minutes(hours[1])
        if end <= start:
            end += _DAY_MIN
        day = DAYS.index(days[0])
        while True:
            out.append((day * _DAY_MIN + start, day * _DAY_MIN + end))
            if day == DAYS.index(days[-1]):
                break
            day = (day + 1) % 7
    return out


def is_open(spans: "list[tuple[int, int]]", minute: int) -> bool:
    """Whether charging is allowed in this minute of the week; always without a span."""
    for start, end in spans:
        if start <= minute < end or start <= minute + _WEEK_MIN < end:
            return True
    return not spans


def minute_of_week(utc_s: int, offset_min: int) -> int:
    """Local minutes since Monday 0:00; 1970-01-01 was a Thursday."""
    return (utc_s // 60 + offset_min + 3 * _DAY_MIN) % _WEEK_MIN
