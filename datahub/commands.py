"""`ievcc fog` and `ievcc cloud`: the datahub's programs.

What they need to know comes from the environment, as services get it: IEVCC_KAFKA (host:port,...),
IEVCC_DSN (PostgreSQL), IEVCC_MASTER_KEY (hex, 32 bytes or more) or IEVCC_MASTER_KEY_FILE.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from datahub.cloud.api import openid

fog = typer.Typer(no_args_is_help=True, help="The fog: Kafka in, clean facts out.")
cloud = typer.Typer(no_args_is_help=True, help="The cloud: database, API and portal.")


def _need(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        sys.stderr.write(f"{name} is not set in the environment\n")
        raise typer.Exit(1)
    return value


def _master() -> bytes:
    file = os.environ.get("IEVCC_MASTER_KEY_FILE", "")
    text = Path(file).read_text().strip() if file else _need("IEVCC_MASTER_KEY")
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) < 32:
        sys.stderr.write("the master key must be 32 bytes or more in hex\n")
        raise typer.Exit(1)
    return key


def _provider() -> openid.Settings:
    from datahub.cloud.api import openid

    try:
        return openid.Settings(
            _need("IEVCC_OPENID_ISSUER"),
            _need("IEVCC_OPENID_AUDIENCE"),
            os.environ.get("IEVCC_OPENID_CLIENT", ""),
            os.environ.get("IEVCC_OPENID_SECRET", ""),
            os.environ.get("IEVCC_PORTAL", ""),
            os.environ.get("IEVCC_OPENID_CLAIM", "email"),
        )
    except ValueError as e:
        sys.stderr.write(f"{e}\n")
        raise typer.Exit(1) from None


def _log() -> None:
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )


@fog.command("topics")
def topics_command(replicas: int = 1) -> None:
    """Make the topics that are not there yet."""
    from datahub.fog import topics

    topics.prepare(_need("IEVCC_KAFKA"), replicas)


@fog.command("admit")
def admit(site: str) -> None:
    """Give a site its Kafka user; prints what goes into its site file."""
    import secrets

    import psycopg

    from datahub.fog import record, topics

    with psycopg.connect(_need("IEVCC_DSN")) as db:
        row = db.execute(
            "SELECT key_version FROM site WHERE name = %s AND active", (site,)
        ).fetchone()
    if row is None:
        sys.stderr.write(f"no site {site}: ievcc cloud add-site {site}\n")
        raise typer.Exit(1)
    password = secrets.token_hex(24)
    topics.admit_site(_need("IEVCC_KAFKA"), site, password)
    key = record.site_key(_master(), site, row[0])
    typer.echo(f'[fog]\nkey = "{key.hex()}"\npassword = "{password}"')


@fog.command("worker")
def worker(group: str = "ievcc-fog") -> None:
    """Take, clean and store parcels until told to stop. Start as many as there is work for."""
    from datahub.fog.worker import Worker

    _log()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    running = Worker(_need("IEVCC_KAFKA"), _need("IEVCC_DSN"), _master(), group)
    running.run(stop.is_set)
    logging.getLogger(__name__).info("%s", running.counts)


@fog.command("intake")
def intake_command(host: str = "127.0.0.1", port: int = 8081) -> None:
    """The door for buildings that only HTTPS can leave; put TLS in front of it."""
    import uvicorn

    from datahub.fog import intake

    _log()
    app = intake.make_app(_need("IEVCC_KAFKA"), _need("IEVCC_DSN"), _master())
    uvicorn.run(app, host=host, port=port, log_level="warning")


@fog.command("letters")
def letters_command(
    as_json: Annotated[bool, typer.Option("--json", help="as JSON, one a line")] = False,
) -> None:
    """The dead letters nobody has replayed yet, one a line."""
    from datahub.fog import deadletter

    for letter, _ in deadletter.letters(_need("IEVCC_KAFKA"), f"ievcc-look-{os.getpid()}"):
        said = {n: getattr(letter, n) for n in ("source", "site", "reason", "why")}
        words = [str(value or "-") for value in said.values()]
        typer.echo(json.dumps(said) if as_json else "\t".join(words))


@fog.command("replay")
def replay(reason: Annotated[str, typer.Argument(help="only these; empty: all")] = "") -> None:
    """Send dead letters through the intake again, after a fix."""
    import psycopg

    from datahub.fog import deadletter, record

    master = _master()
    with psycopg.connect(_need("IEVCC_DSN"), autocommit=True) as db:

        def key_of(site: str) -> bytes | None:
            row = db.execute("SELECT key_version FROM site WHERE name = %s", (site,)).fetchone()
            return None if row is None else record.site_key(master, site, row[0])

        count = deadletter.replay(_need("IEVCC_KAFKA"), reason, key_of)
    typer.echo(f"{count} sent again")


@cloud.command("migrate")
def migrate(to: str = "head") -> None:
    """Bring the database up to this program's version. IEVCC_DSN must own it.

    IEVCC_FOG_PASSWORD, IEVCC_API_PASSWORD and IEVCC_READER_PASSWORD, where given, become the
    passwords of the three roles.
    """
    import psycopg
    from psycopg import sql

    from datahub.cloud import schema

    schema.upgrade(_need("IEVCC_DSN"), to)
    with psycopg.connect(_need("IEVCC_DSN"), autocommit=True) as db:
        for role in ("fog", "api", "reader"):
            password = os.environ.get(f"IEVCC_{role.upper()}_PASSWORD", "")
            if password:
                db.execute(
                    sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                        sql.Identifier(f"ievcc_{role}"), sql.Literal(password)
                    )
                )


@cloud.command("add-site")
def add_site(
    name: str, title: str = "", limit_a: int = 0, timezone: str = "Europe/Madrid"
) -> None:
    """A new building."""
    import psycopg

    with psycopg.connect(_need("IEVCC_DSN"), autocommit=True) as db:
        db.execute(
            "INSERT INTO site (name, title, limit_a, timezone) VALUES (%s, %s, %s, %s)",
            (name, title, limit_a, timezone),
        )


@cloud.command("add-user")
def add_user(
    login: str,
    role: Annotated[str, typer.Option(help="tenant, administrator or operator")],
    site: str = "",
    region: str = "",
    name: str = "",
    password: Annotated[str, typer.Option(prompt=True, hide_input=True)] = "",
) -> None:
    """A person, or another role of one. Tenants are better added by administrators in the
    portal.
    """
    import psycopg

    from datahub.cloud.api import access

    with psycopg.connect(_need("IEVCC_DSN")) as db:
        db.execute(
            "INSERT INTO person (login, password, name) VALUES (lower(%s), %s, %s)"
            " ON CONFLICT (login) DO NOTHING",
            (login, access.hashed(password), name),
        )
        db.execute(
            "INSERT INTO membership (person_id, role, site_id, region_id) SELECT id, %s,"
            " (SELECT id FROM site WHERE name = %s), (SELECT id FROM region WHERE name = %s)"
            " FROM person WHERE login = lower(%s)",
            (role, site, region, login),
        )


@cloud.command("serve")
def serve(host: str = "127.0.0.1", port: int = 8000, insecure_cookie: bool = False) -> None:
    """API and portal. IEVCC_DSN must name the role ievcc_api; put TLS in front of it.

    People of an OpenID provider: IEVCC_OPENID_ISSUER and IEVCC_OPENID_AUDIENCE for tokens at the
    API; IEVCC_OPENID_CLIENT, IEVCC_OPENID_SECRET and IEVCC_PORTAL (its address) for the portal's
    login; IEVCC_OPENID_CLAIM where the login is not the `email`.
    """
    import uvicorn

    from datahub.cloud.api.access import Settings
    from datahub.cloud.api.app import make_app

    _log()
    provider = _provider() if os.environ.get("IEVCC_OPENID_ISSUER") else None
    settings = Settings(_need("IEVCC_DSN"), _master(), provider, secure_cookie=not insecure_cookie)
    uvicorn.run(
        make_app(settings),
        host=host,
        port=port,
        log_level="warning",
        timeout_graceful_shutdown=3,  # managers wait for changes: they ask again elsewhere
    )


@cloud.command("retention")
def retention_command() -> None:
    """Drop what is older than it is kept; once a day."""
    import psycopg

    from datahub.cloud import retention

    with psycopg.connect(_need("IEVCC_DSN")) as db:
        for name in retention.apply(db, datetime.now(UTC)):
            typer.echo(f"dropped {name}")
