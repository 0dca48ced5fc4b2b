"""NTAG 424 DNA: the published message, and what is wrong with every other. Runs under MicroPython, which has AES."""

from firmware.charger import ntag424
from firmware.charger.ntag424 import SunError, cmac, found, opened

ZERO = bytes(16)
# NXP AN12196, chapter "SUN": keys all zero.
PICC = bytes.fromhex("EF963FF7828658A599F3041510671E88")
MAC = bytes.fromhex("94EED9EE65337086")


def wrong(*args):
    try:
        opened(*args)
    except SunError as e:
        return str(e)
    return ""


def test_cmac_as_rfc_4493_has_it():
    key = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
    text = bytes.fromhex(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
        "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
    )
    for size, mac in ((0, "bb1d6929e95937287fa37d129b756746"), (16, "070a16b46b4d4144f79bdd9dd04a287c"),
                      (40, "dfa66747de9ae63030ca32611497c827"), (64, "51f0bebf7e3b9d92fc49741779363cfe")):  # fmt: skip
        assert cmac(key, text[:size]) == bytes.fromhex(mac), size


def test_the_published_message():
    assert opened(ZERO, ZERO, PICC, MAC) == ("04de5f1eacc040", 0x3D)


def test_every_other_is_refused():
    for k in range(8):
        bent = bytearray(MAC)
        bent[k] ^= 1
        assert wrong(ZERO, ZERO, PICC, bytes(bent)) == "cmac"
    for k in range(16):
        bent = bytearray(PICC)
        bent[k] ^= 1
        assert wrong(ZERO, ZERO, bytes(bent), MAC)
    assert wrong(ZERO, b"\x01" + ZERO[1:], PICC, MAC) == "cmac"


def test_the_text_of_a_card():
    text = (
        b"\xd1\x01\x4fU\x04example.org/tap?picc_data="
        b"EF963FF7828658A599F3041510671E88"
        b"&cmac=94EED9EE65337086"
    )
    assert found(text) == (PICC.hex(), MAC.hex())
    assert found(b"") is None
    assert found(b"https://example.org/?a=94EED9EE65337086") is None


def test_a_counter_counts_once():
    class Kept:
        text = None

    ntag424.write_whole = lambda _name, text: setattr(Kept, "text", text)
    counters = ntag424.Counters()
    counters.use("04de5f1eacc040", 61)
    for used in (61, 60, 0):
        try:
            counters.use("04de5f1eacc040", used)
        except SunError:
            continue
        raise AssertionError(used)
    counters.use("04de5f1eacc040", 62)
    assert Kept.text == '{"04de5f1eacc040": 62}'

    class File:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def read(self):
            return Kept.text

    ntag424.open = lambda _name: File()
    counters = ntag424.Counters()  # after a power cut
    try:
        counters.use("04de5f1eacc040", 62)
    except SunError:
        counters.use("04de5f1eacc040", 63)
        return
    raise AssertionError("a message read before the power cut was taken again")
