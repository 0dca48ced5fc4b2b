"""Runs test_* functions on MicroPython: `micropython run_micropython.py ROOT FILE...`."""

import sys

root = sys.argv[1]
sys.path.insert(0, root)
passed = failed = 0
for path in sys.argv[2:]:
    folder, name = path.rsplit("/", 1)
    sys.path.insert(1, folder)
    module = __import__(name[:-3])
    for test in sorted(dir(module)):
        if test.startswith("test_"):
            try:
                getattr(module, test)()
                passed += 1
            except BaseException as e:  # noqa: BLE001 - whatever it is, it is a failed test
                failed += 1
                print("FAILED", path, test)
                sys.print_exception(e)  # type: ignore[attr-defined]
print("%d passed, %d failed" % (passed, failed))
sys.exit(1 if failed or not passed else 0)
