"""The set-up page's forms and texts."""

from firmware.common.portal import escaped, form_fields, unquoted


def test_what_was_typed():
    for coded, plain in (
        ("home", "home"),
        ("my+home", "my home"),
        ("a%2Bb%26c%3D%25", "a+b&c=%"),
        ("caf%C3%A9", "café"),
        ("100%", "100%"),
    ):
        assert unquoted(coded) == plain, coded


def test_a_form():
    assert form_fields("a=1&b=x+y&c=&=5&d") == {"a": "1", "b": "x y", "c": ""}
    assert form_fields("") == {}


def test_what_is_not_text_is_refused():
    for bad in ("%zz", "%ff%fe"):
        try:
            unquoted(bad)
            said = False
        except ValueError:
            said = True
        assert said, bad


def test_no_text_breaks_out_of_the_page():
    assert escaped("<a href='x'>\"&") == "&lt;a href=&#39;x&#39;&gt;&quot;&amp;"
