"""A file of the computer as a board's flash: what littlefs is mounted on. MicroPython only."""

_BLOCK = 4096  # bytes, the smallest piece the boards' flash can erase
_ERASED = b"\xff" * 128  # a whole block of it would be a tenth of an ESP8266's heap


class FlashFile:
    """A block device over a file that was made with its full size."""

    def __init__(self, path, size):
        self._file = open(path, "r+b")
        self._count = size // _BLOCK

    def readblocks(self, number, buffer, offset=0):
        """Fill the buffer from here on."""
        self._file.seek(number * _BLOCK + offset)
        self._file.readinto(buffer)

    def writeblocks(self, number, buffer, offset=None):
        """Write; without an offset whole blocks, erased before."""
        self._file.seek(number * _BLOCK + (offset or 0))
        self._file.write(buffer)
        self._file.flush()

    def ioctl(self, request, argument):
        """4: how many blocks, 5: bytes in one, 6: erase one."""
        if request == 4:
            return self._count
        if request == 5:
            return _BLOCK
        if request == 6:
            self._file.seek(argument * _BLOCK)
            for _ in range(_BLOCK // len(_ERASED)):
                self._file.write(_ERASED)
        return 0


def littlefs(path, size):
    """The file system in this file, made anew where there is none, as the boards' start-up code
    does."""
    import vfs

    device = FlashFile(path, size)
    try:
        return vfs.VfsLfs2(device)
    except OSError:
        vfs.VfsLfs2.mkfs(device)
        return vfs.VfsLfs2(device)
