"""An installation as `ievcc init` makes it, on this computer: mosquitto with that configuration, the
manager over TLS, and parties that come with a certificate, a password, or neither.
"""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from manager import broker
from manager.enrol import Folder
from manager.process import Child
from tests.live.running import Device, Running, until

DEBIAN = """\
pid_file {folder}/mosquitto.pid
persistence true
persistence_location {folder}/
log_dest stderr
include_dir {folder}/conf.d
"""  # /etc/mosquitto/mosquitto.conf of Debian's package, with folders of ours


def _taken(port: int) -> bool:
    return not broker.is_free(port)


def ievcc(*words: str, stdin: str = "", env: dict[str, str] | None = None) -> str:
    """What a command prints; AssertionError with its words if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "manager", *words],
        input=stdin, capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, **(env or {})},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Installed(Running):
    """`ievcc init`, then everything started; `devices` as its arguments."""

    def __init__(
        self, folder: Path, devices: list[str], settings: str = "", broker_settings: str = ""
    ) -> None:
        self.broker_settings = broker_settings
        self.folder = folder / "site"
        self.tls_port, self.plain_port = broker.free_port(), broker.free_port()
        self.port = broker.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.config = self.folder / "site.toml"
        self.made = ievcc("init", str(self.folder), *devices, *self.options())
        text = self.config.read_text().replace("\n[broker]", f"{settings}\n[broker]", 1)
        self.config.write_text(text)
        self.mosquitto = self.start_broker()
        self.manager = self.start_manager()
        self.root = "ievcc/home/"

    def options(self) -> list[str]:
        return [
            "--host", "localhost", "--tls-port", str(self.tls_port), "--plain-port",
            str(self.plain_port), "--web-port", str(self.port), "--listen", "127.0.0.1",
            "--broker-files", str(self.folder / "broker"),
        ]  # fmt: skip

    def start_broker(self) -> Child:
        """As Debian's package starts it, with our file among the others."""
        conf = self.folder / "debian"
        (conf / "conf.d").mkdir(parents=True, exist_ok=True)
        ours = (self.folder / "broker" / "mosquitto.conf").read_text()
        ours += self.broker_settings
        if os.geteuid() == 0:
            ours += "user root\n"  # the user mosquitto may not read what a test makes
        (conf / "conf.d" / "ievcc.conf").write_text(ours)
        (conf / "mosquitto.conf").write_text(DEBIAN.format(folder=conf))
        program = broker.mosquitto()
        assert program
        child = Child(
            "mosquitto", [program, "-c", str(conf / "mosquitto.conf")], self.folder / "broker.log"
        )
        for port in (self.tls_port, self.plain_port):
            until("mosquitto listens", partial(_taken, port))
        assert child.status() is None, child.words()
        return child

    def reload_broker(self) -> None:
        """What ievcc-broker.service does."""
        os.kill(self.mosquitto.pid, 1)
        time.sleep(0.3)

    def key(self, name: str) -> bytes:
        return bytes.fromhex(Folder(self.folder).settings(name)["key"])

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.manager.end()
        self.mosquitto.end()


class Party(Device):
    """Somebody at an installation's broker. By default what the device of this name has: its
    certificate or its password, and its key.
    """

    def __init__(self, site: Installed, name: str, boot: int = 1, **how: Any) -> None:
        settings = Folder(site.folder).settings(name)
        self.as_user = str(how.pop("user", settings.get("broker_user", "")))
        self.password = str(how.pop("password", settings.get("broker_password", "")))
        self.certificate: tuple[Path, Path] | None = how.pop("certificate", None)
        if self.certificate is None and (site.folder / "devices" / name / "cert.der").exists():
            self.certificate = pem(site.folder, name)
        key = how.pop("key", bytes.fromhex(settings.get("key", "")) or None)
        self.site = site
        super().__init__(site, name, boot, key, **how)

    def _client(self, name: str) -> paho.Client:
        client = paho.Client(CallbackAPIVersion.VERSION2, name)
        if self.as_user:
            client.username_pw_set(self.as_user, self.password)
        else:
            context = ssl.create_default_context(cafile=str(self.site.folder / "broker/ca.crt"))
            if self.certificate:
                context.load_cert_chain(*self.certificate)
            client.tls_set_context(context)
        return client

    def _connect(self) -> None:
        port = self.site.plain_port if self.as_user else self.site.tls_port
        self.client.connect("localhost", port, 15)


def pem(folder: Path, name: str) -> tuple[Path, Path]:
    """A device's certificate and key as OpenSSL reads them."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    place = folder / "devices" / name
    out = folder / f"{name}.crt", folder / f"{name}.key"
    cert = x509.load_der_x509_certificate((place / "cert.der").read_bytes())
    out[0].write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    key = serialization.load_der_private_key((place / "key.der").read_bytes(), None)
    out[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return out


def board(site: Installed, kind: str, name: str, **changes: Any) -> tuple[list[str], Path]:
    """The command that runs a simulated board with what `devices/<name>` holds, and its flash."""
    flash = site.folder / f"{name}.flash"
    flash.mkdir()
    for file in (site.folder / "devices" / name).glob("*.der"):
        (flash / file.name).write_bytes(file.read_bytes())
    config = site.folder / f"{name}.json"
    settings = Folder(site.folder).settings(name)
    config.write_text(
        json.dumps({**settings, "wifi_ssid": "bench", "repl_window_ms": 0, **changes})
    )
    command = [sys.executable, "-m", "manager", "board", kind, "--config", str(config)]
    return [*command, "--fs", str(flash)], flash
