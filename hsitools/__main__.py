"""``python -m hsitools``: the ``hsi`` command."""

from hsitools.commands.root import main

main()
