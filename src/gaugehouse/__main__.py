"""`python -m gaugehouse`."""

from gaugehouse.cli import main

main()
