"""`ievcc init`: an installation's files, made once: authority, broker, devices, site file, systemd.

Run again it makes what is missing and leaves what is there. Nothing here needs root; what does is
said at the end.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import socket
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from manager import access, authority, unit
from manager.enrol import PASSWORD_BYTES, SECRET, SHOWN, Folder, enrol, replace, write_new
from manager.refusal import Refusal
from manager.site_file import SiteFileError, parse
from manager.web.guard import is_loopback
from shared.protocol import is_device_name

BROKER_FILES = Path("/etc/mosquitto/ievcc")
WEB_FILES = 'certificate = "web.crt"\nkey = "web.key"\n'
RENEW_DAYS = 90  # a certificate that ends within them is made anew by `ievcc init --renew`


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the installation is to be."""

    name: str = "home"
    limit_a: float = 30
    phases: int = 1
    timezone: str = ""
    hosts: tuple[str, ...] = ()
    web_host: str = "127.0.0.1"
    web_port: int = 8080
    tls_port: int = access.TLS_PORT
    plain_port: int = access.PLAIN_PORT
    listen: str = ""  # the broker's own address, "" for all
    broker_files: Path = BROKER_FILES
    user: str = "ievcc"
    program: Path = Path("/opt/ievcc/bin/ievcc")


def site_file(wanted: Wanted) -> str:
    """The site file to begin with. A page that others see is HTTPS: they log in with passwords."""
    https = "" if is_loopback(wanted.web_host) else WEB_FILES
    zone = f'timezone = "{wanted.timezone}"\n' if wanted.timezone else ""
    return f"""\
# Made by `ievcc init`; docs/manager.md says what else can stand here.
[site]
name = "{wanted.name}"
limit_a = {wanted.limit_a:g}
phases = {wanted.phases}
policy = "fair"
{zone}
[broker]
host = "localhost"
port = {wanted.tls_port}
ca = "authority/ca.crt"
certificate = "manager.crt"
key = "manager.key"

[web]
host = "{wanted.web_host}"
port = {wanted.web_port}
{https}
[store]
path = "ievcc.db"
"""


def lay_out(folder: Folder, wanted: Wanted) -> list[str]:
    """Make what is missing; what was made, a line each. Refusal for what cannot be."""
    _check(wanted)
    now = datetime.now(UTC)
    try:
        folder.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for inner in (folder.ca.parent, folder.broker, folder.devices, folder.units):
            inner.mkdir(mode=0o700, exist_ok=True)
        made: list[str] = []
        _authority(folder, wanted, now, made)
        _broker(folder, wanted, now, made)
        _manager(folder, wanted, now, made)
        _page(folder, wanted, now, made)
        _new(folder.path / "hosts.json", json.dumps(wanted.hosts) + "\n", made)
        u = folder.units
        _new(u / "ievcc.service", unit.service(wanted.program, folder.path, wanted.user), made)
        handing = unit.broker_service(folder.broker, wanted.broker_files)
        _new(u / "ievcc-broker.service", handing, made)
        _new(u / "ievcc-broker.path", unit.broker_path(folder.broker), made)
    except OSError as e:
        raise Refusal(
            f"cannot write to {folder.path} ({e.strerror}): run this as the user that will run the "
            "manager, who owns the folder"
        ) from e
    return made


def _new(path: Path, data: bytes | str, made: list[str], mode: int = SHOWN) -> None:
    if write_new(path, data, mode):
        made.append(str(path))


def _pair(certificate: Path, key: Path, credential: authority.Credential, made: list[str]) -> None:
    # The key first: a certificate without its key is found and said, the other way round is mended.
    replace(key, credential.key, SECRET)
    replace(certificate, credential.certificate, SHOWN)
    made += [str(certificate), str(key)]


def _authority(folder: Folder, wanted: Wanted, now: datetime, made: list[str]) -> None:
    if folder.ca.exists() and folder.ca_key.exists():
        return
    if folder.ca.exists() or folder.ca_key.exists():
        raise Refusal(
            f"of the authority in {folder.ca.parent} one file is missing: restore it from a backup. "
            "With a new authority every board has to be set up again"
        )
    _pair(folder.ca, folder.ca_key, authority.make_authority(wanted.name, now), made)


def _broker(folder: Folder, wanted: Wanted, now: datetime, made: list[str]) -> None:
    b = folder.broker
    _new(b / "ca.crt", folder.ca.read_bytes(), made)
    if not ((b / "broker.crt").exists() and (b / "broker.key").exists()):
        issued = authority.issue(folder.authority(), "broker", now, names_of(wanted.hosts))
        _pair(b / "broker.crt", b / "broker.key", issued, made)
    _new(b / "acl", access.rules(wanted.name, ()), made, SECRET)
    home = secrets.token_urlsafe(PASSWORD_BYTES)
    line = access.password_line(access.HOME_ASSISTANT, home, secrets.token_bytes(12))
    if write_new(b / "passwords", line + "\n", SECRET):
        made.append(str(b / "passwords"))
        _new(folder.home_password, home + "\n", made, SECRET)
    files = wanted.broker_files
    conf = access.configuration(files, wanted.tls_port, wanted.plain_port, wanted.listen)
    _new(b / "mosquitto.conf", conf, made)


def _manager(folder: Folder, wanted: Wanted, now: datetime, made: list[str]) -> None:
    certificate, key = folder.path / "manager.crt", folder.path / "manager.key"
    if not (certificate.exists() and key.exists()):
        issued = authority.issue(folder.authority(), access.MANAGER, now)
        _pair(certificate, key, issued, made)
    _new(folder.site_file, site_file(wanted), made, SECRET)


def _page(folder: Folder, wanted: Wanted, now: datetime, made: list[str]) -> None:
    certificate, key = folder.path / "web.crt", folder.path / "web.key"
    if not (certificate.exists() and key.exists()):
        issued = authority.issue(folder.authority(), "page", now, names_of(wanted.hosts))
        _pair(certificate, key, issued, made)


def names_of(hosts: Sequence[str]) -> tuple[str, ...]:
    """The broker's certificate is for these, and for the manager beside it."""
    return tuple(dict.fromkeys((*hosts, "localhost", "127.0.0.1")))


def renew(folder: Folder, hosts: Sequence[str]) -> list[str]:
    """Make anew the broker's and the manager's certificates if they end soon."""
    now = datetime.now(UTC)
    made: list[str] = []
    for certificate, name in (
        (folder.broker / "broker.crt", "broker"),
        (folder.path / "manager.crt", access.MANAGER),
        (folder.path / "web.crt", "page"),
    ):
        if authority.expires(certificate.read_bytes()) - now < timedelta(days=RENEW_DAYS):
            of = () if name == access.MANAGER else names_of(hosts)
            issued = authority.issue(folder.authority(), name, now, of)
            _pair(certificate, certificate.with_suffix(".key"), issued, made)
    return made


def _check(wanted: Wanted) -> None:
    if not is_device_name(wanted.name):
        raise Refusal(f"--name {wanted.name!r}: letters, digits, - and _, at most 24")
    if not wanted.hosts:
        raise Refusal("say with --host under which name or address boards reach this computer")
    for host in wanted.hosts:
        if not re.fullmatch(r"[A-Za-z0-9.:-]{1,64}", host):
            raise Refusal(f"--host {host!r} is neither a name nor an address")
    try:
        parse(site_file(wanted))
    except SiteFileError as e:
        raise Refusal(str(e)) from e


def here() -> tuple[str, ...]:
    """This computer's name, and its address in the network."""
    name = socket.gethostname()
    found = [name if "." in name else f"{name}.local"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.1", 9))  # for documentation, RFC 5737: nothing is sent
            found.append(s.getsockname()[0])
        except OSError:
            pass
    return tuple(found)


def hosts_of(folder: Folder) -> tuple[str, ...]:
    """What `init` was told boards reach the broker by; what it would guess if it was not."""
    try:
        kept = json.loads((folder.path / "hosts.json").read_text())
        return tuple(str(host) for host in kept)
    except (OSError, ValueError, TypeError):
        return here()


def ports_of(folder: Folder) -> tuple[int, int]:
    """The broker's two doors, by its configuration: TLS, plain."""
    try:
        text = (folder.broker / "mosquitto.conf").read_text()
    except OSError:
        text = ""
    found = [int(n) for n in re.findall(r"^listener (\d+)", text, re.MULTILINE)]
    return (found[0], found[1]) if len(found) == 2 else (access.TLS_PORT, access.PLAIN_PORT)


def next_steps(folder: Folder, user: str, broker_files: Path) -> str:
    """What is left to be done, as commands."""
    f = folder.path
    return f"""
Next:
  1. give the folder to the manager's user, if it is not its own:
       sudo adduser --system --group --no-create-home --home {f} {user}
       sudo chown -R {user}: {f}
  2. hand mosquitto its configuration (to {broker_files}), now and whenever a device is added:
       sudo apt install mosquitto
       sudo cp {folder.units}/ievcc* /etc/systemd/system/ && sudo systemctl daemon-reload
       sudo systemctl enable --now ievcc-broker.path && sudo systemctl start ievcc-broker
  3. start the manager, and let it start by itself:
       sudo systemctl enable --now ievcc
  4. give yourself an account:
       sudo -u {user} ievcc accounts add NAME --role administrator --config {folder.site_file}
  5. put each device's files onto its board: ievcc devices provision
  6. look whether all is well: sudo -u {user} ievcc doctor --config {folder.site_file}
  7. for Home Assistant: its user at the broker is homeassistant, with the password in
       {folder.home_password}
  8. keep a backup where this computer's disk is not: ievcc backup FILE
"""


def init(
    folder: Annotated[
        Path, typer.Argument(help="where everything is to be", file_okay=False)
    ] = Path(),
    name: Annotated[str, typer.Option(help="of the site")] = "home",
    limit: Annotated[float, typer.Option(min=1, help="A per phase, as in the contract")] = 30,
    phases: Annotated[int, typer.Option(min=1, max=3)] = 1,
    timezone: Annotated[str, typer.Option(help="as Europe/Lisbon")] = "",
    host: Annotated[
        list[str] | None,
        typer.Option(help="a name or address under which boards reach this computer, best first"),
    ] = None,
    meter: Annotated[list[str] | None, typer.Option(help="enrol a meter")] = None,
    charger: Annotated[list[str] | None, typer.Option(help="enrol a charger, NAME@METER")] = None,
    web_host: Annotated[
        str, typer.Option(help="where the page is shown; 0.0.0.0: in the whole network")
    ] = "127.0.0.1",
    web_port: Annotated[int, typer.Option(min=0, max=65535)] = 8080,
    tls_port: Annotated[int, typer.Option(help="the broker's, for chargers")] = access.TLS_PORT,
    plain_port: Annotated[
        int, typer.Option(help="the broker's, for ESP8266 meters")
    ] = access.PLAIN_PORT,
    listen: Annotated[str, typer.Option(help="the broker's own address; left out: all")] = "",
    broker_files: Annotated[
        Path, typer.Option(help="where mosquitto will find its files")
    ] = BROKER_FILES,
    user: Annotated[str, typer.Option(help="whom the manager will run as")] = "ievcc",
    renewing: Annotated[
        bool, typer.Option("--renew", help="make certificates anew that end within 90 days")
    ] = False,
) -> None:
    """Make an installation's certificates, broker configuration, keys, site file and service."""
    place = Folder(folder.resolve())
    hosts = tuple(host or ()) or hosts_of(place)
    wanted = Wanted(
        name, limit, phases, timezone, hosts, web_host, web_port, tls_port, plain_port, listen,
        broker_files, user, _program(),
    )  # fmt: skip
    made = lay_out(place, wanted)
    if renewing:
        made += renew(place, hosts)
    doors = ports_of(place)
    pairs = [(m, "") for m in meter or []]
    for word in charger or []:
        device, at, counter = word.partition("@")
        if not at or not counter:
            raise Refusal(f"--charger {word}: write NAME@METER, the meter it hangs under")
        pairs.append((device, counter))
    for device, counter in pairs:
        words = enrol(place, device, counter, hosts=hosts, tls_port=doors[0], plain_port=doors[1])
        if words:
            made.append(words)
    for line in made:
        typer.echo(f"made {line}" if line.startswith("/") else line)
    if not made:
        typer.echo("everything was there")
    typer.echo(next_steps(place, user, broker_files))


def _program() -> Path:
    found = Path(sysconfig.get_path("scripts")) / "ievcc"
    if found.exists():
        return found
    return Path(shutil.which("ievcc") or sys.argv[0]).resolve()
