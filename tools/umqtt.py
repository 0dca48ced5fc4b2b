"""Fetch umqtt.simple into .deps/, for the boards that are simulated.

A real board carries it frozen in its firmware. The simulated ones need the file, and pip cannot
install it: its source distribution has no setup.py. So it is downloaded by name and version and
checked against its known SHA-256.
"""

import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

REQUIREMENT = "micropython-umqtt.simple==1.3.4"
SHA256 = "b6a2520239e3992c63a7de9370ee9b3d9d27819a90359c521f1c0f7ccab8d12f"
MEMBER = "micropython-umqtt.simple-1.3.4/umqtt/simple.py"
DEPS = Path(__file__).resolve().parent.parent / ".deps"


class FetchError(Exception):
    """The file could not be had, or is not the one that is known."""


def unpack(archive: Path, into: Path) -> Path:
    """Check the archive and put umqtt/simple.py below `into`; the path of the file."""
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != SHA256:
        raise FetchError(f"{archive.name} has SHA-256 {digest}, expected {SHA256}: not used")
    with tarfile.open(archive) as tar:
        member = tar.extractfile(MEMBER)
        if member is None:
            raise FetchError(f"{archive.name} holds no file {MEMBER}")
        source = member.read()
    target = into / "umqtt" / "simple.py"
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    part.write_bytes(source)
    part.replace(target)
    return target


def fetch(into: Path = DEPS) -> Path:
    """Download, check and unpack; nothing is downloaded when the file is there already.

    Raises:
        FetchError: the download failed or its checksum is another.
    """
    target = into / "umqtt" / "simple.py"
    if target.exists():
        return target
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "unearth", *_index(), REQUIREMENT, "--download", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        try:
            archive = Path(json.loads(done.stdout)["local_path"])
        except (ValueError, KeyError, TypeError):
            words = (done.stderr or done.stdout).strip().splitlines() or ["no answer"]
            raise FetchError(f"downloading {REQUIREMENT} failed: {words[-1]}") from None
        return unpack(archive, into)


def _index() -> list[str]:
    """The package index pip is set to on this machine, if it is set at all."""
    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    address = done.stdout.strip()
    return ["--index-url", address] if done.returncode == 0 and address else []


def main() -> int:
    try:
        target = fetch()
    except FetchError as error:
        print(f"umqtt.simple: {error}", file=sys.stderr)
        return 1
    print(f"umqtt.simple: {target.relative_to(DEPS.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
