"""What users hold as arrays, as plain numbers: masked elements become NaN, what is no real number is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.errors import InputError

#: Kinds of NumPy's types.
REAL, REAL_OR_BOOLEAN = "fiu", "fiub"
#: Bytes of the longest floating numbers that files hold.
LONGEST = 8


def real_array(values: Any, who: str, kinds: str = REAL) -> NDArray[Any]:
    """``values`` as an array of real numbers.

    Parameters
    ----------
    values : array_like, masked array or tensor
    who : str
        File and field, for the message.
    kinds : str
        Kinds of NumPy's types that are taken.

    Returns
    -------
    array
        Of the type that they have; integers with masked elements become floating numbers, since those are NaN.

    Raises
    ------
    InputError
        When they are complex, text or objects, or rows of different lengths.

    Examples
    --------
    >>> import numpy as np
    >>> real_array(np.ma.masked_equal([3, -99], -99), "frame")
    array([ 3., nan])
    """
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        if str(values.dtype) == "torch.bfloat16":
            # NumPy has no such type
            values = values.float()
    try:
        array = np.ma.asarray(values) if isinstance(values, np.ma.MaskedArray) else np.asarray(values)
    except ValueError:
        raise InputError(f"{who}: found rows of different lengths, expected an array of real numbers") from None
    if array.dtype.kind not in kinds:
        raise InputError(f"{who}: found values of type {array.dtype}, expected real numbers")
    if not isinstance(array, np.ma.MaskedArray):
        return array
    if not np.ma.is_masked(array):
        return np.asarray(array.data)
    return np.asarray(np.ma.filled(array.astype(np.result_type(array.dtype, np.float16)), np.nan))


def is_labelled(values: Any) -> bool:
    """Whether it is an xarray object, whose dimensions have names."""
    return hasattr(values, "coords") and hasattr(values, "dims")


def cube_data(data: Any, who: str) -> Any:
    """What a cube's values are read from: lists, tensors and masked arrays as arrays, all else as it is.

    Raises
    ------
    InputError
        As of `real_array`, and for an xarray object, whose dimensions have an order of their own.
    """
    if is_labelled(data):
        raise InputError(f"{who}: found an xarray object, expected an array (Cube.from_xarray keeps its labels)")
    if isinstance(data, np.ma.MaskedArray | list) or hasattr(data, "detach"):
        data = real_array(data, who, REAL_OR_BOOLEAN)
    if isinstance(data, np.ndarray) and data.dtype.kind == "f" and data.dtype.itemsize > LONGEST:
        # no format knows them
        data = data.astype(np.float64)
    return data
