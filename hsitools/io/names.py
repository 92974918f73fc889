"""Names by which files call their cubes, labels, dimensions and attributes: data for `hsitools.io.variables`."""

from __future__ import annotations

#: Names of the cube, the likeliest first.
CUBE_NAMES = (
    "cube", "reflectance", "radiance", "toa_radiance", "toa_reflectance", "surface_reflectance", "rhot_image", "rrs",
    "rho_s", "rhos", "rhot", "reflectance_data", "radiance_data", "refl", "rfl", "rad", "rdn", "hsi", "hypercube",
    "hyperspectral", "data", "image", "img",
)  # fmt: skip
WAVELENGTH_NAMES = (
    "wavelength_nm", "wavelengths_nm", "wavelength", "wavelengths", "central_wavelength", "central_wavelengths",
    "center_wavelength", "center_wavelengths", "centre_wavelength", "wavelength_3d", "wave", "wl", "wvl", "lambda",
    "lambdas", "bands_nm", "radiation_wavelength", "wavenumber", "wavenumbers",
)  # fmt: skip
WAVELENGTH_UNITS = (
    "wavelength_units", "wavelengths_units", "wavelength_unit", "units_of_wavelength", "wavelengthunits",
    "wavelengthunit", "wl_units", "wl_unit",
)  # fmt: skip
#: Words for the bands, which may hold their wavelengths.
BANDS_CALLED = (
    "band_names", "band_name", "bandnames", "bandname", "band_labels", "band_label", "channel_names", "channel_name",
)  # fmt: skip
FWHM_NAMES = (
    "fwhm_nm", "fwhm", "fwhms", "bandwidth", "bandwidths", "full_width_half_max", "full_width_half_maximum",
    "wavelength_fwhm", "band_width",
)  # fmt: skip
GOOD_NAMES = (
    "good", "good_band", "good_bands", "good_wavelengths", "good_wavelength", "bbl", "good_bands_list",
    "band_is_good",
)  # fmt: skip
BAD_NAMES = ("bad_band", "bad_bands", "badbands", "bad_wavelengths")
NODATA_NAMES = (
    "_FillValue", "missing_value", "nodata", "no_data", "nodata_value", "no_data_value", "data_ignore_value",
    "fill_value", "FillValue", "ignore_value",
)  # fmt: skip
#: What numbers are multiplied by, and what is added then; the first of each may be an attribute of the whole file.
SCALE_NAMES = ("scale_factor", "scales", "scale", "slope")
OFFSET_NAMES = ("add_offset", "offsets", "offset", "intercept")
#: Arrays that are never the cube unless asked for: what is known of pixels, not what was seen.
OTHERS = (
    "abundance", "abundances", "s_gt", "a_gt", "endmembers", "rgb", "rgb_image", "rgb_hr", "glt", "igm", "obs", "loc",
    "location", "mask", "masks", "quality", "quality_flag", "quality_flags", "flags", "ground_truth", "gt", "labels",
    "label", "classes", "class_map", "classification", "dark", "white", "dark_reference", "white_reference", "darkref",
    "whiteref", "glt_x", "glt_y",
)  # fmt: skip
#: Maps of the pixels that hold no measurement (Tanager).
UNSEEN = ("nodata_pixels",)
BAND_DIMENSIONS = (
    "band", "bands", "wavelength", "wavelengths", "wavelength_nm", "wavelength_3d", "spectral", "lambda", "wave", "wl",
    "wvl", "channel", "channels", "number_of_bands", "nbands", "n_bands", "num_bands", "bandnumber", "wavenumber",
    "spectral_band", "spectral_bands", "b", "z", "intensity_bands", "red_bands", "blue_bands", "swir_bands",
)  # fmt: skip
Y_DIMENSIONS = (
    "y", "lat", "latitude", "row", "rows", "line", "lines", "northing", "downtrack", "down_track", "along_track",
    "alongtrack", "number_of_lines", "number_of_scans", "scan", "scans", "nrow", "nrows", "nlines", "n_lines",
    "num_lines", "frames", "y_dim", "ydim", "yc",
)  # fmt: skip
X_DIMENSIONS = (
    "x", "lon", "longitude", "col", "cols", "column", "columns", "sample", "samples", "easting", "crosstrack",
    "cross_track", "across_track", "acrosstrack", "pixels_per_line", "pixel", "pixels", "ncol", "ncols", "nsamples",
    "n_samples", "num_samples", "ccd_pixels", "x_dim", "xdim", "xc",
)  # fmt: skip
CF_AXES = {"X": "x", "Y": "y", "Z": "band"}
CF_NAMES = {
    "projection_x_coordinate": "x", "longitude": "x", "grid_longitude": "x", "projection_y_coordinate": "y",
    "latitude": "y", "grid_latitude": "y", "radiation_wavelength": "band", "radiation_frequency": "band",
    "sensor_band_central_radiation_wavelength": "band",
}  # fmt: skip
#: Dimensions that are neither bands nor places.
OTHER_DIMENSIONS = ("time", "t", "date", "angle", "view", "polarization", "polarisation", "ensemble", "height", "depth")
