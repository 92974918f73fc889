"""What figures show: what was not measured is hatched, pictures are of what was; no half of a page is empty."""

import io

import numpy as np
import pytest
from matplotlib.image import imread

from hsitools.cube import Cube
from hsitools.figures import quicklook, sensor_figure
from hsitools.plot import MISSING, draw_image, new_figure, png_bytes, show_field
from hsitools.sensor.presets import preset
from hsitools.sensor.sensor import Sensor

#: A field of view within its sub-image: rows 2 to 8, columns 5 to 9.
FIELD = np.zeros((12, 12), bool)
FIELD[2:9, 5:10] = True


def pixels(figure):
    """What is drawn, ``(y, x, 3)`` of 0 to 255."""
    return np.rint(255 * imread(io.BytesIO(png_bytes(figure)))[..., :3]).astype(int)


@pytest.mark.parametrize("kind", ["gray", "viridis", "RdBu", "picture"])
def test_pixels_without_a_measurement_are_hatched(kind):
    """Magenta borders were what one saw of an inverted image."""
    image = np.where(FIELD, np.linspace(0, 1, 144).reshape(12, 12), np.nan)
    figure, ax = new_figure(4, 4)
    if kind == "picture":
        draw_image(ax, quicklook(Cube(data=np.stack([image] * 3))), "")
    else:
        draw_image(ax, image, "", cmap=kind)
    drawn = pixels(figure)
    assert not (drawn == MISSING).all(-1).any()
    # a corner of the axes: two greys, of the lines and between them
    left, bottom, right, top = (round(48 * edge) for edge in (
        ax.get_position().extents * np.tile(figure.get_size_inches(), 2)))  # fmt: skip
    corner = drawn[len(drawn) - top + 2 : len(drawn) - top + 20, left + 2 : left + 20]
    assert np.ptp(corner, axis=-1).max() == 0
    assert len(np.unique(corner)) > 1
    assert corner.min() > 120
    assert right > left
    assert top > bottom


def test_an_image_is_shown_as_far_as_it_was_measured():
    _, ax = new_figure(4, 4)
    draw_image(ax, np.where(FIELD, 1.0, np.nan), "")
    show_field(ax, FIELD)
    assert (ax.get_xlim(), ax.get_ylim()) == ((4.5, 9.5), (8.5, 1.5))
    # nothing measured: all of it
    _, ax = new_figure(4, 4)
    draw_image(ax, np.full((12, 12), np.nan), "")
    show_field(ax, np.zeros((12, 12), bool))
    assert ax.get_xlim() == (-0.5, 11.5)


LIKE = Sensor.like(Cube(data=np.ones((12, 4, 4), np.float32), wavelength_nm=np.linspace(400, 900, 12), name="c"))


@pytest.mark.parametrize("sensor", [LIKE, LIKE.replace(mtf=0.3, ratio=4), preset("prisma"), preset("finch")])
def test_no_large_part_of_a_sensor_s_page_is_empty(sensor):
    """Of two panels the page's lower half was words in a corner."""
    empty = (pixels(sensor_figure(sensor)) == 255).all(-1)
    rows = np.flatnonzero(~empty.all(1))
    assert np.diff(rows, prepend=-1, append=len(empty)).max() < 0.2 * len(empty)
    for half in np.array_split(empty[: len(empty) // 2], 2, axis=1):
        assert not half.all()


def test_hundreds_of_responses_are_no_filled_box():
    (ax,) = (ax for ax in sensor_figure(preset("finch")).axes if "Response" in ax.get_title())
    assert ax.get_title() == "Response of 40 of 513 bands"
    place, value = ax.get_lines()[0].get_data()
    # a gap after each
    assert np.isnan(place).sum() == np.isnan(value).sum() == 40
    # from the first band to the last
    centre = preset("finch").response.wavelength_nm
    assert np.nanmin(place) < centre[0] < centre[-1] < np.nanmax(place)


def test_legends_are_of_the_house_style():
    """They are made after the axes, when matplotlib's settings are its own again."""
    figure, axes = new_figure(ncols=2)
    axes[0].plot([0, 1], label="a")
    drawn = [axes[0].legend(), figure.legend(loc="outside upper center"), axes[0].legend(fontsize=7)]
    assert [legend.get_frame_on() for legend in drawn] == [False] * 3
    assert [legend.get_texts()[0].get_fontsize() for legend in drawn] == [9, 9, 7]
