"""Settings: checked by their table, replaced whole or not at all."""

import json
import os

from firmware.common.config import Config, ConfigError, raise_boot, write_whole

ROWS = ("role:e:0:grid|solar:grid", "limit_a:i:6:32:16", "pin:s:0:8:")


def refusal(call, *args):
    try:
        call(*args)
    except ConfigError as e:
        return e.what, e.name
    return None


def put(text):
    with open("config.json", "w") as f:
        f.write(text)


def clean():
    for name in os.listdir():
        if name.startswith(("config", "boot")):
            os.remove(name)


def test_without_a_file_every_setting_has_its_default():
    clean()
    c = Config(ROWS)
    assert c["role"] == "grid"
    assert c["limit_a"] == 16
    assert c["pin"] == ""
    assert c["id"] == ""
    assert c["broker_port"] == 1883
    assert "wifi_password" in c.names()


def test_a_change_is_there_after_the_next_start_and_foreign_settings_stay():
    clean()
    put('{"other_board": 5, "limit_a": 10}')
    c = Config(ROWS)
    assert c["limit_a"] == 10
    c.change({"limit_a": 20, "id": "Counter-1", "role": "solar"})
    c = Config(ROWS)
    assert (c["limit_a"], c["id"], c["role"]) == (20, "Counter-1", "solar")
    with open("config.json") as f:
        assert json.load(f)["other_board"] == 5


def test_numbers_may_come_as_text():
    clean()
    c = Config(ROWS)
    c.change({"limit_a": "12"})
    assert c["limit_a"] == 12


def test_what_the_table_refuses_changes_nothing():
    clean()
    c = Config(ROWS)
    for name, value in (
        ("limit_a", 5),
        ("limit_a", 33),
        ("limit_a", "x"),
        ("limit_a", True),
        ("limit_a", 6.5),
        ("limit_a", None),
        ("role", "house"),
        ("role", 1),
        ("pin", "123456789"),
        ("id", "a b"),
        ("id", "a/b"),
        ("id", "x" * 25),
        ("site", ""),
        ("key", "0g"),
        ("key", "0"),
        ("key", "00" * 65),
        ("broker_port", 0),
        ("broker_port", 65536),
        ("wifi_ssid", "x" * 33),
        ("wifi_ssid", []),
    ):
        assert refusal(c.change, {"pin": "new", name: value}) == ("value", name), (name, value)
    assert refusal(c.change, {"colour": 1}) == ("unknown", "colour")
    assert refusal(lambda: c["colour"]) == ("unknown", "colour")
    assert c["pin"] == ""
    assert Config(ROWS)["pin"] == ""


def test_a_file_that_is_none_is_named():
    for text, what in (
        ("", ("unreadable", "")),
        ("{", ("unreadable", "")),
        ("[]", ("unreadable", "")),
        ('{"limit_a": 99}', ("value", "limit_a")),
    ):
        put(text)
        assert refusal(Config, ROWS) == what, text


def test_keys_and_passwords_are_never_shown():
    clean()
    c = Config(ROWS)
    assert c.shown("key") == ""
    c.change({"key": "00ff", "pin": "1234", "wifi_password": "secret"})
    for name in ("key", "pin", "wifi_password"):
        assert c.is_secret(name)
        assert c.shown(name) == "***"
    assert c.shown("limit_a") == 16


def test_a_power_cut_while_writing_leaves_the_old_file():
    clean()
    write_whole("config.json", '{"limit_a": 7}')
    with open("config.json.tmp", "w") as f:
        f.write('{"limit')  # the cut
    assert Config(ROWS)["limit_a"] == 7


def test_the_boot_number_rises_even_if_one_of_its_files_is_lost():
    clean()
    assert [raise_boot(), raise_boot(), raise_boot()] == [1, 2, 3]
    os.remove("boot")
    assert raise_boot() == 4
    with open("boot.bak", "w") as f:
        f.write("not a number")
    assert raise_boot() == 5
