"""What is posted to emoncms, and where."""

from firmware.energy_meter.emoncms import form, split_address

LOAD = {
    "current_ma": [3045, 0],
    "voltage_dv": [2301, 2299],
    "power_w": [700, 0],
    "energy_wh": [12_345, 1],
}


def test_addresses():
    for text, want in (
        ("192.168.1.5", ("192.168.1.5", 80, "")),
        ("http://emon.lan:8080/emoncms", ("emon.lan", 8080, "/emoncms")),
        ("emon.lan/emoncms/", ("emon.lan", 80, "/emoncms")),
        ("http://emon.lan/", ("emon.lan", 80, "")),
    ):
        assert split_address(text) == want, text


def test_what_is_no_address_is_refused():
    for text in ("https://emon.lan", "", "http://", ":80", "a:0", "a:x", "a:70000"):
        try:
            split_address(text)
            said = False
        except ValueError:
            said = True
        assert said, text


def test_the_form_carries_every_phase_in_whole_units():
    text = form("meter1", LOAD)
    assert text.startswith("node=meter1&fulljson=%7B%22power1%22%3A700%2C")
    for part in ("current1%22%3A3.045", "voltage1%22%3A230.1", "voltage2%22%3A229.9"):
        assert part in text
    for part in ("energy1%22%3A12345", "current2%22%3A0.000"):
        assert part in text
    for letter in '{}",: ':
        assert letter not in text
