"""Calendar arithmetic shared by quota windows and budgets: when does a period in a zone begin and end.

Providers reset by their own calendars (one at midnight in America/Los_Angeles, another on the first of the month in
UTC), so a day is not 86,400 s: a zone's offset changes twice a year. Nothing else in the core knows dates.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

SECOND: Final = 1.0
MINUTE: Final = 60.0
HOUR: Final = 3600.0
DAY: Final = 86_400.0
WEEK: Final = 7 * DAY
MONTH: Final = 30.4375 * DAY

SECONDS: Final[dict[str, float]] = {
    "second": SECOND,
    "minute": MINUTE,
    "hour": HOUR,
    "day": DAY,
    "week": WEEK,
    "month": MONTH,
}
"""Nominal length of each period; a month is the mean of the Gregorian calendar."""


@lru_cache(maxsize=64)
def zone_of(name: str) -> ZoneInfo:
    """The zone, cached; raises zoneinfo.ZoneInfoNotFoundError (a KeyError) for an unknown name."""
    return ZoneInfo(name)


def starts_at(period: str, now: float, zone: str = "UTC") -> float:
    """Epoch second at which the calendar period that contains `now` began in `zone`."""
    if period in ("second", "minute", "hour"):
        length = SECONDS[period]
        return now - now % length
    return _midnight(period, now, zone).timestamp()


def ends_at(period: str, now: float, zone: str = "UTC") -> float:
    """Epoch second at which the calendar period that contains `now` ends in `zone`, always later than `now`."""
    if period in ("second", "minute", "hour"):
        length = SECONDS[period]
        return now - now % length + length
    start = _midnight(period, now, zone)
    # Arithmetic on wall-clock dates of an aware datetime keeps midnight midnight across a change of offset.
    if period == "day":
        end = start + timedelta(days=1)
    elif period == "week":
        end = start + timedelta(days=7)
    else:
        end = start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
    return end.timestamp()


def _midnight(period: str, now: float, zone: str) -> datetime:
    local = datetime.fromtimestamp(now, UTC).astimezone(zone_of(zone))
    start = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if period == "day":
        return start
    if period == "week":
        return start - timedelta(days=start.weekday())
    if period == "month":
        return start.replace(day=1)
    raise ValueError(f"unknown period '{period}'; use one of {', '.join(SECONDS)}")
