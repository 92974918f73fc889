"""The ``hsi`` command: its root, the core's commands, and what all commands share; the only place of click and tqdm."""
