"""``python -m deeptrace`` is the command line."""

from deeptrace.cli import main

main()
