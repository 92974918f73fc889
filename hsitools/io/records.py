"""Frozen dataclasses to and from HDF5 groups: arrays as datasets, the rest as attributes, nested ones as groups."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np

from hsitools.errors import FormatError


def write_record(group: Any, record: Any) -> None:
    """Write a dataclass into an open group; fields that are None are left out."""
    group.attrs["type"] = type(record).__name__
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if value is None:
            continue
        if isinstance(value, np.ndarray):
            group.create_dataset(field.name, data=value)
        elif hasattr(value, "write"):
            part = group.create_group(field.name)
            value.write(part)
            part.attrs["type"] = type(value).__name__
        elif dataclasses.is_dataclass(value):
            write_record(group.create_group(field.name), value)
        elif isinstance(value, tuple | dict):
            group.attrs[field.name] = json.dumps(value)
        else:
            group.attrs[field.name] = value


def read_record(group: Any, kinds: dict[str, type], where: str) -> Any:
    """Read what `write_record` wrote; ``kinds`` are the classes that may occur, by name.

    Raises
    ------
    FormatError
        When a type is unknown or a field is missing.
    """
    name = group.attrs.get("type")
    kind = kinds.get(str(name))
    if kind is None:
        raise FormatError(f"{where}: type: found {name!r}, expected one of {', '.join(kinds)}")
    if hasattr(kind, "read"):
        try:
            return kind.read(group)
        except KeyError as error:
            raise FormatError(f"{where}: {error.args[0]}") from None
    values: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        if field.name in group:
            item = group[field.name]
            values[field.name] = (
                item[()] if hasattr(item, "dtype") else read_record(item, kinds, f"{where}: {field.name}")
            )
        elif field.name in group.attrs:
            values[field.name] = _plain(group.attrs[field.name], str(field.type))
    try:
        return kind(**values)
    except TypeError as error:
        missing = str(error).split(":")[-1].strip() if "missing" in str(error) else str(error)
        raise FormatError(f"{where}: {name}: missing field {missing}") from None


def _plain(value: Any, declared: str) -> Any:
    if isinstance(value, str) and ("tuple" in declared or "dict" in declared):
        found = json.loads(value)
        return tuple(found) if isinstance(found, list) else found
    return value.item() if hasattr(value, "item") else value
