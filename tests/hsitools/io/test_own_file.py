"""Files of our own that lack something: what is missing is named, not told in HDF5's words."""

import h5py
import pytest

from hsitools.errors import FormatError
from hsitools.io.own_file import new_own, open_own


def read(path):
    with open_own(path, "hsitools-thing", 1, "a thing") as file:
        return file["opd_um"][()], file.attrs["layout"]


@pytest.mark.parametrize("name", ["opd_um", "version", "layout"])
def test_a_missing_member_is_named(tmp_path, name):
    path = tmp_path / "c.h5"
    with new_own(path) as file:
        file.attrs.update(format="hsitools-thing", version=1, layout="{}")
        file["opd_um"] = [1.0]
    with h5py.File(path, "r+") as file:
        del (file if name == "opd_um" else file.attrs)[name]
    with pytest.raises(FormatError, match=rf"c\.h5: {name}: missing, expected in a thing$"):
        read(path)
