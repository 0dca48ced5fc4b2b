"""Updates: signed, all or nothing, and the way back."""

import hashlib
import os

from firmware.common import update_start
from firmware.common.bundle import BundleError, _make_folders, bundle, permitted, unpack
from firmware.common.update import Update
from shared import protocol

OLD = {"lib/shared/a.mpy": b"old a", "lib/b.mpy": b"old b"}
FILES = {"lib/shared/a.mpy": b"new a" * 100, "lib/b.mpy": b"new b", "lib/c/d.mpy": b"added"}


class Link:
    """Keeps what was said."""

    def __init__(self, signed=True):
        self.signed = signed
        self.said = []

    def publish(self, message):
        self.said.append(message)
        return len(self.said)


def put(path, data):
    _make_folders(path)
    with open(path, "wb") as f:
        f.write(data)


def content(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError:
        return None


def fresh():
    for path in list(FILES) + [update_start.PLAN, "update.bundle"]:  # noqa: RUF005
        for end in ("", ".new", ".old", ".tmp"):
            update_start.remove(path + end)
    for path, data in OLD.items():
        put(path, data)


def deliver(data, link=None, size=0, sha256="", piece=128):
    """Send a bundle as the manager does; the update, and the link that heard it."""
    link = link or Link()
    up = Update(link)
    offer = {
        "code": protocol.UPDATE_OFFER,
        "update": 3,
        "version": "0.2.0",
        "size": size or len(data),
        "sha256": sha256 or "".join(["%02x" % b for b in hashlib.sha256(data).digest()]),
    }
    up.heard(offer, 0)
    while link.said and link.said[-1]["state"] == "loading":
        at = link.said[-1]["offset"]
        part = data[at : at + piece]
        if not part:
            break
        text = "".join(["%02x" % b for b in part])
        up.heard({"code": protocol.UPDATE_CHUNK, "update": 3, "offset": at, "data": text}, 0)
    return up, link


def whole(new):
    """Is every file new, or every one old?"""
    now = [content(path) for path in FILES]
    return now == [FILES[path] for path in FILES] if new else now == [OLD.get(p) for p in FILES]


def test_an_update_from_offer_to_the_managers_welcome():
    fresh()
    up, link = deliver(bundle(FILES))
    assert link.said[-1]["state"] == "ready"
    assert up.restart
    assert whole(new=False)
    update_start.at_start()
    assert whole(new=True)
    assert update_start.settle() == (3, "done")
    assert update_start.settle() is None
    assert content("lib/b.mpy.old") is None


def test_new_firmware_that_never_reaches_the_manager_is_undone():
    fresh()
    deliver(bundle(FILES))
    for _ in range(3):
        update_start.at_start()
        assert whole(new=True)
    update_start.at_start()
    assert whole(new=False)
    assert content("lib/c/d.mpy") is None
    update_start.at_start()
    assert whole(new=False)
    assert update_start.settle() == (3, "reverted")


class PowerCut(Exception):
    """The power went."""


class CutOs:
    """An `os` whose changes end in a power cut, at the one with this number."""

    def __init__(self, which):
        self.left = which

    def _spend(self):
        self.left -= 1
        if not self.left:
            raise PowerCut

    def rename(self, old, new):
        self._spend()
        os.rename(old, new)

    def remove(self, path):
        self._spend()
        os.remove(path)

    def stat(self, path):
        return os.stat(path)


def use(new):
    """Give the start this `os`."""
    setattr(update_start, "os", new)  # noqa: B010 - a module's attribute that is not its to export


def test_cut_at_any_moment_all_files_are_new_or_all_are_old():
    for which in range(1, 30):
        fresh()
        deliver(bundle(FILES))
        use(CutOs(which))
        cuts = 0
        for _ in range(6):  # two would do: try, and undo
            try:
                update_start.at_start()
            except PowerCut:
                cuts += 1
                use(os)
                update_start.at_start()
        use(os)
        assert whole(new=False), which  # six starts without the manager
        if not cuts:
            return
    raise AssertionError("more steps than were cut")


def test_what_was_not_signed_is_not_kept():
    fresh()
    data = bundle(FILES)
    for link, bad, size, sha256, words in (
        (Link(), data, 0, "00" * 32, "signed"),
        (Link(), data + b"x", len(data), "", "longer"),
        (Link(signed=False), data, 0, "", "key"),
        (Link(), b"IEVCC1\nmain.py 1\nx", 0, "", "main.py"),
        (Link(), b"IEVCC1\nlib/b.mpy 9\nx", 0, "", "cut"),
        (Link(), b"IEVCC1\nlib/b.mpy x\nx", 0, "", ""),
        (Link(), b"IEVCC1\n", 0, "", "empty"),
        (Link(), b"PK\x03\x04", 0, "", "bundle"),
    ):
        up, _ = deliver(bad, link, size, sha256, 127)
        assert link.said[-1]["state"] == "failed", words
        assert words in link.said[-1]["words"], link.said[-1]
        assert not up.restart
        update_start.at_start()
        assert whole(new=False)
        assert content("lib/b.mpy.new") is None


def test_a_piece_that_does_not_come_is_asked_for_again_and_then_given_up():
    fresh()
    link = Link()
    up = Update(link)
    offer = {"code": protocol.UPDATE_OFFER, "update": 3, "version": "2", "size": 9}
    offer["sha256"] = "00" * 32
    up.heard(offer, 0)
    now = 0
    while link.said[-1]["state"] == "loading":
        now += 500
        up.step(now)
        assert now < 100_000
    assert link.said[-1]["state"] == "failed"
    assert len(link.said) == 32
    assert 60_000 <= now <= 64_000
    up.step(now + 100_000)
    assert len(link.said) == 32


def test_what_a_bundle_may_replace():
    for path in ("lib/a.mpy", "lib/firmware/common/link.mpy", "lib/x-y_Z.9"):
        assert permitted(path), path
    for path in (
        "main.py",
        "boot.py",
        "config.json",
        "/lib/a.mpy",
        "lib/../main.py",
        "lib//a.mpy",
        "lib/",
        "lib/a b",
        "lib/a\x00",
        "lib/" + "x" * 80,
        "lib/firmware/common/update_start.mpy",
        "",
    ):
        assert not permitted(path), path
        try:
            bundle({path: b""})
            said = False
        except BundleError:
            said = True
        assert said, path


def test_unpack_leaves_nothing_of_a_bad_bundle():
    fresh()
    with open("update.bundle", "wb") as f:
        f.write(b"IEVCC1\nlib/b.mpy 3\nabclib/c/d.mpy 5\nab")
    try:
        unpack("update.bundle")
        said = ""
    except BundleError as e:
        said = str(e)
    assert said == "cut short"
    assert content("lib/b.mpy.new") is None
    assert content("lib/c/d.mpy.new") is None
