"""The cube: values ``(band, y, x)`` with their labels; where they come from, and parts of it that fit in memory."""

from hsitools.cube.cube import BLOCK_BYTES, Cube
from hsitools.cube.geometry import Transform
from hsitools.cube.stored import Stored

__all__ = ["BLOCK_BYTES", "Cube", "Stored", "Transform"]
