"""``python -m hsitools``: the ``hsi`` command."""

from hsitools.cli import main

main()
