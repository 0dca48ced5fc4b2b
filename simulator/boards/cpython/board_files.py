"""The file functions of a board's `os`, below its root."""

import host

_root = host.getenv("BOARD_ROOT")


def _at(path):
    return _root + path if path.startswith("/") else path


def listdir(path="."):
    """Names."""
    return sorted(host.os.listdir(_at(path)))


def ilistdir(path="."):
    """(name, kind, inode, size) of each entry."""
    for name in listdir(path):
        s = host.os.stat(_at(path) + "/" + name)
        yield (name, s.st_mode & 0xF000, 0, s.st_size)


def stat(path):
    """As on a board: kind, size and times only."""
    s = host.os.stat(_at(path))
    times = (int(s.st_atime), int(s.st_mtime), int(s.st_ctime))
    return (s.st_mode & 0xF000, 0, 0, 0, 0, 0, s.st_size) + times


def statvfs(path):
    """A flash of 2 MiB in blocks of 4096 bytes."""
    return (4096, 4096, 512, 400, 400, 0, 0, 0, 0, 255)


def remove(path):
    """Delete a file."""
    host.os.remove(_at(path))


unlink = remove


def rename(old, new):
    """Replaces what is there, at once."""
    host.os.replace(_at(old), _at(new))


def mkdir(path):
    """Make a folder."""
    host.os.mkdir(_at(path))


def rmdir(path):
    """Remove an empty folder."""
    host.os.rmdir(_at(path))


def getcwd():
    """The board's working folder."""
    return "/"


def chdir(path):
    """Go there."""
    host.os.chdir(_at(path))


def urandom(size):
    """Random bytes."""
    return host.os.urandom(size)


def sync():
    """Everything is written at once."""
