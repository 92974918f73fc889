"""``python -m hsitools``: the same as ``hsi``."""

from hsitools.commands.root import main

if __name__ == "__main__":
    main()
