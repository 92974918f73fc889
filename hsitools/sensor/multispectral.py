"""Multispectral imagers by their published band tables: centre, width, pixel size, signal-to-noise ratio.

Their images guide the fusion of hyperspectral cubes. A band is flat between its published edges: measured responses can
be had as a table (`hsitools.sensor.presets.from_table`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsitools.lookup import lookup
from hsitools.sensor.bands import TableResponse, box_response
from hsitools.sensor.detector import Detector, electrons_for_snr
from hsitools.sensor.sensor import Sensor

#: Fall of a band's edges, nm; published tables give the widths at half of the maximum.
EDGE_NM = 4.0
#: Reflectance at which the tables' signal-to-noise ratios are taken to hold.
REFERENCE_LEVEL = 0.1
#: Electrons of read noise: photon noise rules at the reference level.
READ_NOISE = 30.0


class Band(NamedTuple):
    """A row of a band table: centre and full width (nm), side of a pixel (m), SNR at the reference radiance."""

    name: str
    centre_nm: float
    width_nm: float
    pixel_m: float
    snr: float


@dataclass(frozen=True, kw_only=True)
class BandTable:
    """A multispectral imager as published.

    Attributes
    ----------
    name : str
    bands : tuple of Band
    mtf : float
        Gain of every band at the Nyquist frequency of its own pixels.
    source : str
    assumptions : tuple of str
    """

    name: str
    bands: tuple[Band, ...]
    mtf: float
    source: str
    assumptions: tuple[str, ...] = ()

    @property
    def pixel_m(self) -> NDArray[np.float64]:
        """Side of each band's pixels, metres."""
        return np.array([band.pixel_m for band in self.bands])

    def sensor(self) -> Sensor:
        """The imager as a sensor that is shown scenes of each band's own pixel size."""
        n = len(self.bands)
        snr = np.array([band.snr for band in self.bands])
        electrons = electrons_for_snr(snr, REFERENCE_LEVEL, READ_NOISE)
        return Sensor(
            name=self.name, units="1", ratio=1, response=self.response(), mtf=np.full(n, self.mtf),
            noise=Detector(electrons_per_unit=electrons, read_noise=np.full(n, READ_NOISE)),
            source=self.source,
            assumptions=(
                *self.assumptions,
                f"bands flat between the edges of their published widths; SNR reached at reflectance {REFERENCE_LEVEL}",
                f"MTF {self.mtf:.2f} at Nyquist for all bands",
                "pixels of " + ", ".join(f"{side:g} m: {' '.join(names)}" for side, names in self._by_pixel().items()),
            ),
        )  # fmt: skip

    def response(self) -> TableResponse:
        """Flat bands with edges that fall over `EDGE_NM`, of equal height."""
        boxes = [
            box_response(band.centre_nm - band.width_nm / 2, band.centre_nm + band.width_nm / 2, EDGE_NM)
            for band in self.bands
        ]  # fmt: skip
        table = np.unique(np.concatenate([box.table_nm for box in boxes]))
        return TableResponse(
            table_nm=table, response=np.stack([np.interp(table, box.table_nm, box.response[0]) for box in boxes])
        )  # fmt: skip

    def _by_pixel(self) -> dict[float, list[str]]:
        return {
            side: [band.name for band in self.bands if band.pixel_m == side] for side in sorted(set(self.pixel_m))
        }  # fmt: skip


def _edges(name: str, low: float, high: float, pixel: float, snr: float) -> Band:
    return Band(name, (low + high) / 2, high - low, pixel, snr)


SENTINEL_2 = BandTable(
    name="Sentinel-2", mtf=0.22,
    bands=(
        Band("B1", 442.7, 20, 60, 129), Band("B2", 492.4, 66, 10, 154), Band("B3", 559.8, 36, 10, 168),
        Band("B4", 664.6, 31, 10, 142), Band("B5", 704.1, 15, 20, 117), Band("B6", 740.5, 15, 20, 89),
        Band("B7", 782.8, 20, 20, 105), Band("B8", 832.8, 106, 10, 174), Band("B8A", 864.7, 21, 20, 72),
        Band("B9", 945.1, 20, 60, 114), Band("B10", 1373.5, 31, 60, 50), Band("B11", 1613.7, 91, 20, 100),
        Band("B12", 2202.4, 175, 20, 100),
    ),
    source="ESA, Sentinel-2 MSI technical guide, resolutions of Sentinel-2A; SNR as required at "
    "the reference radiances (M. Drusch et al., Remote Sens. Environ. 120, 2012)",
    assumptions=("Sentinel-2A; 2B and 2C differ by up to 17 nm in centre (B12)", "MTF in the middle of the required "
                 ".15 to .30"),
)  # fmt: skip
LANDSAT_8 = BandTable(
    name="Landsat 8", mtf=0.3,
    bands=(
        _edges("B1", 435, 451, 30, 130), _edges("B2", 452, 512, 30, 130), _edges("B3", 533, 590, 30, 100),
        _edges("B4", 636, 673, 30, 90), _edges("B5", 851, 879, 30, 90), _edges("B6", 1566, 1651, 30, 100),
        _edges("B7", 2107, 2294, 30, 100), _edges("B8", 503, 676, 15, 80), _edges("B9", 1363, 1384, 30, 50),
    ),
    source="USGS, Landsat 8 Data Users Handbook, table of OLI bands (edges at half maximum); SNR as required (J. "
    "R. Irons et al., Remote Sens. Environ. 122, 2012)",
    assumptions=("OLI-2 of Landsat 9 has the same bands",),
)  # fmt: skip
ALI = BandTable(
    name="ALI", mtf=0.3,
    bands=(
        _edges("MS-1'", 433, 453, 30, 215), _edges("MS-1", 450, 515, 30, 280), _edges("MS-2", 525, 605, 30, 290),
        _edges("MS-3", 630, 690, 30, 240), _edges("MS-4", 775, 805, 30, 190), _edges("MS-4'", 845, 890, 30, 215),
        _edges("MS-5'", 1200, 1300, 30, 295), _edges("MS-5", 1550, 1750, 30, 265), _edges("MS-7", 2080, 2350, 30, 365),
        _edges("Pan", 480, 690, 10, 220),
    ),
    source="D. Lencioni et al., SPIE 3750, 1999; USGS, Earth Observing 1 sensors, table of ALI bands",
    assumptions=("SNR about as measured before launch at 5 % reflectance",),
)  # fmt: skip
PLANETSCOPE = BandTable(
    name="PlanetScope", mtf=0.15,
    bands=(
        _edges("coastal blue", 431, 452, 3, 60), _edges("blue", 465, 515, 3, 80), _edges("green I", 513, 549, 3, 80),
        _edges("green", 547, 583, 3, 80), _edges("yellow", 600, 620, 3, 70), _edges("red", 650, 680, 3, 70),
        _edges("red edge", 697, 713, 3, 60), _edges("NIR", 845, 885, 3, 60),
    ),
    source="Planet, PlanetScope product specification, table of the SuperDove (PSB.SD) bands",
    assumptions=("SNR 60 to 80 and MTF .15: not published", "all bands at the 3 m of the orthorectified product"),
)  # fmt: skip

#: By the names of the presets. Landsat 9's imager has the bands of Landsat 8's.
BAND_TABLES: dict[str, BandTable] = {
    "sentinel-2": SENTINEL_2, "landsat-8": LANDSAT_8, "landsat-9": LANDSAT_8, "ali": ALI, "planetscope": PLANETSCOPE,
}  # fmt: skip


def band_table(name: str) -> BandTable:
    """The table of that imager.

    Raises
    ------
    InputError
        When none is published here.

    Examples
    --------
    >>> band_table("sentinel-2").bands[1]
    Band(name='B2', centre_nm=492.4, width_nm=66, pixel_m=10, snr=154)
    """
    return lookup(name.replace("_", "-").replace(" ", "-"), BAND_TABLES, "guide sensor")
