"""Which axis holds the bands, where the wavelengths stand under a name, or in a place, that the reader was not told."""

import h5py
import numpy as np
import pytest
import zarr
from numpy.testing import assert_allclose, assert_array_equal
from scipy.io import savemat

from hsitools.errors import FormatError
from hsitools.io import open_cube

#: Of (band, y, x); what users have is often (y, x, band).
VALUES = np.random.default_rng(0).uniform(0.05, 0.9, (9, 5, 6)).astype(np.float32)
LAST = VALUES.transpose(1, 2, 0)
CENTRES = np.linspace(450, 2300, 9)


def hdf5(path, arrays, attributes):
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
        file.attrs.update(attributes)


def store(path, arrays, attributes):
    group = zarr.open_group(path, mode="w")
    for name, values in arrays.items():
        group.create_array(name, data=values)
    group.attrs.update({name: value.tolist() for name, value in attributes.items()})


def matlab(path, arrays, _):
    savemat(path, arrays)


@pytest.mark.parametrize("cube", ["cube", "refl"])
@pytest.mark.parametrize(
    ("suffix", "write", "beside"),
    [
        (".h5", hdf5, True),
        (".h5", hdf5, False),
        (".zarr", store, True),
        (".zarr", store, False),
        (".mat", matlab, True),
    ],
    ids=["HDF5, vector", "HDF5, attribute of the file", "Zarr, vector", "Zarr, attribute", "MATLAB, vector"],
)
@pytest.mark.parametrize("values", [VALUES, LAST], ids=["first", "last"])
def test_what_is_taken_for_wavelengths_says_which_axis_is_theirs(tmp_path, cube, suffix, write, beside, values):
    """A cube (y, x, band) in an array called cube was taken as (band, y, x), without a word."""
    path = tmp_path / f"c{suffix}"
    write(path, {cube: values} | ({"centers": CENTRES} if beside else {}), {} if beside else {"wavelength": CENTRES})
    read = open_cube(path)
    assert_array_equal(read.read(), VALUES)
    assert_allclose(read.wavelength_nm, CENTRES)


@pytest.mark.parametrize("called", ["band_label", "band_names", "channel_name"])
def test_words_for_bands_that_hold_their_wavelengths(tmp_path, called):
    hdf5(tmp_path / "c.h5", {"refl": LAST, called: [f"B{n}: {w} nm".encode() for n, w in enumerate(CENTRES)]}, {})
    read = open_cube(tmp_path / "c.h5")
    assert_array_equal(read.read(), VALUES)
    assert_allclose(read.wavelength_nm, CENTRES)


def test_complex_numbers_are_named(tmp_path):
    hdf5(tmp_path / "c.h5", {"cube": VALUES.astype(complex), "wavelength": CENTRES}, {})
    with pytest.raises(FormatError, match=r"expected numbers \(band, y, x\); found cube 9×5×6 \(complex128\)"):
        open_cube(tmp_path / "c.h5")
