"""Products built to their specifications: values, labels, windows. (PRISMA, EnMAP L2A, EMIT: `test_formats`.)"""

import h5py
import numpy as np
import pytest

from benchmarks.products import (
    write_desis,
    write_emit,
    write_enmap,
    write_hyperion,
    write_hypso,
    write_neon,
    write_pace_l1b,
    write_prisma,
)
from hsitools.errors import FormatError, InputError
from hsitools.io import open_cube
from hsitools.io.readers import reader_of, source_files


def check_window(cube):
    whole = cube.read()
    chosen = np.array([cube.n_bands - 1, 0])
    np.testing.assert_array_equal(cube.select(bands=chosen, window=(1, 4, 2, 5)).read(), whole[chosen, 1:4, 2:5])


@pytest.mark.parametrize(("level", "units"), [("L2A", "1"), ("L1C", "mW cm-2 sr-1 um-1")])
def test_desis(tmp_path, level, units):
    given = write_desis(tmp_path / "p", level=level)
    expected = given["values"] * given["gain"][:, None, None] + given["offset"][:, None, None]
    expected[:, 0, 0] = np.nan
    for path in (tmp_path / "p", *sorted((tmp_path / "p").iterdir())):
        cube = open_cube(path)
        np.testing.assert_allclose(cube.read(), expected, rtol=1e-5)
        np.testing.assert_allclose(cube.wavelength_nm, given["centre"])
        np.testing.assert_allclose(cube.fwhm_nm, given["width"])
        assert (cube.units, cube.crs) == (units, "EPSG:32633")
        check_window(cube)


def test_enmap_of_two_detectors_and_its_channel_lists(tmp_path):
    given = write_enmap(tmp_path / "p")
    image = tmp_path / "p" / f"{given['stem']}SPECTRAL_IMAGE.TIF"
    metadata = tmp_path / "p" / f"{given['stem']}METADATA.XML"
    lists = (
        "<vnirProductQuality><expectedChannelsList>1,2,3</expectedChannelsList><validChannelsList>1,3</validChannelsList>"
        "</vnirProductQuality>"
    )
    metadata.write_text(metadata.read_text().replace("<bandCharacterisation>", lists + "<bandCharacterisation>"))
    assert list(open_cube(image).good) == [True, False, True, True, True]
    import rasterio

    with rasterio.open(image) as file:
        profile, values = file.profile, file.read()
    image.unlink()
    # VNIR and SWIR overlap: the SWIR band below the last VNIR one is marked
    text = metadata.read_text()
    for number, centre in zip(range(1, 6), (420, 700, 990, 950, 2400), strict=True):
        old = f'number="{number}"><wavelengthCenterOfBand>{given["centre"][number - 1]}<'
        text = text.replace(old, f'number="{number}"><wavelengthCenterOfBand>{centre}<')
    metadata.write_text(text)
    for name, part in (("VNIR", slice(0, 3)), ("SWIR", slice(3, 5))):
        with rasterio.open(image.with_name(f"{given['stem']}SPECTRAL_IMAGE_{name}.TIF"), "w",
                           **(profile | {"count": part.stop - part.start})) as file:  # fmt: skip
            file.write(values[part])
    cube = open_cube(tmp_path / "p")
    np.testing.assert_array_equal(cube.wavelength_nm, [420, 700, 950, 990, 2400])
    np.testing.assert_array_equal(cube.good, [True, False, False, True, True])
    expected = (values * given["gain"][:, None, None] + given["offset"][:, None, None])[[0, 1, 3, 2, 4]]
    expected[:, 0, 0] = np.nan
    np.testing.assert_allclose(cube.read(), expected, rtol=1e-5)
    assert "SWIR bands are marked bad" in cube.meta["overlap"]


def test_emit_uncertainty_and_mask(tmp_path):
    given = write_emit(tmp_path / "x.nc")
    with h5py.File(tmp_path / "x.nc", "r+") as file:
        file.move("reflectance", "reflectance_uncertainty")
    cube = open_cube(tmp_path / "x.nc")
    np.testing.assert_array_equal(cube.read(), given["values"].transpose(2, 0, 1))
    assert cube.units == "1"
    # what the file calls out of range is no measurement
    largest = float(given["values"].max())
    write_emit(tmp_path / "z.nc")
    with h5py.File(tmp_path / "z.nc", "r+") as file:
        file["reflectance"].attrs["valid_max"] = np.float32(largest / 2)
    high = given["values"].transpose(2, 0, 1) > np.float32(largest / 2)
    cube = open_cube(tmp_path / "z.nc")
    assert high.any()
    assert not cube.valid(cube.read())[high].any()
    write_emit(tmp_path / "y.nc")
    with h5py.File(tmp_path / "y.nc", "r+") as file:
        file.move("reflectance", "mask")
        del file["sensor_band_parameters/wavelengths"]
        file["sensor_band_parameters/mask_bands"] = [f"flag {k}" for k in range(8)]
    cube = open_cube(tmp_path / "y.nc")
    assert cube.wavelength_nm is None
    assert cube.meta["bands"].startswith("flag 0; flag 1")


def test_pace_l1b(tmp_path):
    given = write_pace_l1b(tmp_path / "x.nc")
    cube = open_cube(tmp_path / "x.nc")
    assert cube.n_bands == 20
    assert np.all(np.diff(cube.wavelength_nm) > 0)
    values = cube.physical().read()
    for name, (numbers, centres) in given.items():
        for number, centre in zip(numbers, centres, strict=True):
            place = int(np.argmin(np.abs(cube.wavelength_nm - centre)))
            np.testing.assert_array_equal(values[place], np.where(number == -32767, np.nan, number))
            # red starts below the end of blue
            assert cube.good[place] == (name != "red" or centre > 605)
    np.testing.assert_array_equal(cube.fwhm_nm[-3:], [45, 75, 50])
    check_window(cube)
    limit = float(np.nanmedian(values))
    write_pace_l1b(tmp_path / "y.nc")
    with h5py.File(tmp_path / "y.nc", "r+") as file:
        for name in given:
            file[f"observation_data/rhot_{name}"].attrs["valid_max"] = np.float32(limit)
    np.testing.assert_array_equal(
        open_cube(tmp_path / "y.nc").physical().read(), np.where(values > np.float32(limit), np.nan, values)
    )


@pytest.mark.parametrize("fill", [-999.0, np.nan])
def test_detectors_of_other_fill_values(tmp_path, fill):
    write_pace_l1b(tmp_path / "x.nc")
    values = open_cube(tmp_path / "x.nc").physical().read()
    with h5py.File(tmp_path / "x.nc", "r+") as file:
        data = file["observation_data/rhot_red"]
        data.attrs["_FillValue"] = np.float32(fill)
        data[:, 0, 0] = fill
    np.testing.assert_array_equal(open_cube(tmp_path / "x.nc").physical().read(), values)


def test_neon(tmp_path):
    given = write_neon(tmp_path / "x.h5")
    cube = open_cube(tmp_path / "x.h5")
    np.testing.assert_array_equal(cube.read(), given["values"].transpose(2, 0, 1))
    assert (cube.scale_factor, cube.nodata, cube.units) == (1e-4, -9999, "1")
    assert (cube.crs, cube.transform) == ("EPSG:32618", (1.0, 0.0, 726000.0, 0.0, -1.0, 4700000.0))
    bad = (given["centre"] >= 1340) & (given["centre"] <= 1445)
    np.testing.assert_array_equal(cube.good, ~bad)
    np.testing.assert_array_equal(cube.fwhm_nm, np.full(8, 6.0))
    check_window(cube)


def test_hypso(tmp_path):
    given = write_hypso(tmp_path / "x.nc")
    cube = open_cube(tmp_path / "x.nc")
    np.testing.assert_array_equal(cube.read(), given["values"].transpose(2, 0, 1))
    np.testing.assert_allclose(cube.wavelength_nm, given["centre"])
    np.testing.assert_allclose(cube.fwhm_nm, 4)
    assert cube.units == "W m-2 sr-1 um-1"


def test_hyperion_l1t(tmp_path):
    given = write_hyperion(tmp_path / "p")
    notes = tmp_path / "p" / "EO1H0140352016290110K7_MTL_L1T.TXT"
    for path in (tmp_path / "p", notes, tmp_path / "p" / "EO1H0140352016290110K7_B057_L1T.TIF"):
        cube = open_cube(path)
        # published centres of bands 7, 8, 77, 57, 58, 224
        np.testing.assert_allclose(cube.wavelength_nm, [416.64, 426.82, 912.45, 925.41, 935.58, 2395.50], atol=0.02)
        np.testing.assert_array_equal(cube.good, [False, True, False, True, False, True])
        for place, (number, factor) in enumerate(((7, 40), (8, 40), (77, 80), (57, 40), (58, 40), (224, 80))):
            np.testing.assert_allclose(cube.read()[place], given[number] / factor, rtol=1e-6)
        assert cube.units == "W m-2 sr-1 um-1"
        check_window(cube)
    notes.unlink()
    assert open_cube(tmp_path / "p").units == "DN"
    notes.write_text("nothing")
    with pytest.raises(FormatError, match="SCALING_FACTOR: found"):
        open_cube(tmp_path / "p")


def test_hyperions_bands_without_a_calibration_hide_none_of_the_other_spectrometer(tmp_path):
    # VNIR's bands 58 to 70 reach 1057 nm and hold zeros: 932 to 1053 nm are SWIR's bands 79 to 91
    write_hyperion(tmp_path / "p", bands=(57, 58, 70, 78, 79, 91, 92))
    cube = open_cube(tmp_path / "p")
    np.testing.assert_allclose(cube.wavelength_nm[cube.good], [925.41, 932.64, 1053.73, 1063.82], atol=0.05)


@pytest.mark.parametrize("scaled", [True, False])
def test_hyperions_corners_beyond_the_swath_are_no_measurement(tmp_path, scaled):
    """They were zeros: an image turned north has four such corners, and no nodata is declared."""
    rasterio = pytest.importorskip("rasterio")
    given = write_hyperion(tmp_path / "p")
    for number, values in given.items():
        # bands without calibration are zero everywhere, and one band may be zero where others are not
        values[...] = 0 if number in (7, 58) else values
        values[:2, :3] = 0
        values[5, 6] = 0 if number == 57 else values[5, 6]
        name = f"EO1H0140352016290110K7_B{number:03d}_L1T.TIF"
        with rasterio.open(tmp_path / "p" / name, "r+", driver="GTiff") as file:
            file.write(values[None])
    if not scaled:
        (tmp_path / "p" / "EO1H0140352016290110K7_MTL_L1T.TXT").unlink()
    cube = open_cube(tmp_path / "p")
    values = cube.physical().read()
    beyond = np.zeros((6, 7), dtype=bool)
    beyond[:2, :3] = True
    np.testing.assert_array_equal(np.isnan(values), np.broadcast_to(beyond, values.shape))
    np.testing.assert_allclose(values[1][~beyond], given[8][~beyond] / (40 if scaled else 1), rtol=1e-6)
    check_window(cube)


def test_prismas_flags_of_bands(tmp_path):
    write_prisma(tmp_path / "p.he5", n_vnir=6, n_swir=5)
    with h5py.File(tmp_path / "p.he5", "r+") as file:
        file.attrs["List_Cw_Vnir_Flags"] = np.array([0, 0, 0, 1, 0, 1])
        dropped = file.attrs["List_Cw_Vnir"][4]
        file["HDFEOS/SWATHS/PRS_L2D_HCO/Data Fields/VNIR_PIXEL_L2_ERR_MATRIX"] = np.ones((12, 6, 10), np.uint8)
    cube = open_cube(tmp_path / "p.he5")
    assert not cube.good[np.isclose(cube.wavelength_nm, dropped)].any()
    assert cube.meta["pixel_flags"] == "left in the file: VNIR_PIXEL_L2_ERR_MATRIX"
    assert cube.good.sum() == open_cube(write_plain(tmp_path)).good.sum() - 1


def write_plain(folder):
    """The product without flags."""
    write_prisma(folder / "plain.he5", n_vnir=6, n_swir=5)
    return folder / "plain.he5"


def test_tanagers_pixels_beyond_the_footprint(tmp_path):
    """The mask beside the radiance says which: their values are zeros, or a fill that nothing declares."""
    values = np.random.default_rng(0).uniform(1, 2, (6, 4, 5)).astype(np.float32)
    beyond = np.zeros((4, 5), dtype=np.uint8)
    beyond[0], beyond[2, 3] = 1, 1
    with h5py.File(tmp_path / "t.h5", "w") as file:
        group = file.create_group("HDFEOS/SWATHS/HYP/Data Fields")
        data = group.create_dataset("toa_radiance", data=np.where(beyond, 0, values))
        data.attrs.update(wavelengths=np.linspace(400, 900, 6), fwhm=np.full(6, 5.0), units="W/(m^2 sr um)")
        group["nodata_pixels"] = beyond
    cube = open_cube(tmp_path / "t.h5")
    np.testing.assert_array_equal(cube.physical().read(), np.where(beyond, np.nan, values))
    check_window(cube)


@pytest.mark.parametrize(("zone", "crs"), [(33, "EPSG:32633"), (-21, "EPSG:32721")])
def test_grids_of_hdf_eos_say_where_they_lie(tmp_path, zone, crs):
    """As orthorectified Tanager scenes: they had no map."""
    words = (
        'GROUP=SwathStructure\nEND_GROUP=SwathStructure\nGROUP=GridStructure\n\tGROUP=GRID_1\n\t\tGridName="HYP"\n'
        "\t\tXDim=5\n\t\tYDim=4\n\t\tUpperLeftPointMtrs=(500000.0,4000000.0)\n"
        "\t\tLowerRightMtrs=(500150.0,3999880.0)\n\t\tProjection=HE5_GCTP_UTM\n"
        f"\t\tZoneCode={zone}\n\t\tSphereCode=12\n\tEND_GROUP=GRID_1\nEND_GROUP=GridStructure\nEND\n"
    )
    with h5py.File(tmp_path / "t.h5", "w") as file:
        data = file.create_dataset("HDFEOS/GRIDS/HYP/Data Fields/surface_reflectance", data=np.ones((6, 4, 5)))
        data.attrs["wavelengths"] = np.linspace(400, 900, 6)
        file.create_group("HDFEOS INFORMATION")["StructMetadata.0"] = np.bytes_(words)
    cube = open_cube(tmp_path / "t.h5")
    assert (cube.crs, cube.transform) == (crs, (30, 0, 500000, 0, -30, 4000000))


def test_enmaps_channels_that_are_not_valid_hide_none_of_the_other_detector(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    centres = {"VNIR": [900.0, 950.0, 990.0], "SWIR": [940.0, 960.0, 1000.0]}
    for name, values in centres.items():
        size = {
            "count": len(values), "height": 2, "width": 3, "dtype": "int16",
            "transform": rasterio.Affine(30, 0, 5e5, 0, -30, 4e6),
        }  # fmt: skip
        with rasterio.open(tmp_path / f"ENMAP-L1B-SPECTRAL_IMAGE_{name}.TIF", "w", driver="GTiff", **size) as file:
            file.write(np.ones((len(values), 2, 3), np.int16))
    bands = "".join(
        f'<bandID number="{number}"><wavelengthCenterOfBand>{centre}</wavelengthCenterOfBand><FWHMOfBand>6</FWHMOfBand>'
        "</bandID>" for number, centre in enumerate(centres["VNIR"] + centres["SWIR"], start=1)
    )  # fmt: skip
    lists = "<expectedChannelsList>1,2,3</expectedChannelsList><validChannelsList>1,2</validChannelsList>"
    (tmp_path / "ENMAP-L1B-METADATA.XML").write_text(
        f"<x><base><level>L1B</level></base><vnirProductQuality>{lists}</vnirProductQuality>"
        f"<bandCharacterisation>{bands}</bandCharacterisation></x>"
    )
    cube = open_cube(tmp_path)
    np.testing.assert_array_equal(cube.wavelength_nm[cube.good], [900, 950, 960, 1000])


def test_choices_do_not_apply_to_products(tmp_path):
    write_pace_l1b(tmp_path / "x.nc")
    with pytest.raises(InputError, match="--variable: found 'rhot_red', expected none"):
        open_cube(tmp_path / "x.nc", variable="rhot_red")


@pytest.mark.parametrize("write", [write_desis, write_enmap, write_hyperion])
def test_all_files_of_a_product_are_its_source(tmp_path, write):
    write(tmp_path / "p")
    files = [file for file in sorted((tmp_path / "p").iterdir()) if file.suffix.lower() != ".png"]
    paths = [file for file in files if reader_of(file) is not None]
    assert paths
    for path in paths:
        assert source_files(path) == files
