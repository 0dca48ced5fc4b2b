"""What every part of the API asks alike: who may, some rows at a time, and what the database
refuses.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import psycopg
from fastapi import Depends, HTTPException, Query, Security
from psycopg import Connection
from psycopg.rows import dict_row
from pydantic import BaseModel, Field

from datahub.cloud.api.access import Doors, Person, doors_of, person_of

AnyPerson = Annotated[Person, Security(person_of)]
Tenant = Annotated[Person, Security(person_of, scopes=["own"])]
Administrator = Annotated[Person, Security(person_of, scopes=["site"])]
TheDoors = Annotated[Doors, Depends(doors_of)]
_NUMBER_MAX = 2**31 - 1
Number = Annotated[int, Field(ge=1, le=_NUMBER_MAX)]  # of a row
After = Annotated[int, Query(ge=0, le=_NUMBER_MAX, description="the `next` of the page before")]
Limit = Annotated[int, Query(ge=1, le=500)]


class Page(BaseModel):
    """Some rows, and what to ask for as `after` to get more; null when there are none."""

    items: list[dict[str, Any]]
    next: int | None


def page(
    db: Connection, question: str, values: dict[str, Any], after: int, limit: int, key: str = "id"
) -> Page:
    """One page of a question that ends with its conditions; rows come in the order of `key`."""
    cursor = db.cursor(row_factory=dict_row)
    sql = f"{question} AND {key} > %(after)s ORDER BY {key} LIMIT %(limit)s"
    rows = cursor.execute(sql, {**values, "after": after, "limit": limit + 1}).fetchall()
    more = len(rows) > limit
    rows = rows[:limit]
    name = key.rpartition(".")[2]
    return Page(items=rows, next=rows[-1][name] if more else None)


@contextmanager
def changing(
    doors: Doors,
    person: Person,
    *,
    forbidden: tuple[int, str] = (403, "not a site or person of yours"),
    taken: str = "there is one already",
    absent: str = "no such person",
) -> Iterator[Connection]:
    """One transaction of a person's, in which what the database refuses is answered in words:
    what a row policy forbids, what is there already, what refers to nothing.
    """
    try:
        with doors.seen_by(person.id) as db:
            yield db
    except psycopg.errors.InsufficientPrivilege:
        raise HTTPException(*forbidden) from None
    except psycopg.errors.UniqueViolation:
        raise HTTPException(409, taken) from None
    except psycopg.errors.ForeignKeyViolation:
        raise HTTPException(404, absent) from None
    except psycopg.errors.CheckViolation as e:
        raise HTTPException(400, str(e.diag.message_primary)) from None
