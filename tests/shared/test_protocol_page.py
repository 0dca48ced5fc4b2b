"""docs/protocol.md says what the table says."""

from shared import protocol
from tools import protocol_page


def test_the_page_is_current() -> None:
    assert protocol_page.PAGE.read_text() == protocol_page.page(), "run `make docs`"


def test_every_message_and_field_is_explained() -> None:
    messages, fields = protocol_page.comments()
    for code, name, _, _ in protocol.MESSAGES:
        assert messages[name]
        for field, *_ in protocol.fields(code):
            assert field in ("re_boot", "re_seq") or (name, field) in fields, (name, field)
