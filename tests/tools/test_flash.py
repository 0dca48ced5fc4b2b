"""`make flash` with the real esptool, against a mock of both chips' boot loaders on a pty."""

import random
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.real_parts import real_part
from tests.tools.running_make import make
from tools import flash
from tools.board_kinds import KINDS, ToolError

ESP32, ESP8266 = KINDS["charger"], KINDS["energy_meter"]
Loader = Callable[[str], str]


@pytest.fixture
def loader() -> Iterator[Loader]:
    """Starts a chip's boot loader; gives the port it is on."""
    running: list[subprocess.Popen[str]] = []

    def start(chip: str) -> str:
        command = [real_part("esp32-mock-bootloader"), "run", "--pty", "--chip", chip]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout is not None
        for line in process.stdout:
            found = re.search(r"on PTY (\S+)", line)
            if found:
                return found[1]
        raise AssertionError(f"the {chip}'s boot loader did not start")

    yield start
    for process in running:
        process.terminate()
        process.wait(5)


def image(chip: str) -> bytes:
    """An image as a boot loader wants to see it; what follows its header is noise."""
    noise = bytearray(random.Random(1).randbytes(60_000))
    if chip == "esp32":
        noise[:24] = bytes.fromhex(
            "e9010220 00000840 ee000000 0000 00000000000000000000".ljust(48)
        )
        noise[0x7000:0x7002] = b"\xaa\x50"
    else:
        noise[:8] = bytes.fromhex("e9010040 00001040")
    return bytes(noise)


@pytest.fixture
def firmware(tmp_path: Path) -> Callable[[str], Path]:
    def write(chip: str) -> Path:
        path = tmp_path / f"{chip}.bin"
        path.write_bytes(image(chip))
        return path

    return write


@pytest.mark.parametrize("board", ["charger", "energy_meter"])
def test_it_writes_and_reads_back(
    board: str,
    loader: Loader,
    firmware: Callable[[str], Path],
) -> None:
    chip = KINDS[board].chip
    file = firmware(chip)
    at = loader(chip)
    done = make("flash", f"BOARD={board}", f"PORT={at}", f"FIRMWARE={file}", "ERASE=1")
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout
    assert "Flash memory erased" in said
    assert f"Wrote {len(image(chip))} bytes at {KINDS[board].image_at:#010x}" in said
    assert "Verification successful" in said
    assert said.rstrip().endswith("Next: make deploy")


def test_a_difference_in_the_flash_is_noticed(
    loader: Loader, firmware: Callable[[str], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    file, at = firmware("esp32"), loader("esp32")
    flash.flash(ESP32, at, file, erase=True, baud=460800)
    assert "Flash memory erased" in capfd.readouterr().out
    other = bytearray(file.read_bytes())
    other[50_000] ^= 1
    file.write_bytes(other)
    with pytest.raises(ToolError, match="verify-flash failed"):
        flash.esptool(ESP32, at, 460800, "verify-flash", "0x1000", str(file))


def test_an_image_for_the_other_chip_is_doubted_and_esptool_refuses(
    loader: Loader, firmware: Callable[[str], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    at = loader("esp8266")
    arguments = ["--board", "charger", "--port", at, "--firmware"]
    for chip, doubted in (("esp8266", True), ("esp32", False)):
        assert flash.main([*arguments, str(firmware(chip))]) == 1
        said = capfd.readouterr()
        assert ("WARNING" in said.out and "no partition table" in said.out) == doubted
        # esptool asks the chip itself.
        assert "This chip is ESP8266, not ESP32" in said.out + said.err
        assert "esptool write-flash failed" in said.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no board is named: BOARD=charger (ESP32) or BOARD=energy_meter"),
        (["--board", "toaster"], "there is no board 'toaster'"),
        (["--board", "charger"], "no firmware is named: FIRMWARE=file.bin"),
        (["--board", "charger", "--firmware", "{nowhere}"], "cannot read the firmware"),
        (["--board", "charger", "--firmware", "{text}"], "is text, not an image for an ESP"),
        (["--board", "charger", "--firmware", "{empty}"], "is empty, not an image for an ESP"),
        (["--board", "charger", "--firmware", "{elf}"], "is an ELF file; take the .bin"),
        (["--board", "charger", "--firmware", "{good}"], "no port is named: PORT=/dev/ttyUSB0"),
        (
            ["--board", "charger", "--firmware", "{good}", "--port", "{nowhere}"],
            "is it plugged in, with a cable that carries data?",
        ),
    ],
)
def test_what_is_missing_is_said(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {name: tmp_path / name for name in ("nowhere", "text", "empty", "elf", "good")}
    places["text"].write_text("this is not firmware")
    places["empty"].write_bytes(b"")
    places["elf"].write_bytes(b"\x7fELF\xff")
    places["good"].write_bytes(image("esp32"))
    assert flash.main([each.format(**places) for each in arguments]) == 1
    assert words in capsys.readouterr().err
