"""`ievcc devices provision PORT`: make a board on a USB port a device of this site, with a key of its own.

The key is made here, goes onto the board and into the site file, and is never printed. What the
board had set before stays, unless it is set anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from manager.asking import SITE_FILE, Config, NoAnswer, address, ask
from manager.refusal import Refusal
from manager.site_file import SiteFile, SiteFileError, load, parse
from shared.protocol import is_device_name

KEY_BYTES = 16
_PATIENCE_S = 60
_HERE = ("127.0.0.1", "localhost", "0.0.0.0", "::1", "")  # noqa: S104 - not an address a board reaches


class ProvisionError(Exception):
    """The board could not be made a device of this site: what is wrong and how to mend it."""


def mpremote(port: str, *command: str) -> str:
    """What mpremote says. ProvisionError if it fails."""
    program = shutil.which("mpremote", path=sysconfig.get_path("scripts")) or shutil.which(
        "mpremote"
    )
    if program is None:
        raise ProvisionError("mpremote is missing: pip install 'ievcc-manager[boards]'")
    try:
        done = subprocess.run(
            [program, "connect", port, *command],
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ProvisionError(
            f"the board on {port} does not answer: reset it and try again"
        ) from None
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()
        raise ProvisionError(f"mpremote on {port}: {last[-1] if last else 'failed'}")
    return done.stdout


def settings_on(port: str) -> dict[str, Any]:
    """The board's settings; none if it has no file. ProvisionError if it is not what a board writes."""
    code = "try:\n print(open('config.json').read())\nexcept OSError:\n print('{}')"
    try:
        found = json.loads(mpremote(port, "exec", code))
    except ValueError:
        raise ProvisionError(
            "the board's config.json is damaged: deploy with CONFIG= first"
        ) from None
    if not isinstance(found, dict):
        raise ProvisionError(
            "the board's config.json is no JSON object: deploy with CONFIG= first"
        )
    return found


def write_settings(port: str, settings: dict[str, Any]) -> None:
    """Put them onto the board whole, look that they are there, and restart it."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:  # readable by its owner only
        json.dump(settings, file)
        file.flush()
        mpremote(port, "cp", file.name, ":config.new")
    mpremote(port, "exec", "import os; os.rename('config.new', 'config.json')")
    if settings_on(port) != settings:
        raise ProvisionError("the board does not hold what was written to it: try again")
    mpremote(port, "reset")


def with_device(text: str, name: str, key: str) -> str:
    """The site file with this device added at its end. SiteFileError if it could not be read then."""
    entry = f'[[device]]\nid = "{name}"\nkey = "{key}"\n'
    new = text.rstrip("\n") + "\n\n" + entry
    parse(new)
    return new


def key_of(site: SiteFile, name: str) -> str:
    """The device's key in the site file, "" if it is not listed. ProvisionError if it is, unsigned."""
    listed = site.devices.get(name)
    if listed is None:
        return ""
    if not listed.key:
        raise ProvisionError(
            f"{name} is in the site file without a key: give it one, or take it out"
        )
    return listed.key.hex()


def pairs(words: list[str]) -> dict[str, Any]:
    """name=value words as settings; numbers as numbers. ProvisionError for a word that is none."""
    found: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.isidentifier():
            raise ProvisionError(f"--set {word}: write name=value")
        found[name] = int(value) if value.isdecimal() and name != "wifi_password" else value
    return found


def _replace(path: Path, text: str) -> None:
    new = path.with_name(path.name + ".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    new.replace(path)


def make_device(
    port: str, name: str, counter: str, broker: str, config: Path, more: dict[str, Any]
) -> None:
    """Make the board on `port` the device `name` of the site in `config`.

    Raises:
        ProvisionError, SiteFileError: nothing, or only the board, was changed.
    """
    if not is_device_name(name):
        raise ProvisionError(f"{name!r} is no name: letters, digits, - and _, at most 24")
    site = load(config)
    if (config.resolve().parent / "authority").is_dir():
        _installed(port, name, counter, broker, config, more)
        return
    host = broker or site.broker.host
    if host in _HERE:
        raise ProvisionError(
            "the board needs the broker's address in the network: --broker 192.168.1.10"
        )
    key = key_of(site, name)
    text = ""
    if not key:
        key = secrets.token_hex(KEY_BYTES)
        text = with_device(config.read_text(), name, key)
    settings = settings_on(port) | {"id": name, "site": site.site.settings.name, "key": key}
    settings |= {"broker_host": host, "broker_port": site.broker.port}
    if counter:
        settings["counter"] = counter
    write_settings(port, settings | more)
    if text:
        _replace(config, text)


def _installed(
    port: str, name: str, counter: str, broker: str, config: Path, more: dict[str, Any]
) -> None:
    """As `make_device`, where `ievcc init` was: with the certificate or the password made there."""
    from manager.enrol import Folder, enrol  # noqa: PLC0415 - cryptography is slow to import
    from manager.init import hosts_of, ports_of  # noqa: PLC0415

    folder = Folder(config.resolve().parent)
    tls, plain = ports_of(folder)
    hosts = (broker,) if broker else hosts_of(folder)
    enrol(folder, name, counter, hosts=hosts, tls_port=tls, plain_port=plain)
    settings = settings_on(port) | folder.settings(name) | more
    for file in sorted((folder.devices / name).glob("*.der")):
        mpremote(port, "cp", str(file), f":{file.name}")
    write_settings(port, settings | ({"broker_host": broker} if broker else {}))


def provision(
    port: Annotated[str, typer.Argument(help="the board's USB port, as /dev/ttyUSB0")],
    name: Annotated[str, typer.Option("--id", help="what the device will be called")],
    counter: Annotated[str, typer.Option(help="the meter a charger hangs under")] = "",
    broker: Annotated[str, typer.Option(help="the broker's address as the board sees it")] = "",
    config: Config = SITE_FILE,
    more: Annotated[
        list[str] | None, typer.Option("--set", help="another setting, name=value")
    ] = None,
) -> None:
    """Make a board on a USB port a device of this site, with a key of its own."""
    try:
        make_device(port, name, counter, broker, config, pairs(more or []))
    except (ProvisionError, SiteFileError, OSError) as e:
        raise Refusal(str(e)) from e
    typer.echo(f"{name} is a device of this site now, and its board is restarting")
    # A manager that runs hears of it now, one that does not when it starts.
    with contextlib.suppress(NoAnswer):
        key = load(config).devices[name].key.hex()
        typer.echo(
            ask(f"{address(config, '')}/api/devices/{name}/authorise", {"key": key})["words"]
        )
