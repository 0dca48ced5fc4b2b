"""The one exception that is meant for people."""


class Refusal(Exception):  # noqa: N818 - what it is, not that it is one
    """What was asked cannot be done; the words say what and how to mend it. Exit status 1."""
