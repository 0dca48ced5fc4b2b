"""Stands where a board's frozen start-up code stands: mounts the flash, runs boot.py and main.py,
then waits like a REPL.

BOARD_ROM is where in memory the image of simulator/rom.py lies, if there is one. BOARD_ROOT is the
directory that is the board's flash, BOARD_LIB what lies in its /lib, BOARD_SIM these shims.

With BOARD_FLASH=path:bytes the flash is a littlefs of that size in a file instead, and the image
holds the frozen modules only; BOARD_PARTITION is where in memory its ROMFS partition lies, if it
has one. With BOARD_CONSOLE=friendly a REPL follows; "raw" goes there without main.py, as a soft
reset in the raw REPL does.
"""

import sys

import uos
import vfs

_root, _lib, _sim = uos.getenv("BOARD_ROOT"), uos.getenv("BOARD_LIB"), uos.getenv("BOARD_SIM")
_flash, _console = uos.getenv("BOARD_FLASH"), uos.getenv("BOARD_CONSOLE")
_mounts = (("/", _root), ("/lib", _lib), ("/sim", _sim), ("/host", "/"))
_rom = uos.getenv("BOARD_ROM")
# With a ROM partition /lib is the flash's own: what lies there comes before the partition.
# Without a root of its own, for the computer's: with one, rename() muddles its two paths up.
_systems = [
    (at, vfs.VfsPosix(path) if path != "/" else vfs.VfsPosix())
    for at, path in _mounts
    if not (_rom and at == "/lib")
]
_image = "/frozen" if _flash else "/rom"
_partition = uos.getenv("BOARD_PARTITION")
if _flash:
    import flash_file

    _path, _size = _flash.rsplit(":", 1)
    _systems[0] = ("/", flash_file.littlefs(_path, int(_size)))
if _rom:
    # Outside the heap, as a board's flash is: see simulator/rom.py.
    import uctypes

    _path, _size = _rom.split(":")
    _systems.append((_image, vfs.VfsRom(uctypes.bytearray_at(int(_path), int(_size)))))
if _partition:
    _path, _size = _partition.split(":")
    try:
        _systems.append(("/rom", vfs.VfsRom(uctypes.bytearray_at(int(_path), int(_size)))))
    except OSError:
        pass  # nothing has been put there yet
vfs.umount("/")
for _at, _system in _systems:
    vfs.mount(_system, _at)
uos.chdir("/")
# A board looks into its root, its frozen modules and /lib; the shims come last, where a board's
# built-ins come first.
sys.path[:] = [_image + "/sim" if _rom else "/sim"]
import threads  # noqa: E402
import wiring  # noqa: E402

sys.modules["_thread"] = threads
import ssl  # noqa: E402, F401 - while nothing frozen of that name is before it

import machine  # noqa: E402

# Frozen modules come before /lib on a board, and a ROM partition after it.
if _flash:
    sys.path[:] = ["", ".frozen", "/frozen/lib", "/lib", "/rom", "/rom/lib", "/frozen/sim"]
elif _rom:
    sys.path[:] = ["", ".frozen", "/lib", "/rom/lib", "/rom/sim"]
else:
    sys.path[:] = ["", ".frozen", "/lib", "/sim"]
import board_sys  # noqa: E402

sys.modules["sys"] = board_sys
if _partition:
    import board_vfs

    sys.modules["vfs"] = board_vfs


def _run(name):
    try:
        with open(name) as f:
            source = f.read()
    except OSError:
        return
    try:
        exec(compile(source, name, "exec"), {"__name__": "__main__"})
    except SystemExit as e:
        if e.args and e.args[0] == 44:
            raise  # the bench is gone
        machine.soft_reset()  # sys.exit() on a board
    except BaseException as e:
        sys.print_exception(e)


wiring.look()
wiring.say(83, 0)  # "S"
if uos.getenv("BOARD_MEASURE"):
    import gc
    import select  # noqa: F401
    import socket  # noqa: F401

    import micropython
    import network  # noqa: F401 - every shim that a firmware may load

    gc.collect()
    print("shims", gc.mem_alloc())
    micropython.qstr_info()
    sys.exit(0)
del _systems, _mounts, vfs
_run("boot.py")
if _console != "raw":
    _run("main.py")
# What a board does after main.py: wait for somebody to type. Its pins stay as they are, its
# watchdog runs on.
while not _console:
    wiring.sleep_us(1_000_000)
