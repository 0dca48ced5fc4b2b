"""Brings the cloud's database up to this program's version: numbered Alembic migrations,
forwards only.
"""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

if TYPE_CHECKING:
    from psycopg import Connection


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(resources.files("datahub.cloud") / "migrations"))
    return config


def upgrade(dsn: str, to: str = "head") -> None:
    """Run what is missing, each migration in a transaction of its own. `dsn` must own the
    database.
    """
    import psycopg  # noqa: PLC0415 - only this function needs a driver under SQLAlchemy

    def connect() -> Connection:
        return psycopg.connect(dsn)

    engine = create_engine("postgresql+psycopg://", creator=connect, poolclass=NullPool)
    config = _config()
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, to)
        connection.commit()
    engine.dispose()
