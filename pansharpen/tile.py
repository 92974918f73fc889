"""A part of a scene with its surroundings: the images and operators that fusion methods work with."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch

from hsitools.sensor.interpolation import interpolate
from hsitools.sensor.separable import Separable, size_of
from hsitools.sensor.spatial import mtf_blur, mtf_decimate
from pansharpen.guide import Guide
from pansharpen.optics import Optics

#: Interpolation that defines the expanded cube, unless the case brings one.
INTERPOLATION = "polynomial"
#: What a tile holds on to when it lets go of the rest: coarse, or one channel on the fine grid.
SMALL = frozenset(
    ("coarse", "pan", "wide_pan_coarse", "pan_coarse", "pan_low", "interpolation", "wide_coarse_valid", "coarse_valid")
)
#: What a tile is given that another one may have otherwise.
_GIVEN = ("wide_coarse", "wide_pan", "optics", "_expanded", "guides", "wide_doubt", "wide_pan_doubt")
#: A pixel counts when this share of it was measured.
MOSTLY = 0.5


class Tile:
    """A part of a scene, with enough of its surroundings for every filter.

    Everything that it gives is cropped to the part itself; the whole of a scene in memory is one tile without
    surroundings. Tensors are ``(batch, band, y, x)``.

    Parameters
    ----------
    coarse, pan : Tensor
        With surroundings.
    optics : Optics
    margin : (int, int, int, int)
        Coarse pixels of surroundings above, below, left and right.
    valid : Tensor of bool, shape (batch, band, y, x), or None
        Coarse voxels that hold a measurement; fine ones follow from it and ``pan_valid``. Others are filled.
    pan_valid : Tensor of bool or None
        The same of the panchromatic image.
    expanded : Tensor or None
        The interpolated cube, where it is given.
    guides : tuple of Guide
        Other sharp images, with surroundings.
    pan_made : bool
        See `Scene.pan_made`.
    corner : (int, int)
        Row and column of the first coarse pixel, surroundings included, in the whole scene.
    doubt, pan_doubt : Tensor or None
        Variance of what stands for samples of cube and PAN that are cut off (`pansharpen.pair.clipped`), with
        surroundings; zero for others, None where there are none.
    """

    def __init__(
        self, coarse: torch.Tensor, pan: torch.Tensor, optics: Optics, *, margin: tuple[int, int, int, int] = (0,) * 4,
        valid: torch.Tensor | None = None, pan_valid: torch.Tensor | None = None, expanded: torch.Tensor | None = None,
        guides: tuple[Guide, ...] = (), pan_made: bool = False, corner: tuple[int, int] = (0, 0),
        doubt: torch.Tensor | None = None, pan_doubt: torch.Tensor | None = None,
    ) -> None:  # fmt: skip
        self.wide_doubt, self.wide_pan_doubt = doubt, pan_doubt
        self.wide_coarse, self.wide_pan, self.optics, self.margin = coarse, pan, optics, margin
        self.wide_voxel_valid, self.wide_pan_valid, self._expanded = valid, pan_valid, expanded
        self.guides, self.pan_made, self.corner = guides, pan_made, corner
        #: The tile as the scene gives it; another one where a guide's channel takes PAN's place.
        self.origin = self

    def let_go(self) -> None:
        """Free all that was made of the images but `SMALL` parts; what is wanted again is made again."""
        for name, value in vars(Tile).items():
            if isinstance(value, cached_property) and name not in SMALL:
                self.__dict__.pop(name, None)

    # ---- cropping ----------------------------------------------------------------------------------------------

    def crop(self, fine: torch.Tensor) -> torch.Tensor:
        """The tile's own part of a fine image that covers its surroundings too."""
        return self._crop(fine, self.optics.ratio)

    def crop_coarse(self, coarse: torch.Tensor) -> torch.Tensor:
        """The same of a coarse image."""
        return self._crop(coarse, 1)

    def _crop(self, image: torch.Tensor, scale: int) -> torch.Tensor:
        if not any(self.margin):
            return image
        top, bottom, left, right = (scale * size for size in self.margin)
        return image[..., top : image.shape[-2] - bottom, left : image.shape[-1] - right]

    @property
    def own_fine(self) -> tuple[slice, slice]:
        """Rows and columns of its own part in a fine image that covers its surroundings too."""
        top, bottom, left, right = (self.optics.ratio * size for size in self.margin)
        height, width = self.fine_size
        return slice(top, height - bottom), slice(left, width - right)

    # ---- operators on the tile with its surroundings -----------------------------------------------------------

    @property
    def fine_size(self) -> tuple[int, int]:
        """(y, x) of the fine grid, surroundings included."""
        return size_of(self.wide_pan)

    def down(self, mtf: Any = None) -> Separable:
        """Blur by an MTF (default that of the bands) and sampling: fine to coarse, surroundings included."""
        mtf = self.optics.mtf if mtf is None else mtf
        optics = self.optics
        return mtf_decimate(self.fine_size, mtf, optics.ratio, optics.offset, shift=optics.shift)

    def blur(self, mtf: Any = None) -> Separable:
        """Blur by an MTF (default that of the bands) on the fine grid."""
        return mtf_blur(self.fine_size, self.optics.mtf if mtf is None else mtf, self.optics.ratio)

    def up(self, method: str = INTERPOLATION) -> Separable:
        """Interpolation of coarse images to the fine grid."""
        optics = self.optics
        return interpolate(
            size_of(self.wide_coarse), optics.ratio, optics.offset, method=method, out_shape=self.fine_size,
            shift=optics.shift,
        )  # fmt: skip

    def see_pan(self, down: Callable[[torch.Tensor], torch.Tensor], bands: int = 1) -> torch.Tensor:
        """PAN through optics, of one kind or one a band: where it has holes, the mean over what it holds."""
        pan = self.wide_pan.expand(-1, bands, -1, -1)
        if self.wide_pan_valid is None:
            return down(pan)
        measured = self.wide_pan_valid.to(pan.dtype)
        weight = down(measured.expand(-1, bands, -1, -1))
        mean = down(pan * measured) / weight.clamp(min=MOSTLY)
        return torch.where(weight >= MOSTLY, mean, down(pan))

    def with_pan(self, pan: torch.Tensor, optics: Optics) -> Tile:
        """The tile with another panchromatic image, surroundings included, that other optics took."""
        return self._with(wide_pan=pan, optics=optics)

    def with_guides(self, guides: tuple[Guide, ...]) -> Tile:
        """The tile with other guides, surroundings included."""
        return self._with(guides=guides)

    def with_bounds(
        self, coarse: torch.Tensor, pan: torch.Tensor, doubt: torch.Tensor | None, pan_doubt: torch.Tensor | None
    ) -> Tile:  # fmt: skip
        """The tile with what stands for clipped samples, surroundings included, and how uncertain that is."""
        return self._with(wide_coarse=coarse, wide_pan=pan, wide_doubt=doubt, wide_pan_doubt=pan_doubt, _expanded=None)

    def _with(self, **changes: Any) -> Tile:
        """The tile with some of its images changed."""
        own = {name: changes.get(name, getattr(self, name)) for name in _GIVEN}
        return Tile(
            own["wide_coarse"], own["wide_pan"], own["optics"], margin=self.margin, valid=self.wide_voxel_valid,
            pan_valid=self.wide_pan_valid, expanded=own["_expanded"], guides=own["guides"], pan_made=self.pan_made,
            corner=self.corner, doubt=own["wide_doubt"], pan_doubt=own["wide_pan_doubt"],
        )  # fmt: skip

    def with_pan_of(self, guide: int, channel: int) -> Tile:
        """The tile with one channel of a guide, on the fine grid, in PAN's place."""
        source, only = self.guides[guide], slice(channel, channel + 1)
        valid = source.valid_on_grid(self.fine_size)
        out = Tile(
            self.wide_coarse, source.on_grid(self.fine_size)[:, only], source.optics(channel, self.optics),
            margin=self.margin, valid=self.wide_voxel_valid,
            pan_valid=valid if valid is None or valid.shape[1] == 1 else valid[:, only], expanded=self._expanded,
            corner=self.corner, doubt=self.wide_doubt,
        )  # fmt: skip
        out.origin = self
        return out

    # ---- images ------------------------------------------------------------------------------------------------

    @cached_property
    def coarse(self) -> torch.Tensor:
        """The coarse cube."""
        return self.crop_coarse(self.wide_coarse)

    @cached_property
    def pan(self) -> torch.Tensor:
        """The panchromatic image, ``(batch, 1, y, x)``."""
        return self.crop(self.wide_pan)

    @cached_property
    def wide_sharp(self) -> torch.Tensor:
        """All sharp channels on the fine grid with surroundings: PAN, where it is one of its own, then the guides'."""
        own = [] if self.pan_made else [self.wide_pan]
        return torch.cat([*own, *(guide.on_grid(self.fine_size) for guide in self.guides)], 1)

    @cached_property
    def sharp(self) -> torch.Tensor:
        """All sharp channels on the fine grid, ``(batch, channel, y, x)``."""
        return self.crop(self.wide_sharp)

    @cached_property
    def wide_sharp_coarse(self) -> torch.Tensor:
        """All sharp channels as the cube's optics would see them, with surroundings."""
        return self.down(self.optics.mean_gains())(self.wide_sharp)

    @cached_property
    def sharp_low(self) -> torch.Tensor:
        """All sharp channels without the details that the cube lacks."""
        return self.interpolated(self.wide_sharp_coarse)

    @property
    def interpolates(self) -> bool:
        """Whether `expanded` is the cube through `interpolation`; not where the case brings its own."""
        return self._expanded is None

    @cached_property
    def interpolation(self) -> Separable:
        """Interpolation of coarse images with surroundings to the tile's own fine pixels."""
        return self.up().outputs(*self.own_fine)

    def interpolated(self, coarse: torch.Tensor) -> torch.Tensor:
        """Coarse images with surroundings on the tile's own fine pixels."""
        return self.interpolation(coarse)

    @cached_property
    def wide_expanded(self) -> torch.Tensor:
        """The cube interpolated to the fine grid, with surroundings."""
        return self.up()(self.wide_coarse) if self._expanded is None else self._expanded

    @cached_property
    def expanded(self) -> torch.Tensor:
        """The cube interpolated to the fine grid."""
        return self.interpolated(self.wide_coarse) if self._expanded is None else self.crop(self._expanded)

    @cached_property
    def wide_pan_coarse(self) -> torch.Tensor:
        """The panchromatic image as the cube's optics would see it, at the coarse pixels, with surroundings."""
        return self.see_pan(self.down(self.optics.mean_gains()))

    @cached_property
    def wide_pan_of_bands(self) -> torch.Tensor:
        """The same as each band's own optics would see it, ``(batch, band, y, x)``; one for all that are alike."""
        if self.optics.same_mtf:
            return self.wide_pan_coarse
        return self.see_pan(self.down(), self.wide_coarse.shape[1])

    @cached_property
    def pan_coarse(self) -> torch.Tensor:
        """The panchromatic image as the cube's optics would see it, at the coarse pixels."""
        return self.crop_coarse(self.wide_pan_coarse)

    @cached_property
    def pan_low(self) -> torch.Tensor:
        """The panchromatic image without the details that the cube lacks: blurred, decimated, interpolated."""
        return self.interpolated(self.wide_pan_coarse)

    @cached_property
    def pan_low_of_bands(self) -> torch.Tensor:
        """PAN without the details that each band lacks, ``(batch, band, y, x)``; one for all that are alike."""
        return self.pan_low if self.optics.same_mtf else self.interpolated(self.wide_pan_of_bands)

    # ---- what was measured -------------------------------------------------------------------------------------

    @cached_property
    def wide_coarse_valid(self) -> torch.Tensor | None:
        """Coarse pixels to count in statistics of all bands and PAN, with surroundings; None when all are.

        Those of which most bands, and most of PAN, were measured: the few voxels between are filled.
        """
        out = None if self.wide_voxel_valid is None else self.wide_voxel_valid.double().mean(1, keepdim=True) >= MOSTLY
        if self.wide_pan_valid is not None:
            mostly = self.down(self.optics.mean_gains())(self.wide_pan_valid.to(self.wide_pan.dtype)) >= MOSTLY
            out = mostly if out is None else out & mostly
        return out

    @cached_property
    def coarse_valid(self) -> torch.Tensor | None:
        """Coarse pixels to count in statistics of all bands and PAN, ``(batch, 1, y, x)``; None when all are."""
        return None if self.wide_coarse_valid is None else self.crop_coarse(self.wide_coarse_valid)

    @cached_property
    def coarse_measured(self) -> torch.Tensor | None:
        """Coarse voxels that were measured, ``(batch, band, y, x)``, where PAN was too; None when all were."""
        if self.wide_voxel_valid is None:
            return self.coarse_valid
        shared = self.coarse_valid if self.wide_pan_valid is not None else None
        own = self.crop_coarse(self.wide_voxel_valid)
        return own if shared is None else own & shared

    @cached_property
    def valid(self) -> torch.Tensor | None:
        """Fine pixels to count in statistics of all bands and PAN, ``(batch, 1, y, x)``; None when all are."""
        if self.wide_voxel_valid is None:
            return None if self.wide_pan_valid is None else self.crop(self.wide_pan_valid)
        return self._fine(self.wide_voxel_valid.double().mean(1, keepdim=True) >= MOSTLY)

    @cached_property
    def measured(self) -> torch.Tensor | None:
        """Fine voxels whose coarse voxel and PAN were measured, ``(batch, band or 1, y, x)``; None when all were."""
        if self.wide_voxel_valid is None:
            return self.valid
        return self._fine(self.wide_voxel_valid)

    def measured_in(self, rows: slice, columns: slice) -> torch.Tensor | None:
        """`measured` of some of the tile's own fine pixels: as many booleans as voxels are never held together."""
        if self.wide_voxel_valid is None:
            return None if self.valid is None else self.valid[..., rows, columns]
        r, coarse = self.optics.ratio, self.crop_coarse(self.wide_voxel_valid)
        y, x = (torch.arange(part.start, part.stop, device=coarse.device) // r for part in (rows, columns))
        fine = coarse[..., y, :][..., x]
        return fine if self.wide_pan_valid is None else fine & self.crop(self.wide_pan_valid)[..., rows, columns]

    def _fine(self, coarse: torch.Tensor) -> torch.Tensor:
        r = self.optics.ratio
        fine = coarse.repeat_interleave(r, -2).repeat_interleave(r, -1)
        return self.crop(fine if self.wide_pan_valid is None else fine & self.wide_pan_valid)
