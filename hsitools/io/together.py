"""Files of one run that appear together or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hsitools.errors import InputError
from hsitools.io.atomic import remove, scratch_folder
from hsitools.io.outputs import STORES, check_file


@contextmanager
def together(out: Path) -> Iterator[Path]:
    """Yield a hidden folder beside ``out``: what is written there takes its place beside ``out`` at the end.

    All of it or nothing: error bars of one run beside the cube of another would pass for its own. ``out`` comes last.

    Raises
    ------
    InputError
        Where something is that no output of this name replaces, and what is raised meanwhile, by files' later names.
    """
    _check_place(out)
    with scratch_folder(out) as folder:
        try:
            yield folder
        except InputError as error:
            here = str(out).removesuffix(out.name)
            raise type(error)(str(error).replace(f"{folder}{os.sep}", here)) from None
        places = {made: out.parent / made.name for made in folder.iterdir()}
        for place in places.values():
            _check_place(place)
        for made, place in sorted(places.items(), key=lambda pair: pair[1].name == out.name):
            # no store is replaced by another, nor a link by a store
            if made.is_dir():
                remove(place)
            made.replace(place)


def _check_place(path: Path) -> None:
    check_file(path)
    if path.suffix.lower() in STORES:
        from hsitools.io.formats.zarr import check_place

        check_place(path)
