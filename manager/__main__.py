"""`python -m manager` is `ievcc`."""

from manager.cli import main

main()
