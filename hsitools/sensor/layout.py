"""Where the sub-images of a multi-aperture instrument lie on its frame."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.errors import FormatError, InputError

ORDERS = ("row", "column", "row-snake", "column-snake")
#: Fields of the optics, which a layout need not have.
OPTICS = ("focal_length_mm", "pixel_pitch_um")
#: Words of the published device files. Their mosaics run down one column and up the next (or along the rows).
PUBLISHED_ORDERS = {"vertical": "column-snake", "horizontal": "row-snake"}


@dataclass(frozen=True, kw_only=True)
class SubImageLayout:
    """A regular grid of sub-images.

    Attributes
    ----------
    frame_shape : (int, int)
        Frame size (y, x), pixels.
    grid : (int, int)
        Sub-images (rows, columns).
    pitch : (float, float)
        Distance between centres (y, x), pixels.
    origin : (float, float)
        Centre of the first sub-image (y, x), pixels.
    order : str
        How the interferometer index runs over the grid: ``row``, ``column``, ``row-snake`` or ``column-snake``.
    focal_length_mm, pixel_pitch_um : float, optional
        Of the lens of each sub-image and of the detector: they tell under which angle a pixel sees its interferometer.

    Raises
    ------
    InputError
        When a centre lies outside the frame, or a value makes no sense.
    """

    frame_shape: tuple[int, int]
    grid: tuple[int, int]
    pitch: tuple[float, float]
    origin: tuple[float, float]
    order: str = "row"
    focal_length_mm: float | None = None
    pixel_pitch_um: float | None = None

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise InputError(f"layout: order: found {self.order!r}, expected one of {', '.join(ORDERS)}")
        if min(self.grid) < 1 or min(self.pitch) <= 0 or min(self.frame_shape) < 1:
            raise InputError(
                f"layout: found grid {self.grid}, pitch {self.pitch}, frame {self.frame_shape}, expected positive"
            )
        for field in OPTICS:
            value = getattr(self, field)
            if value is not None and not 0 < value < float("inf"):
                raise InputError(f"layout: {field}: found {value:g}, expected a positive number")
        for axis, name in enumerate("yx"):
            last = self.origin[axis] + (self.grid[axis] - 1) * self.pitch[axis]
            if self.origin[axis] < 0 or last > self.frame_shape[axis] - 1:
                raise InputError(
                    f"layout: {name}: found centres from {self.origin[axis]:g} to {last:g}, "
                    f"expected inside the frame (0 to {self.frame_shape[axis] - 1})"
                )

    @property
    def image_size(self) -> int:
        """Side of the square about a centre that no other sub-image reaches into, pixels."""
        return int(min(self.pitch)) - 1

    @property
    def n_sub_images(self) -> int:
        """Number of sub-images."""
        return self.grid[0] * self.grid[1]

    def grid_position(self) -> NDArray[np.int64]:
        """(row, column) in the grid of each interferometer, in order, shape ``(interferometer, 2)``."""
        rows, columns = self.grid
        if self.order.startswith("row"):
            row, column = np.divmod(np.arange(rows * columns), columns)
            if self.order.endswith("snake"):
                column = np.where(row % 2, columns - 1 - column, column)
        else:
            column, row = np.divmod(np.arange(rows * columns), rows)
            if self.order.endswith("snake"):
                row = np.where(column % 2, rows - 1 - row, row)
        return np.stack([row, column], axis=1)

    def centres(self) -> NDArray[np.float64]:
        """Centre (y, x) of each interferometer's sub-image, in order, pixels, shape ``(interferometer, 2)``."""
        return np.array(self.origin) + self.grid_position() * np.array(self.pitch)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "frame_shape": list(self.frame_shape),
            "grid": list(self.grid),
            "pitch": list(self.pitch),
            "origin": list(self.origin),
            "order": self.order,
            **{field: getattr(self, field) for field in OPTICS if getattr(self, field) is not None},
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any], where: str = "layout") -> SubImageLayout:
        """Inverse of `to_dict`; raises `InputError` naming the missing or wrong field."""
        try:
            return cls(
                frame_shape=(int(data["frame_shape"][0]), int(data["frame_shape"][1])),
                grid=(int(data["grid"][0]), int(data["grid"][1])),
                pitch=(float(data["pitch"][0]), float(data["pitch"][1])),
                origin=(float(data["origin"][0]), float(data["origin"][1])),
                order=str(data["order"]),
                **{field: float(data[field]) for field in OPTICS if data.get(field) is not None},
            )
        except KeyError as error:
            raise InputError(f"{where}: {error.args[0]}: missing") from None
        except (TypeError, ValueError, IndexError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{where}: expected pairs (y, x) of numbers; {error}") from None

    @classmethod
    def from_device_json(cls, path: str | Path) -> SubImageLayout:
        """Read a device file: ours (`to_dict`) or as published with IRCA (``image_size``, ``subimage_*``, all (y, x)).

        Raises
        ------
        FormatError
            When the file is missing or no JSON object.
        InputError
            When a field is missing or wrong.
        """
        try:
            data = json.loads(Path(path).read_bytes())
        except OSError as error:
            raise FormatError(f"{path}: device: {error.strerror}") from None
        except ValueError as error:
            raise FormatError(f"{path}: device: expected JSON; {error}") from None
        if not isinstance(data, dict):
            raise FormatError(f"{path}: device: found {type(data).__name__}, expected a JSON object")
        if "frame_shape" in data:
            return cls.from_dict(data, f"{path}: device")
        arrangement = data.get("subimage_arrangement", "vertical")
        renamed = {
            "frame_shape": "image_size", "grid": "subimage_amount",
            "pitch": "subimage_size", "origin": "subimage_center",
        }  # fmt: skip
        missing = [old for old in renamed.values() if old not in data]
        if missing:
            raise InputError(f"{path}: device: {missing[0]}: missing, expected a pair (y, x)")
        values = {new: data[old] for new, old in renamed.items()}
        values |= {field: data.get(field) for field in OPTICS}
        values["order"] = PUBLISHED_ORDERS.get(arrangement, arrangement)
        return cls.from_dict(values, f"{path}: device")
