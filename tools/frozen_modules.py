"""Fetch into .deps/ the modules that the boards' images carry frozen, for the simulated boards.

A real board has them. The simulated ones need the files, and pip cannot install them: their source
distributions have no setup.py. So they are downloaded by name and version and checked against
their known SHA-256.
"""

import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

DEPS = Path(__file__).resolve().parent.parent / ".deps"


class FetchError(Exception):
    """The file could not be had, or is not the one that is known."""


@dataclass(frozen=True)
class FrozenModule:
    """One file of a source distribution; `path` is its place there and in .deps/."""

    name: str
    version: str
    sha256: str
    path: str

    @property
    def requirement(self) -> str:
        """As a package index knows it."""
        return f"{self.name}=={self.version}"

    def unpack(self, archive: Path, into: Path) -> Path:
        """Check the archive and put the file below `into`; where it is now.

        Raises:
            FetchError: it is another archive than the known one.
        """
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        if digest != self.sha256:
            raise FetchError(
                f"{archive.name} has SHA-256 {digest}, expected {self.sha256}: not used"
            )
        with tarfile.open(archive) as tar:
            member = tar.extractfile(f"{self.name}-{self.version}/{self.path}")
            if member is None:
                raise FetchError(f"{archive.name} holds no file {self.path}")
            source = member.read()
        target = into / self.path
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(".part")
        part.write_bytes(source)
        part.replace(target)
        return target

    def fetch(self, into: Path = DEPS) -> Path:
        """Download, check and unpack; nothing is downloaded when the file is there already.

        Raises:
            FetchError: the download failed or its checksum is another.
        """
        target = into / self.path
        if target.exists():
            return target
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "unearth", *_index(), self.requirement]
            done = subprocess.run(
                [*command, "--download", folder], capture_output=True, text=True, check=False
            )
            try:
                archive = Path(json.loads(done.stdout)["local_path"])
            except (ValueError, KeyError, TypeError):
                words = (done.stderr or done.stdout).strip().splitlines() or ["no answer"]
                raise FetchError(f"downloading failed: {words[-1]}") from None
            return self.unpack(archive, into)


UMQTT = FrozenModule(
    "micropython-umqtt.simple",
    "1.3.4",
    "b6a2520239e3992c63a7de9370ee9b3d9d27819a90359c521f1c0f7ccab8d12f",
    "umqtt/simple.py",
)
SSD1306 = FrozenModule(
    "micropython-ssd1306",
    "0.3",
    "d00cae1ff680e6ae504e258e700f002874b0d924b1a604253b6ea63144b58289",
    "ssd1306.py",
)


def _index() -> list[str]:
    """The package index pip is set to on this machine, if it is set at all."""
    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    address = done.stdout.strip()
    return ["--index-url", address] if done.returncode == 0 and address else []


def main() -> int:
    for module in (UMQTT, SSD1306):
        try:
            module.fetch()
        except FetchError as error:
            print(f"{module.requirement}: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
