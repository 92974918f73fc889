"""Public names of a package, loaded when they are first asked for (PEP 562), so that importing it stays light.

Each package lists its names twice: with their modules in a dictionary, for Python, and as imports below
``if TYPE_CHECKING``, for type checkers and editors. A test holds that both agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the ``__getattr__`` and ``__dir__`` of a package.

    Parameters
    ----------
    package : str
        Its ``__name__``.
    homes : mapping of str to str
        Module of each public name, by its dotted name. No name may be that of a sub-module: importing the sub-module
        would put it in the name's place.

    Examples
    --------
    >>> attribute, names = lazy_names("shapes", {"sqrt": "math"})
    >>> attribute("sqrt")(9.0)
    3.0
    >>> names()
    ['sqrt']
    """

    def attribute(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(homes[name]), name)

    def names() -> list[str]:
        import sys

        return sorted({*vars(sys.modules[package]), *homes} if package in sys.modules else homes)

    return attribute, names
