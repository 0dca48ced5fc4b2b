"""`make demo-cloud` where something is missing: it says what, and how to get it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.real_parts import real_part

ROOT = Path(__file__).parent.parent.parent


def told(folder: Path, *programs: str) -> str:
    """What it says on a machine that has `programs` and no Kafka jars; it must not start."""
    for program in programs:
        (folder / program).write_text("#!/bin/sh\n")
        (folder / program).chmod(0o755)
    environment = {
        **os.environ, "PATH": str(folder), "IEVCC_KAFKA_LIBS": str(folder / "no-jars"),
    }  # fmt: skip
    command = [sys.executable, "-m", "simulator.demo_cloud", "--minutes", "0.01"]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    assert "starting" not in done.stdout
    return done.stderr


def test_without_java_it_names_java_and_maven(tmp_path: Path) -> None:
    words = told(tmp_path, "openssl")
    assert "no Java" in words
    assert "apt install openjdk-17-jre-headless" in words
    assert "no Maven" in words
    assert "apt install maven" in words
    assert "make kafka" in words


def test_with_java_alone_it_names_maven(tmp_path: Path) -> None:
    words = told(tmp_path, "openssl", "java")
    assert "no Java" not in words
    assert "apt install maven" in words


def test_with_both_it_says_how_to_fetch_kafka(tmp_path: Path) -> None:
    words = told(tmp_path, "openssl", "java", "mvn")
    assert re.search(r"no Kafka jars: `make kafka`", words)
    assert "apt install" not in words


def test_make_says_the_same_and_ends_with_an_error(tmp_path: Path) -> None:
    """The very recipe, on a PATH without them."""
    lacking = ("java", "mvn")
    make, _ = real_part("make"), real_part("openssl")
    for place in os.environ["PATH"].split(os.pathsep):
        for program in sorted(Path(place).glob("*")) if Path(place).is_dir() else ():
            if program.name not in lacking and not (tmp_path / program.name).exists():
                (tmp_path / program.name).symlink_to(program)
    environment = {
        **os.environ, "PATH": str(tmp_path), "IEVCC_KAFKA_LIBS": str(tmp_path / "no-jars"),
    }  # fmt: skip
    done = subprocess.run(
        [make, "demo-cloud", "ARGS=--minutes 0.01"],
        env=environment, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    for words in ("openjdk-17-jre-headless", "apt install maven"):
        assert words in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert "setup" not in done.stdout + done.stderr, "it says so before it sets up anything"
