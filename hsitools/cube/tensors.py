"""Tensors of what users hold: cubes, labelled arrays, plain numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from hsitools.arrays import REAL_OR_BOOLEAN, is_labelled, real_array
from hsitools.cube.cube import Cube
from hsitools.errors import InputError


def real_tensor(values: Any, who: str) -> torch.Tensor:
    """``values``, a cube (`hsitools.Cube`, an xarray.DataArray) or plain numbers, as a tensor.

    A cube gives physical values and its labels say what is no measurement; an array's dimensions, where it names them,
    say which are bands, rows and columns. Tensors stay as they are and where they are.

    Raises
    ------
    InputError
        As of `hsitools.arrays.real_array`.
    """
    if is_labelled(values):
        values = Cube.from_xarray(values)
    if isinstance(values, Cube):
        values = values.physical().read()
    if not isinstance(values, torch.Tensor):
        array = real_array(values, who, REAL_OR_BOOLEAN)
        # torch takes neither another byte order nor steps backwards
        values = torch.as_tensor(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")))
    if values.is_complex():
        raise InputError(f"{who}: found values of type {values.dtype}, expected real numbers")
    return values
