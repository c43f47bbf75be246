"""Synthetic chests whose every percentage is known: CT volumes in Hounsfield units, and X-rays projected from them.

A chest is a set of formulas in millimetres (`Anatomy`), drawn on whatever grid is asked for; so the radiograph shows
the same body as the CT, at its own resolution. Coordinates follow DICOM: x grows to the patient's left, y to the back,
z to the head. Pictures are displayed as radiologists do: row 0 is anterior, column 0 the patient's right.

The masks are the formulas themselves, taken before blur and noise. Nothing here was measured on a patient: shapes and
densities are round textbook values, and what ground glass and consolidation are is said by Hansell et al. 2008
(Fleischner Society glossary, doi:10.1148/radiol.2462070712).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from covidpipe.errors import UsageError

Mask = NDArray[np.bool_]
Floats = NDArray[np.floating[Any]]

MIN_SIZE = 32
MIN_HU, MAX_HU = -1024, 3071  # 12 bits with the usual intercept of -1024
GROUND_GLASS_HU = (-750.0, -350.0)
CONSOLIDATION_HU = (-100.0, 50.0)
EFFUSION_HU = (0.0, 20.0)
EXTENT = (0.02, 0.60)  # infected share of the lung volume
GRAY_LEVELS = 4096  # of a radiograph

AIR, FAT, SOFT, BLOOD, LIVER = -1000.0, -100.0, 45.0, 35.0, 60.0
MARROW, CORTEX, CARTILAGE = 220.0, 700.0, 110.0
LUNG, LUNG_SLOPE = -860.0, 0.45  # HU, and HU per mm towards the back: blood pools there when lying
WATER_PER_MM = 0.019  # attenuation of water for a chest X-ray's effective energy
BONE_EXCESS = 2.0  # bone attenuates a radiograph's softer beam more than its HU say
RIB_PITCH, RIB_DROP = 27.0, 112.0  # mm from rib to rib, and from the back of a rib down to its front
VERTEBRA_PITCH = 24.0


@dataclass(frozen=True)
class Phantom:
    """A synthetic CT series.

    Attributes
    ----------
    hu : (slices, rows, columns) int16
        Hounsfield units; slice 0 is the lowest (towards the feet).
    lung_mask, infection_mask, left_lung_mask : (slices, rows, columns) bool
        Lung: parenchyma, its vessels and its infected parts; neither effusion nor trachea nor mediastinum.
        Infection: ground glass and consolidation, always inside the lung.
    spacing_mm : (float, float, float)
        Distance of slices, rows and columns.
    anatomy : Anatomy
        The formulas, for `project`.
    """

    hu: NDArray[np.int16]
    lung_mask: Mask
    infection_mask: Mask
    left_lung_mask: Mask
    spacing_mm: tuple[float, float, float]
    anatomy: Anatomy = field(repr=False)


@dataclass(frozen=True)
class Radiograph:
    """A frontal X-ray of a phantom.

    Attributes
    ----------
    image : (rows, columns) uint16
        0 (dark: little on the way) to 4095 (bright); MONOCHROME2.
    lung_mask, infection_mask : (rows, columns) bool
        Pixels whose ray meets lung, or infected lung: a silhouette. Its percentage is that of this picture,
        exactly; it is not the percentage of the volume, which no projection shows.
    spacing_mm : (float, float)
        Distance of rows and columns.
    """

    image: NDArray[np.uint16]
    lung_mask: Mask
    infection_mask: Mask
    spacing_mm: tuple[float, float]


def phantom_volume(seed: int, *, size: int = 192, slices: int = 16, infected: bool = True) -> Phantom:
    """Draw the CT of one synthetic patient.

    Parameters
    ----------
    seed : int
        Of everything that is random: body, vessels, disease, noise. The same seed with and without `infected`
        gives the same body.
    size : int
        Rows and columns, at least 32.
    slices : int
        Evenly spaced from the upper abdomen to the neck, so that the outermost ones show no lung.
    infected : bool
        With disease in 2 to 60 % of the lung volume; without, `infection_mask` is empty.

    Returns
    -------
    Phantom

    Raises
    ------
    UsageError
        `size` or `slices` is too small.

    Examples
    --------
    >>> phantom = phantom_volume(1, size=48, slices=4, infected=False)
    >>> phantom.hu.shape, bool(phantom.infection_mask.any())
    ((4, 48, 48), False)
    """
    if size < MIN_SIZE or slices < 1:
        raise UsageError(f"A phantom of {slices} slices of {size} pixels: wanted at least 1 and {MIN_SIZE}.")
    anatomy = Anatomy.sample(seed, infected=infected)
    rng = np.random.default_rng([seed, 2])
    pixel = anatomy.field_mm / size
    grid = Grid.even((slices, size, size), (anatomy.height, anatomy.field_mm, anatomy.field_mm))
    body = draw(anatomy, grid)
    hu = np.maximum(body.hu, _table(anatomy, grid))
    hu = ndimage.gaussian_filter(hu, (0, 0.6, 0.6))
    noise = ndimage.gaussian_filter(rng.standard_normal(hu.shape, dtype=np.float32), (0, 0.6, 0.6))
    hu += noise * (rng.uniform(12, 24) / noise.std())
    return Phantom(
        hu=np.clip(np.rint(hu), MIN_HU, MAX_HU).astype(np.int16),
        lung_mask=body.lung,
        infection_mask=body.infection,
        left_lung_mask=body.left,
        spacing_mm=(anatomy.height / slices, pixel, pixel),
        anatomy=anatomy,
    )


def project(phantom: Phantom, *, size: int | None = None) -> Radiograph:
    """Take a frontal X-ray of a phantom: parallel rays from back to front, without scatter.

    The body is drawn anew with square pixels, attenuation ``(HU + 1000) / 1000 * mu`` (never below 0) is summed along
    each ray, detected as ``exp(-sum)`` (Beer-Lambert) with quantum noise, and displayed as its negative logarithm.

    Parameters
    ----------
    phantom : Phantom
    size : int, optional
        Columns; that of the CT if not given. Rows follow from the body's height.

    Returns
    -------
    Radiograph
    """
    anatomy = phantom.anatomy
    columns = size or phantom.hu.shape[2]
    if columns < MIN_SIZE:
        raise UsageError(f"A radiograph of {columns} columns: wanted at least {MIN_SIZE}.")
    pixel = anatomy.field_mm / columns
    rows = round(anatomy.height / pixel)
    depth = max(2 * columns // 5, MIN_SIZE)  # steps of half a rib
    thickness = 2 * (150 * anatomy.depth + anatomy.fat)
    grid = Grid.even((rows, depth, columns), (anatomy.height, thickness, anatomy.field_mm))
    shadows = [_shadow(draw(anatomy, slab)) for slab in grid.slabs()]
    path, lung, infection = (np.concatenate(parts)[::-1] for parts in zip(*shadows, strict=True))
    path = ndimage.gaussian_filter(path * (WATER_PER_MM / 1000 * thickness / depth), 0.6)
    rng = np.random.default_rng([anatomy.seed, 3])
    photons = rng.poisson(2e6 * np.exp(-path))  # seen per pixel before the body
    path = -np.log(np.maximum(photons, 1) / 2e6)
    inside = path > 10 * WATER_PER_MM
    path -= 0.45 * ndimage.gaussian_filter(path, 30 / pixel)  # unsharp mask, as consoles apply it
    dark, bright = np.percentile(path[inside], (0.5, 99.7))
    gray = np.clip((path - dark) / (bright - dark), 0, 1)
    return Radiograph(
        image=np.rint((GRAY_LEVELS - 1) * gray).astype(np.uint16),
        lung_mask=lung.copy(),
        infection_mask=infection.copy(),
        spacing_mm=(anatomy.height / rows, pixel),
    )


def _shadow(body: Body) -> tuple[Floats, Mask, Mask]:
    """Sums along the rays: (HU + 1000) with the bones' excess; and where a ray meets lung and infection."""
    density = np.maximum(body.hu + 1000, 0) + (BONE_EXCESS - 1) * np.maximum(body.hu - 150, 0)
    return density.sum(axis=1), np.any(body.lung, axis=1), np.any(body.infection, axis=1)


# ---- geometry ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Grid:
    """Sample points in mm: z (slices, 1, 1), y (1, rows, 1), x (1, 1, columns), float32."""

    z: Floats
    y: Floats
    x: Floats

    @classmethod
    def even(cls, shape: tuple[int, int, int], extent_mm: tuple[float, float, float]) -> Grid:
        """Centers of `shape` cells that fill a box; z from 0 upward, y and x around 0."""
        z, y, x = ((np.arange(n) + 0.5) * (mm / n) for n, mm in zip(shape, extent_mm, strict=True))
        return cls(
            z.astype(np.float32)[:, None, None],
            (y - extent_mm[1] / 2).astype(np.float32)[None, :, None],
            (x - extent_mm[2] / 2).astype(np.float32)[None, None, :],
        )

    def slabs(self, planes: int = 16) -> Iterator[Grid]:
        """The grid cut along z, so that a fine one needs no more memory than a CT."""
        for first in range(0, self.z.size, planes):
            yield Grid(self.z[first : first + planes], self.y, self.x)


@dataclass(frozen=True)
class Waves:
    """A smooth random field, defined everywhere: a sum of plane waves, about normal with deviation 1.

    Parameters
    ----------
    vectors : (n, 3) float64
        Wave vectors (z, y, x) in radians per mm.
    phases : (n,) float64
    """

    vectors: Floats
    phases: Floats

    @classmethod
    def sample(cls, rng: np.random.Generator, n: int, shortest_mm: float, longest_mm: float) -> Waves:
        direction = rng.standard_normal((n, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        lengths = np.exp(rng.uniform(np.log(shortest_mm), np.log(longest_mm), (n, 1)))
        return cls(direction * (2 * np.pi / lengths), rng.uniform(0, 2 * np.pi, n))

    def on(self, grid: Grid) -> Floats:
        """Values at every point of `grid`, float32.

        A plane wave is a product of one factor an axis, so that the sum over waves is a matrix product; one for each
        row, because BLAS starts threads for a large one, which get in the way of other patients' processes. In double
        precision: rounding that differs between machines then stays far from the last bit of a Hounsfield unit.
        """
        kz, ky, kx = self.vectors.T
        down = np.exp(1j * (grid.y.reshape(-1, 1, 1) * ky + grid.z.reshape(1, -1, 1) * kz + self.phases))
        across = np.exp(1j * kx[:, None] * grid.x.ravel())
        total = np.concatenate([down.real, -down.imag], axis=2) @ np.concatenate([across.real, across.imag])
        return (np.sqrt(2 / len(kx)) * total).swapaxes(0, 1).astype(np.float32, order="C")


@dataclass(frozen=True)
class Tubes:
    """Straight tapered tubes: ends (n, 3) as (z, y, x) in mm, and the radius at each end (n,)."""

    start: Floats
    end: Floats
    radius_start: Floats
    radius_end: Floats

    @classmethod
    def through(cls, points: list[tuple[float, float, float]], radii: list[float]) -> Tubes:
        """A chain of tubes through `points` (z, y, x)."""
        p, r = np.array(points, float), np.array(radii, float)
        return cls(p[:-1], p[1:], r[:-1], r[1:])

    @classmethod
    def joined(cls, parts: list[Tubes]) -> Tubes:
        return cls(
            *(np.concatenate([getattr(p, name) for p in parts]) for name in ("start", "end")),
            *(np.concatenate([getattr(p, name) for p in parts]) for name in ("radius_start", "radius_end")),
        )

    def depth(self, grid: Grid, floor: float = -3.0) -> Floats:
        """How deep (mm) each point lies under a tube's surface, negative outside; `floor` far away.

        Each tube is only computed in its own box: hundreds of vessels then cost little.
        """
        out = np.full((grid.z.size, grid.y.size, grid.x.size), floor, np.float32)
        tubes = [part.astype(np.float32) for part in (self.start, self.end, self.radius_start, self.radius_end)]
        reach = np.maximum(tubes[2], tubes[3])[:, None] - floor
        low, high = np.minimum(tubes[0], tubes[1]) - reach, np.maximum(tubes[0], tubes[1]) + reach
        axes = (grid.z.ravel(), grid.y.ravel(), grid.x.ravel())
        first, stop = (
            np.stack([np.searchsorted(axis, ends[:, n]) for n, axis in enumerate(axes)], axis=1) for ends in (low, high)
        )
        for n in np.flatnonzero((first < stop).all(axis=1)):
            a, b, ra, rb = (part[n] for part in tubes)
            box = tuple(slice(i, j) for i, j in zip(first[n], stop[n], strict=True))
            z, y, x = grid.z[box[0]] - a[0], grid.y[:, box[1]] - a[1], grid.x[..., box[2]] - a[2]
            d = b - a
            along = np.clip((z * d[0] + y * d[1] + x * d[2]) / max(float(d @ d), 1e-6), 0, 1)
            off = np.sqrt((z - along * d[0]) ** 2 + (y - along * d[1]) ** 2 + (x - along * d[2]) ** 2)
            np.maximum(out[box], ra + along * (rb - ra) - off, out=out[box], casting="same_kind")
        return out


@dataclass(frozen=True)
class Lesions:
    """Blobs of disease: centers (n, 3) and radii (n, 3) as (z, y, x) in mm.

    A point is infected where its closeness to the nearest blob, roughened by waves, exceeds `level`.
    """

    centers: Floats
    radii: Floats
    solid: Mask  # (n,) True: consolidated core
    rough: Waves
    level: float = 0.0

    def closeness(self, grid: Grid, mask: Mask) -> tuple[Floats, Floats]:
        """For the points of `mask`: closeness to any blob, and to a solid one (1 at its center, falling outward)."""
        z, y, x = _points(grid, mask)
        nearest = np.full((2, z.size), np.inf, np.float32)
        for (cz, cy, cx), (rz, ry, rx), solid in zip(self.centers, self.radii, self.solid, strict=True):
            far = ((z - cz) / rz) ** 2 + ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2
            np.minimum(nearest[0], far, out=nearest[0], casting="same_kind")
            if solid:
                np.minimum(nearest[1], far, out=nearest[1], casting="same_kind")
        closeness = 1 - np.sqrt(nearest) + 0.28 * self.rough.on(grid)[mask]
        return closeness[0], closeness[1]


def _points(grid: Grid, mask: Mask) -> tuple[Floats, ...]:
    """Coordinates (z, y, x) of the points in `mask`."""
    return tuple(axis.ravel()[index] for axis, index in zip((grid.z, grid.y, grid.x), np.nonzero(mask), strict=True))


@dataclass(frozen=True)
class Anatomy:
    """The numbers that make one patient; lengths in mm, side by side (right, left) where there are two."""

    seed: int
    height: float  # of the imaged part, from the upper abdomen to the neck
    field_mm: float  # side of the square field of view
    width: float  # scale of the chest from side to side
    depth: float  # scale from front to back
    fat: float  # thickness under the skin
    breast: float  # 0 for none
    apex: float  # height of the lungs' tips, as a share of `height`
    dome: tuple[float, float]  # height of the diaphragm's right and left dome
    heart: tuple[float, float, float]  # half axes (z, y, x)
    contrast: float  # HU that contrast medium adds to blood
    lung_hu: float
    effusion: tuple[float, float]  # thickness of the fluid at the base, right and left; 0 for none
    effusion_hu: float
    bend: tuple[Waves, Waves]  # displaces x and y, so that no outline is an ellipse
    texture: Waves
    lumps: Waves  # in fat and ground glass
    vessels: Tubes
    lesions: Lesions | None

    @classmethod
    def sample(cls, seed: int, *, infected: bool) -> Anatomy:
        """Draw a patient at random; disease comes last, so that the body does not depend on it."""
        rng = np.random.default_rng([seed, 0])
        height = rng.uniform(318, 345)
        width, depth = rng.uniform(0.93, 1.06), rng.uniform(0.92, 1.06)
        fat = rng.uniform(7, 20)
        right_dome = rng.uniform(0.27, 0.34) * height
        fluid_side, has_fluid = rng.integers(3), rng.random() < 0.3  # right, left or both
        fluid = rng.uniform(20, 48, 2) * has_fluid * np.array([fluid_side != 1, fluid_side != 0])
        without = cls(
            seed=seed,
            height=height,
            field_mm=2 * (172 * width + fat) + rng.uniform(6, 26),
            width=width,
            depth=depth,
            fat=fat,
            breast=rng.uniform(14, 30) * (rng.random() < 0.5),
            apex=rng.uniform(0.87, 0.91),
            dome=(right_dome, right_dome - rng.uniform(6, 18)),
            heart=(rng.uniform(46, 56), rng.uniform(36, 44), rng.uniform(50, 62)),
            contrast=rng.uniform(90, 180) * (rng.random() < 0.25),
            lung_hu=LUNG + rng.uniform(-18, 18),
            effusion=(float(fluid[0]), float(fluid[1])),
            effusion_hu=rng.uniform(*EFFUSION_HU),
            bend=(Waves.sample(rng, 8, 60, 180), Waves.sample(rng, 8, 60, 180)),
            texture=Waves.sample(rng, 32, 7, 40),
            lumps=Waves.sample(rng, 20, 12, 45),
            vessels=_vessel_trees(rng, height, width),
            lesions=None,
        )
        if not infected:
            return without
        lesions = _sample_lesions(without, np.random.default_rng([seed, 1]))
        return replace(without, lesions=lesions)


def _vessel_trees(rng: np.random.Generator, height: float, width: float) -> Tubes:
    """Vessels that fork from each hilum outward, thinning from about 5 mm to under 1 mm."""
    starts, ends, radii = [], [], []
    for side in (-1, 1):
        tips = []
        for up, back in ((0.9, 0.1), (0.5, -0.7), (0.1, 0.8), (-0.5, -0.6), (-0.8, 0.4), (-1.0, 0.9)):
            direction = np.array([up, back, side * rng.uniform(0.6, 1.2)]) + rng.normal(0, 0.12, 3)
            tips.append((np.array([0.51 * height, 8.0, side * 34 * width]), direction, rng.uniform(3.6, 5.2)))
        while tips:
            point, direction, radius = tips.pop()
            direction = direction / np.linalg.norm(direction)
            end = point + direction * rng.uniform(13, 26) * (0.55 + 0.14 * radius)
            starts.append(point)
            ends.append(end)
            radii.append((radius, 0.84 * radius))
            if radius > 0.95:
                for shrink in rng.uniform(0.62, 0.86, 2):
                    tips.append((end, direction + rng.normal(0, 0.36, 3), shrink * radius))
    taper = np.array(radii)
    return Tubes(np.array(starts), np.array(ends), taper[:, 0], taper[:, 1])


def _sample_lesions(anatomy: Anatomy, rng: np.random.Generator) -> Lesions:
    """Place disease at the periphery, rather at the back and the base, and grow it to the wanted share of the lung."""
    grid = Grid.even((56, 56, 56), (anatomy.height, anatomy.field_mm, anatomy.field_mm))
    frame = _frame(anatomy, grid)
    _, lung = _chest(anatomy, frame)
    z, y, x = _points(grid, lung)
    inward = -frame.wall[lung]
    weight = np.exp(-inward / 10 + y / 60 - z / anatomy.height)
    extent = EXTENT[0] + (EXTENT[1] - EXTENT[0]) * rng.random() ** 2
    n = int(rng.integers(4, 9) + 26 * extent)
    at = rng.choice(z.size, n, replace=False, p=weight / weight.sum())
    solid = rng.random(n) < rng.choice([0.0, 0.25, 0.5])  # in some patients all is ground glass
    on_pleura = np.flatnonzero(inward < 8)
    at[solid] = rng.choice(on_pleura, solid.sum(), replace=False, p=weight[on_pleura] / weight[on_pleura].sum())
    lesions = Lesions(
        centers=np.stack([z[at], y[at], x[at]], axis=1).astype(float),
        radii=rng.uniform(11, 32, (n, 1)) * rng.uniform(0.75, 1.3, (n, 3)),
        solid=solid,
        rough=Waves.sample(rng, 24, 14, 60),
    )
    closeness, _ = lesions.closeness(grid, lung)
    level = float(np.quantile(closeness, 1 - extent))
    return replace(lesions, level=level)


# ---- drawing -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Body:
    """A drawn patient, sharp and without noise: hu float32 and masks, each (slices, rows, columns)."""

    hu: Floats
    lung: Mask
    left: Mask  # the part of the lung on the patient's left
    infection: Mask


@dataclass(frozen=True)
class _Frame:
    """Coordinates that follow one patient's body, at every point of a grid."""

    grid: Grid
    x: Floats  # mm, bent
    y: Floats
    side: Floats  # |x|
    u: Floats  # height as a share of the imaged part, (slices, 1, 1)
    lumps: Floats  # soft noise
    body: Mask
    under_skin: Floats  # mm
    cavity: Mask  # the chest cavity, down to the belly: everything within the ribs
    wall: Floats  # mm outward of the cavity, along the radius
    front: Floats  # 0 at the back of the chest, 1 at its front
    below: Mask  # below the diaphragm
    under: Floats  # mm below it
    spine_y: Floats  # center of the vertebral bodies, (slices, 1, 1)


def draw(anatomy: Anatomy, grid: Grid) -> Body:
    """Evaluate a patient's formulas at every point of a grid.

    Parameters
    ----------
    anatomy : Anatomy
    grid : Grid

    Returns
    -------
    Body
    """
    frame = _frame(anatomy, grid)
    hu, lung = _chest(anatomy, frame)
    infection = _paint_lung(hu, anatomy, frame, lung)
    _paint_bones(hu, frame)
    return Body(hu, lung, lung & (frame.x > 0), infection)


def _chest(a: Anatomy, f: _Frame) -> tuple[Floats, Mask]:
    """Everything but lung and bone, and the lung mask."""
    hu = _trunk(a, f)
    _paint_belly(hu, a, f)
    space = _paint_mediastinum(hu, a, f)
    fluid = space & _in_effusion(a, f)
    hu[fluid] = a.effusion_hu
    return hu, space & ~fluid


def _frame(a: Anatomy, grid: Grid) -> _Frame:
    u = grid.z / a.height
    x = grid.x + 3.2 * a.bend[0].on(grid)
    y = grid.y + 2.6 * a.bend[1].on(grid)
    side = np.abs(x)

    # The cavity: a superellipse in each slice that closes to a dome at the apex.
    rise = np.clip((u - 0.35) / (a.apex - 0.35), 0, 1)
    dome = np.maximum((1 - rise**2.6) ** 0.45, 0.03) * (1 - 0.1 * np.clip((0.35 - u) / 0.35, 0, 1))
    mid_y = -3 + 22 * rise
    half = 136 * a.width * np.where(x < 0, np.float32(1), np.float32(0.95))  # the left lung is the smaller one
    around = _superellipse(x / (half * dome), (y - mid_y) / (99 * a.depth * dome))
    radius = np.hypot(x, y - mid_y)

    # The skin: a wide trunk, shoulders sloping to the neck.
    trunk_x = _profile(u, (0, 0.3, 0.7, 0.84, 0.93, 1), (152, 158, 164, 172, 140, 84)) * a.width + a.fat
    trunk_y = _profile(u, (0, 0.5, 0.75, 0.9, 1), (114, 122, 112, 86, 64)) * a.depth + 0.7 * a.fat
    bump = a.breast * np.exp(-(((u - 0.42) / 0.11) ** 2)) * np.exp(-(((grid.x**2 - 78**2) / 78**2) ** 2))
    skin = _superellipse(side / trunk_x, (y - 4) / (trunk_y + np.where(grid.y < 0, bump, np.float32(0))))

    # The diaphragm: a dome over each half of the belly, deeper at the edge and at the back.
    off = (side - 66 * a.width) / (76 * a.width)
    reach = np.where(off > 0, off, 0.4 * off) ** 2 + ((y + 8) / (96 * a.depth)) ** 2
    right, left = (np.float32(mm) for mm in a.dome)
    floor = np.maximum(np.where(x < 0, right, left) - 52 * reach - 0.22 * y, 0.075 * a.height)
    return _Frame(
        grid=grid,
        x=x,
        y=y,
        side=side,
        u=u,
        lumps=a.lumps.on(grid),
        body=skin < 1,
        under_skin=np.hypot(x, y - 4) * (1 / np.maximum(skin, 1e-3) - 1),
        cavity=(around < 1) & (u < a.apex),
        wall=radius * (1 - 1 / np.maximum(around, 1e-3)),
        front=0.5 - 0.5 * (y - mid_y) / np.maximum(radius, 1),
        below=grid.z < floor,
        under=floor - grid.z,
        spine_y=(66 * a.depth - 50 * np.clip(u - 0.75, 0, 1)).astype(np.float32),
    )


def _superellipse(x: Floats, y: Floats) -> Floats:
    """1 on the outline of a slightly squared ellipse (power 2.5), less inside; `x` and `y` in half axes."""
    return (x**2 * np.sqrt(np.abs(x)) + y**2 * np.sqrt(np.abs(y))) ** np.float32(0.4)


def _profile(u: Floats, knots: tuple[float, ...], values: tuple[float, ...]) -> Floats:
    return np.interp(u, knots, values).astype(np.float32)


def _trunk(a: Anatomy, f: _Frame) -> Floats:
    """Air, skin, fat and the muscles of the wall."""
    hu = np.where(f.body, FAT + 8 * f.lumps, AIR).astype(np.float32)
    thick = _profile(f.u, (0.42, 0.6, 0.78, 0.86), (15, 26, 46, 170))  # from the ribs outward: shoulders, then all
    muscle = (f.wall < thick + 3 * f.lumps) & (f.under_skin > 0.6 * a.fat) & ((f.u < 0.8) | (f.lumps < 1.2))
    muscle |= (((f.side - 32) / 26) ** 2 + ((f.y - f.spine_y - 38) / 18) ** 2 < 1) & (f.under_skin > 4)
    hu[f.body & muscle] = SOFT
    hu[f.body & (f.under_skin < 1.8)] = 10
    return hu


def _paint_belly(hu: Floats, a: Anatomy, f: _Frame) -> None:
    """What lies under the diaphragm: liver, spleen, and a stomach whose bubble is air outside the lung."""
    belly = f.cavity & f.below
    hu[belly] = FAT + 8 * f.lumps[belly]
    hu[belly & (f.under < 3.5)] = SOFT
    hu[belly & (f.x < 28 - 0.25 * f.y) & (f.y < 72) & (f.under > 2)] = LIVER
    z_left = a.dome[1]
    spleen = ((f.x - 96 * a.width) / 25) ** 2 + ((f.y - 46) / 34) ** 2 + ((f.grid.z - z_left + 62) / 45) ** 2 < 1
    hu[belly & spleen] = LIVER - 8
    stomach = ((f.x - 62) / 40) ** 2 + ((f.y + 22) / 40) ** 2 + ((f.grid.z - z_left + 44) / 36) ** 2
    hu[belly & (stomach < 1)] = SOFT
    hu[belly & (stomach < 0.84)] = np.broadcast_to(np.where(f.grid.y < -26, AIR + 30, 12), hu.shape)[
        belly & (stomach < 0.84)
    ]


def _paint_mediastinum(hu: Floats, a: Anatomy, f: _Frame) -> Mask:
    """Heart, great vessels, airways and the fat between; return the space that is left for the lungs."""
    turned_x, turned_y = 0.82 * (f.x - 21) - 0.57 * (f.y + 32), 0.57 * (f.x - 21) + 0.82 * (f.y + 32)
    heart_z = f.grid.z - 0.35 * a.height
    half_z, half_y, half_x = a.heart

    def heart(larger: float) -> Mask:
        near = ((turned_x / (half_x + larger)) ** 2) + (turned_y / (half_y + larger)) ** 2
        return near + (heart_z / (half_z + larger)) ** 2 < 1

    blood = _central_vessels(a).depth(f.grid, -5)
    air = _airways(a).depth(f.grid, -4)
    waist = _profile(f.u, (0.3, 0.5, 0.7, 0.85), (18, 37, 36, 27))
    between = heart(4) | (blood > -4.5) | (air > -3.5)
    between |= np.hypot(f.x / 1.15, f.y - f.spine_y) < 23
    meeting = _profile(f.u, (0.4, 0.5, 0.62, 0.75), (16, 5, 5, 18))  # half the width where the two pleurae meet
    between |= f.side < np.where(f.y < 0, meeting, np.float32(11))
    between |= (f.x / waist) ** 2 + ((f.y - 2) / 56) ** 2 < 1
    above = f.cavity & ~f.below
    hu[above & between] = FAT
    hu[above & heart(0)] = SOFT
    chambers = above & heart(-11) & (np.abs(turned_x + 6) > 3)
    hu[chambers] = BLOOD + a.contrast
    gullet = np.hypot(f.x - 5, f.y - f.spine_y + 27) < 6.5
    hu[f.body & gullet & ~f.below] = SOFT - 10
    hu[f.body & (blood > 0)] = BLOOD + a.contrast
    hu[f.body & (air > -1.8)] = SOFT - 20
    hu[f.body & (air > 0)] = AIR + 10
    return above & ~between


def _central_vessels(a: Anatomy) -> Tubes:
    h, w = a.height, a.width
    return Tubes.joined(
        [
            Tubes.through(  # aorta: up, over the arch, down along the spine
                [
                    (0.40 * h, -4, -28),
                    (0.56 * h, -13, -28),
                    (0.63 * h, -8, -10),
                    (0.645 * h, 10, 12),
                    (0.60 * h, 32, 22),
                    (0.5 * h, 38, 22),
                    (0.0 * h, 36, 14),
                ],
                [15, 15, 14, 13, 12, 12, 10],
            ),
            Tubes.through([(0.42 * h, -16, -26), (0.76 * h, -20, -26)], [10, 8]),  # vena cava
            Tubes.through([(0.42 * h, -34, 12), (0.52 * h, -16, 16), (0.53 * h, 8, 38 * w)], [14, 13, 8]),
            Tubes.through([(0.52 * h, -12, 14), (0.505 * h, 2, -18), (0.51 * h, 8, -36 * w)], [12, 11, 8]),
            *(Tubes.through([(0.63 * h, y, x), (h, y + 6, 2.2 * x)], [5.5, 4]) for y, x in ((-10, -14), (4, 14))),
            Tubes.through([(0.74 * h, -18, -26), (0.82 * h, -22, -40), (h, -2, -36)], [7, 6.5, 6]),
            Tubes.through([(0.70 * h, -24, -24), (0.78 * h, -26, 18), (h, -2, 38)], [6, 6.5, 6]),
        ]
    )


def _airways(a: Anatomy) -> Tubes:
    h, w = a.height, a.width
    fork = (0.575 * h, 12.0, 1.0)
    return Tubes.joined(
        [
            Tubes.through([(h + 20, -14, 0), (0.75 * h, 4, 0), fork], [8, 8.5, 8.5]),
            Tubes.through([fork, (0.535 * h, 15, -22), (0.505 * h, 17, -40 * w)], [7, 6.5, 5]),
            Tubes.through([fork, (0.53 * h, 17, 24), (0.49 * h, 18, 42 * w)], [6.5, 6, 4.5]),
        ]
    )


def _in_effusion(a: Anatomy, f: _Frame) -> Mask:
    """Fluid behind the lung: it lies at the back, thick at the base and thinning upward."""
    right, left = (np.float32(mm) for mm in a.effusion)
    thick = np.where(f.x < 0, right, left) * np.clip(1 - (f.u - 0.12) / 0.5, 0, 1)
    # Within `thick` of the cavity's back wall, or of the spine's flank, along the way that is down for a lying patient.
    return (f.wall > -thick * np.clip(1.15 - 1.35 * f.front, 0, 1)) & (thick > 0)


def _paint_lung(hu: Floats, a: Anatomy, f: _Frame, lung: Mask) -> Mask:
    """Parenchyma, disease and vessels; return the infection mask."""
    values = a.lung_hu + LUNG_SLOPE * (f.y[lung] + 10) + 20 * a.texture.on(f.grid)[lung]
    infection = np.zeros_like(lung)
    if a.lesions is not None:
        any_blob, solid_blob = a.lesions.closeness(f.grid, lung)
        sick = any_blob > a.lesions.level
        inner = np.clip((any_blob - a.lesions.level) / 0.45, 0, 1)  # 0 at the lesion's edge
        mix = np.clip(0.75 * inner + 0.13 * f.lumps[lung] + 0.07 * a.texture.on(f.grid)[lung], 0, 1)
        low, high = GROUND_GLASS_HU
        values = np.where(sick, low + (high - low) * mix, values)
        solid = sick & (solid_blob > 0.1 - f.wall[lung] / 45)  # broad at the pleura, narrow inward
        low, high = CONSOLIDATION_HU
        mix = np.clip(0.6 + 0.25 * f.lumps[lung], 0, 1)
        values = np.where(solid, low + (high - low) * mix, values)
        infection[lung] = sick
    pixel = float(f.grid.x[0, 0, 1] - f.grid.x[0, 0, 0])
    covered = np.clip(a.vessels.depth(f.grid)[lung] / pixel + 0.5, 0, 1)  # share of the pixel that a vessel takes
    hu[lung] = values + covered * np.maximum(BLOOD + a.contrast - values, 0)
    return infection


def _paint_bones(hu: Floats, f: _Frame) -> None:
    """Ribs with their cartilage, spine, breastbone, collarbones, shoulder blades and upper arms."""

    where = f.body & ((f.wall > 0) | (np.hypot(f.x / 1.15, f.y - f.spine_y) < 22))

    def paint(bone: Floats, inner: float, shell: float = CORTEX) -> None:
        """`bone` is below 1 inside; its rim is dense."""
        inside = where & (bone < 1)
        hu[inside] = np.where(bone[inside] < 0.5, inner, shell)

    z, height = f.grid.z, float(f.grid.z[0, 0, 0] / f.u[0, 0, 0])
    slope = z + RIB_DROP * f.front - 34
    number = np.floor(slope / RIB_PITCH)
    rib = ((f.wall - 7) / 3.8) ** 2 + ((slope - (number + 0.5) * RIB_PITCH) / 7) ** 2
    exists = (number >= 0) & (slope < height) & (f.front < np.where(number < 2, 0.6, 0.99)) & (f.u < 0.94)
    cartilage = f.front > 0.86
    paint(np.where(exists & cartilage, rib, 9), CARTILAGE, CARTILAGE)
    paint(np.where(exists & ~cartilage, rib, 9), MARROW)

    breastbone = ((f.wall - 8) / 6) ** 4 + (f.side / 17) ** 4
    paint(np.where((f.front > 0.9) & (f.u > 0.36) & (f.u < 0.74), breastbone, 9), MARROW - 60, CORTEX - 300)

    blade = ((f.wall - 20) / 3.5) ** 2 + ((f.side - 100) / 42) ** 4 + ((f.u - 0.72) / 0.15) ** 4
    paint(np.where((f.front < 0.45) & (f.under_skin > 5), blade, 9), MARROW)
    for s in (-1, 1):
        collar = Tubes.through(
            [(0.79 * height, -62, s * 16), (0.83 * height, -58, s * 70), (0.885 * height, -8, s * 140)], [8, 6, 7]
        )
        paint(1 - collar.depth(f.grid, -1) / 6, MARROW)
    arm = np.hypot(f.side - 158, f.y - 4) ** 2 / 21**2 + (z - 0.86 * height) ** 2 / 22**2
    paint(arm, MARROW)

    back = f.y - f.spine_y
    phase = np.abs((z + 9) % VERTEBRA_PITCH - VERTEBRA_PITCH / 2)  # mm from the middle of a vertebra
    vertebra = _superellipse(f.x / 18, back / 14.5) ** 2
    paint(vertebra, MARROW - 40, CORTEX - 250)
    disk = where & (vertebra < 0.9) & (phase > 9.5)
    hu[disk] = 85
    canal = np.hypot(f.x, back - 22)
    arch = np.abs(canal - 11) / 3
    paint(np.where(phase < 8, arch, 9), MARROW + 150)
    paint(np.where(phase < 5, _superellipse(f.x / 33, (back - 25) / 5), 9), MARROW)
    paint(np.where(phase < 8, _superellipse(f.x / 3.8, (back - 41) / 12), 9), MARROW)
    hu[where & (canal < 8.5)] = 25


def _table(a: Anatomy, grid: Grid) -> Floats:
    """The curved table under the patient, HU; air elsewhere."""
    top = 122 * a.depth + 0.7 * a.fat + 10 - grid.x**2 / 1500
    under = np.broadcast_to(grid.y - top, (grid.z.size, grid.y.size, grid.x.size))
    hu = np.where((under > 0) & (under < 26), -850.0, AIR)
    hu[(np.abs(under - 1.5) < 1.5) | (np.abs(under - 24.5) < 1.5)] = -150
    return hu.astype(np.float32)
