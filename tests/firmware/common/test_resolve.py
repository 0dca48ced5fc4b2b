"""Look-ups: DNS questions and answers as RFC 1035 has them."""

from firmware.common import resolve

# A question for broker.lan, and an answer to it: an alias, then its address (made by hand).
QUESTION = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x06broker\x03lan\x00\x00\x01\x00\x01"
ALIAS = b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x05\x02pi\xc0\x13"
ADDRESS = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\xa8\x01\x05"
ANSWER = b"\x12\x34\x81\x80\x00\x01\x00\x02\x00\x00\x00\x00" + QUESTION[12:] + ALIAS + ADDRESS


def test_four_numbers_need_no_question():
    for text in ("192.168.1.5", "0.0.0.0", "255.255.255.255"):  # noqa: S104
        assert resolve.is_address(text), text
    for text in ("broker", "1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.x", "1.2..4", ""):
        assert not resolve.is_address(text), text


def test_question():
    assert resolve.question("broker.lan", 0x1234) == QUESTION
    for bad in ("", "a..b", ".", "x" * 64):
        try:
            resolve.question(bad, 1)
            said = ""
        except ValueError as e:
            said = str(e)
        assert "host name" in said, bad


def test_answer():
    assert resolve.answer(ANSWER, 0x1234) == "192.168.1.5"
    assert resolve.answer(ANSWER, 0x1235) == ""  # to another question
    assert resolve.answer(QUESTION, 0x1234) == ""  # not an answer


def test_no_such_name_is_an_error_and_a_cut_answer_is_none():
    for data in (
        QUESTION[:2] + b"\x81\x83" + QUESTION[4:],  # name error
        QUESTION[:2] + b"\x81\x80" + QUESTION[4:],  # no error, and no address
    ):
        try:
            resolve.answer(data, 0x1234)
            number = 0
        except OSError as e:
            number = e.args[0]
        assert number == -2
    for size in range(len(ANSWER)):
        assert resolve.answer(ANSWER[:size], 0x1234) == "", size


def test_localhost_is_known():
    assert resolve.resolve("localhost", "0.0.0.0", 10) == "127.0.0.1"  # noqa: S104
    assert resolve.resolve("10.0.0.7", "0.0.0.0", 10) == "10.0.0.7"  # noqa: S104
