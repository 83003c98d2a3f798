"""A flat texture grown from a part that is known: square pieces laid side by side and cut where they agree best.

Pieces are taken from the known part itself. A texture that repeats is continued in step: its lattice is measured, and
a piece may only be laid a whole number of periods away from where it was taken, so that tiles and boards stay where
they belong. Elsewhere the piece that agrees best with its neighbours wins, pieces used before a little less.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PIECE_PX = 48
OVERLAP_SHARE = 1 / 3
TRIED = 64
"""Places that are compared for every piece."""
REUSE_COST = 0.06
"""Cost of a source place per earlier use, in units of the texture's variance."""
BLUR_COST = 0.5
"""Cost of a source place that is blurred over one pixel more, in the same units."""
STRANGE_COST = 0.4
"""Cost of a source place per variance that it differs from the usual colour: what stands out is seen to repeat."""
MIN_PLACES = 40
"""With fewer places to take a piece from, pieces are made smaller."""
SMALLEST_PX = 12
FEATHER_PX = 5
"""Side of the window over which a cut is blended."""
LATTICE_SCORE = 0.3
"""Mean correlation at the lattice's points from which on a texture counts as periodic."""
SMALLEST_PERIOD_PX = 6
LATTICE_ORDER = 3


@dataclass(frozen=True, kw_only=True)
class Lattice:
    """Two translations that bring a texture onto itself."""

    steps_px: np.ndarray
    """[2, 2] rows are translations (row, column), subpixel."""
    score: float
    """Mean correlation at the lattice's points, 0..1."""


def quilt(
    rgb: np.ndarray,
    filled: np.ndarray,
    wanted: np.ndarray,
    source_ok: np.ndarray,
    *,
    seed: int,
    blur_px: np.ndarray | None = None,
    lattice: Lattice | None = None,
    piece_px: int = PIECE_PX,
    least_px: int = SMALLEST_PX,
) -> np.ndarray | None:
    """Fill `wanted` pixels with pieces of the picture itself.

    Args:
        rgb: [H, W, 3] float, any range; light should be even.
        filled: [H, W] bool: known, never changed.
        wanted: [H, W] bool: to be filled.
        source_ok: [H, W] bool: pixels that pieces may consist of.
        seed: decides which places are tried.
        blur_px: [H, W] over how many pixels the source is blurred; sharp places are preferred.
        lattice: pieces keep its phase wherever the source shows that phase.
        piece_px: side of a piece; halved where no whole one is found.
        least_px: smallest side.

    Returns:
        [H, W, 3] float32, or None when not even the smallest piece fits into the source.
    """
    canvas = _Canvas(rgb, filled, wanted, blur_px, source_ok, pad=piece_px)
    sizes = [piece_px >> k for k in range(8) if piece_px >> k >= least_px]
    if lattice is not None:
        shifts = _lattice_shifts(lattice, max(rgb.shape[:2]))
        for size in sizes:
            canvas.lay(size, _corners(source_ok, size), seed, shifts=shifts)
    for size in sizes:
        valid = _corners(source_ok, size)
        if valid.sum() >= MIN_PLACES or (size == sizes[-1] and valid.any()):
            canvas.lay(size, valid, seed)
            return np.where((filled | ~wanted)[..., None], rgb, canvas.result()).astype(np.float32)
    return None


class _Canvas:
    """The picture while pieces are being laid."""

    def __init__(
        self,
        rgb: np.ndarray,
        filled: np.ndarray,
        wanted: np.ndarray,
        blur_px: np.ndarray | None,
        source_ok: np.ndarray,
        *,
        pad: int,
    ) -> None:
        import cv2

        self.source = rgb.astype(np.float32)
        self.shape = filled.shape
        # Room around the picture, so that pieces may stick out.
        self.pad = pad
        self.picture = np.pad(self.source, ((self.pad, self.pad), (self.pad, self.pad), (0, 0)))
        self.frozen = np.pad(filled, self.pad)
        self.done = self.frozen.copy()
        self.todo = np.pad(wanted & ~filled, self.pad)
        self.offsets = np.zeros((*self.done.shape, 2), np.int32)
        self.half = cv2.resize(self.source, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        self.variance = float(rgb[source_ok].var(0).mean()) + 1e-6 if source_ok.any() else 1.0
        middle = rgb[source_ok].mean(0) if source_ok.any() else 0.0
        strange = np.square(self.source - middle).mean(-1).astype(np.float32)
        self.place_cost = STRANGE_COST * cv2.blur(strange, (PIECE_PX, PIECE_PX))
        if blur_px is not None:
            self.place_cost += (BLUR_COST * self.variance * np.maximum(blur_px - 1, 0)).astype(np.float32)
        self.used = np.zeros((self.shape[0] // SMALLEST_PX + 2, self.shape[1] // SMALLEST_PX + 2), np.float32)

    def result(self) -> np.ndarray:
        return self.picture[self.pad : -self.pad, self.pad : -self.pad]

    def lay(self, size: int, valid: np.ndarray, seed: int, *, shifts: np.ndarray | None = None) -> None:
        """One pass with pieces of one size; those that have no place to come from are left out.

        Args:
            size: side of a piece [px].
            valid: [H, W] bool: upper left corners of whole pieces in the source.
            seed: of the random places.
            shifts: [N, 2] the only allowed distances between a piece and its source; any if None.
        """
        import cv2

        places = np.argwhere(valid)
        if not len(places):
            return
        side, overlap = size // 2, max(3, int(size * OVERLAP_SHARE))
        windows = np.lib.stride_tricks.sliding_window_view(self.half, (side, side), axis=(0, 1))
        for k, (y, x) in enumerate(_growing_order(self.todo, self.done, size, size - overlap)):
            at = np.s_[y : y + size, x : x + size]
            done = self.done[at]
            if not self.todo[at].any():
                continue
            rng = np.random.default_rng([seed, size, shifts is not None, k])
            home = np.array([y - self.pad, x - self.pad])
            tried = self._places_to_try(home, size, places, valid, shifts, rng)
            if not len(tried):
                continue
            here = cv2.resize(self.picture[at], (side, side), interpolation=cv2.INTER_AREA)
            weight = cv2.resize(done.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
            weight *= weight > 0.99
            py = np.minimum(tried[:, 0] // 2, len(windows) - 1)
            px = np.minimum(tried[:, 1] // 2, windows.shape[1] - 1)
            difference = windows[py, px] - here.transpose(2, 0, 1)
            cost = np.einsum("ncij,ncij,ij->n", difference, difference, weight) / (3 * max(float(weight.sum()), 1e-6))
            middle = tried + size // 2
            cell = middle[:, 0] // SMALLEST_PX, middle[:, 1] // SMALLEST_PX
            cost = cost + REUSE_COST * self.variance * self.used[cell]
            cost = cost + self.place_cost[middle[:, 0], middle[:, 1]]
            best = int(cost.argmin())
            near = np.s_[max(0, cell[0][best] - 1) : cell[0][best] + 2, max(0, cell[1][best] - 1) : cell[1][best] + 2]
            self.used[near] += 1
            self._paste(at, tried[best], tried[best] - home, overlap)

    def _paste(self, at: tuple[slice, slice], corner: np.ndarray, offset: np.ndarray, overlap: int) -> None:
        """Cut the piece at `corner` of the source to what is laid already, and blend it in."""
        import cv2

        from .quilting_numba import cut_out

        done = self.done[at]
        size = len(done)
        piece = self.source[corner[0] : corner[0] + size, corner[1] : corner[1] + size]
        gap = np.square(piece - self.picture[at]).sum(-1)
        inside = cut_out(gap, done, overlap)
        share = cv2.blur(inside.astype(np.float32), (FEATHER_PX, FEATHER_PX), borderType=cv2.BORDER_REPLICATE)
        share = np.where(done, share, 1.0) * ~self.frozen[at]
        self.picture[at] += share[..., None] * (piece - self.picture[at])
        taken = inside & ~self.frozen[at]
        self.offsets[at][taken] = offset
        self.done[at] = True
        self.todo[at] = False

    def _places_to_try(
        self,
        home: np.ndarray,
        size: int,
        places: np.ndarray,
        valid: np.ndarray,
        shifts: np.ndarray | None,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """[N, 2] corners in the source: in step with the lattice, or those that continue neighbours and random ones."""

        def inside(corner: np.ndarray) -> np.ndarray:
            ok = (corner >= 0).all(1) & (corner[:, 0] < self.shape[0]) & (corner[:, 1] < self.shape[1])
            corner = corner[ok]
            return corner[valid[corner[:, 0], corner[:, 1]]]

        if shifts is not None:
            in_step = inside(home + shifts)
            if len(in_step) > TRIED:
                in_step = in_step[np.sort(rng.choice(len(in_step), TRIED, replace=False))]
            return in_step
        y, x = home + self.pad
        last, middle = size - 1, size // 2
        own = self.offsets[y : y + size, x : x + size]
        own = own[[0, 0, last, last, middle, middle, 0, last], [0, last, 0, last, 0, last, middle, middle]]
        coherent = inside(home + np.unique(own[np.abs(own).sum(1) > 0].reshape(-1, 2), axis=0))
        return np.concatenate([coherent, places[rng.integers(0, len(places), TRIED)]])


def _corners(source_ok: np.ndarray, size: int) -> np.ndarray:
    """[H, W] bool: upper left corners of squares that lie wholly in the source."""
    import cv2

    kernel = np.ones((size, size), np.uint8)
    whole = cv2.erode(source_ok.astype(np.uint8), kernel, anchor=(0, 0), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return whole > 0


def find_lattice(rgb: np.ndarray, known: np.ndarray, *, largest_px: float) -> Lattice | None:
    """The lattice of a texture that repeats, from the correlation of its known part with itself; None if it does not.

    Args:
        rgb: [H, W, 3] float; light should be even.
        known: [H, W] bool.
        largest_px: longest period that is looked for.
    """
    from scipy import ndimage

    if not known.any():
        return None
    rows, columns = np.flatnonzero(known.any(1)), np.flatnonzero(known.any(0))
    seen = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    rgb, known = rgb[seen], known[seen]
    correlation, overlap = _self_correlation(rgb.astype(np.float64), known)
    h, w = correlation.shape
    cy, cx = h // 2, w // 2
    usable = overlap > 0.1 * overlap[cy, cx]
    correlation = np.where(usable, ndimage.gaussian_filter(correlation, 0.7), -1.0)
    reach = int(min(largest_px, cy - 2, cx - 2))
    near = correlation[cy - reach : cy + reach + 1, cx - reach : cx + reach + 1]
    peak = (near == ndimage.maximum_filter(near, 7)) & (near > 0.5 * LATTICE_SCORE)
    found = np.argwhere(peak) - reach
    length = np.linalg.norm(found, axis=1)
    upper = (found[:, 0] > 0) | ((found[:, 0] == 0) & (found[:, 1] > 0))
    found = found[upper & (length >= SMALLEST_PERIOD_PX) & (length <= largest_px)]
    if len(found) < 2:
        return None
    strength = correlation[cy + found[:, 0], cx + found[:, 1]]
    found = found[np.argsort(-strength, kind="stable")[:40]]
    best: list[tuple[float, float, np.ndarray]] = []
    for i in range(len(found)):
        for j in range(i + 1, len(found)):
            pair = _reduced(np.stack([found[i], found[j]]).astype(float))
            area = abs(float(np.linalg.det(pair)))
            short, long = np.linalg.norm(pair, axis=1)
            if short < SMALLEST_PERIOD_PX or area < 0.5 * short * long:
                continue
            score = _lattice_score(correlation, pair, (cy, cx))
            best.append((score, area, pair))
    if not best:
        return None
    top = max(score for score, _, _ in best)
    if top < LATTICE_SCORE:
        return None
    # A lattice of every other tile scores as well as that of every tile; the finest that still fits is meant.
    score, _, pair = min((b for b in best if b[0] > 0.85 * top), key=lambda b: b[1])
    return Lattice(steps_px=_refined(correlation, pair, (cy, cx)), score=score)


def _self_correlation(rgb: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[2H, 2W] normalised correlation with a shifted copy, zero shift in the middle, and the overlap's area."""
    import cv2

    h, w = known.shape
    size = (cv2.getOptimalDFTSize(2 * h), cv2.getOptimalDFTSize(2 * w))
    transformed = np.fft.rfft2(known.astype(float), size)
    total, energy = np.zeros(size), np.zeros(size)
    for c in range(3):
        a = np.where(known, rgb[..., c] - rgb[known, c].mean(), 0.0)
        total += np.fft.irfft2(np.square(np.abs(np.fft.rfft2(a, size))), size)
        energy += np.fft.irfft2(np.fft.rfft2(a * a, size) * np.conj(transformed), size)
    overlap = np.fft.irfft2(np.square(np.abs(transformed)), size)
    opposite = np.roll(energy[::-1, ::-1], (1, 1), (0, 1))
    scale = np.sqrt(np.maximum(energy, 1e-9) * np.maximum(opposite, 1e-9))
    return np.fft.fftshift(total / scale), np.fft.fftshift(overlap)


def _reduced(pair: np.ndarray) -> np.ndarray:
    """The shortest two translations of the same lattice (Gauss)."""
    a, b = pair
    while True:
        if a @ a > b @ b:
            a, b = b, a
        k = round(float(a @ b / max(a @ a, 1e-9)))
        if k == 0:
            return np.stack([a, b])
        b = b - k * a


def _lattice_points(pair: np.ndarray, order: int) -> np.ndarray:
    """[N, 2] integer coordinates of the lattice points of one half plane, without the origin."""
    i, j = np.meshgrid(np.arange(-order, order + 1), np.arange(-order, order + 1), indexing="ij")
    ij = np.stack([i.ravel(), j.ravel()], 1)
    return ij[(ij[:, 0] > 0) | ((ij[:, 0] == 0) & (ij[:, 1] > 0))]


def _lattice_score(correlation: np.ndarray, pair: np.ndarray, centre: tuple[int, int]) -> float:
    h, w = correlation.shape
    ij = _lattice_points(pair, LATTICE_ORDER)
    at = np.round(ij @ pair).astype(int) + np.array(centre)
    ok = (at >= 1).all(1) & (at[:, 0] < h - 1) & (at[:, 1] < w - 1)
    at = at[ok]
    # A pixel of slack: translations are not whole numbers.
    values = np.max([correlation[at[:, 0] + dy, at[:, 1] + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1)], axis=0)
    values = values[values > -1]
    return float(values.mean()) if len(values) >= 4 else 0.0


def _refined(correlation: np.ndarray, pair: np.ndarray, centre: tuple[int, int]) -> np.ndarray:
    """Subpixel translations: least squares over the peaks found near ever more distant lattice points."""
    h, w = correlation.shape
    for order in (1, 2, 3, 5):
        ij = _lattice_points(pair, order)
        where, weight = [], []
        for k in ij:
            y, x = np.round(k @ pair).astype(int) + centre
            if not (4 <= y < h - 4 and 4 <= x < w - 4):
                where.append([0.0, 0.0])
                weight.append(0.0)
                continue
            patch = correlation[y - 3 : y + 4, x - 3 : x + 4]
            dy, dx = divmod(int(patch.argmax()), patch.shape[1])
            value = float(patch[dy, dx])
            inner = 0 < dy < 6 and 0 < dx < 6
            sub = _parabola(patch, dy, dx) if inner else np.zeros(2)
            where.append([y + dy - 3 + sub[0] - centre[0], x + dx - 3 + sub[1] - centre[1]])
            weight.append(max(value, 0.0) if inner else 0.0)
        s = np.sqrt(np.array(weight))[:, None]
        if (s > 0).sum() >= 3:
            pair = np.asarray(np.linalg.lstsq(s * ij, s * np.array(where), rcond=None)[0])
    return pair


def _parabola(patch: np.ndarray, y: int, x: int) -> np.ndarray:
    """Subpixel offset (row, column) of a maximum inside a patch."""
    out = []
    for a, b, c in ((patch[y - 1, x], patch[y, x], patch[y + 1, x]), (patch[y, x - 1], patch[y, x], patch[y, x + 1])):
        bend = a - 2 * b + c
        out.append(float(np.clip(0.5 * (a - c) / bend, -0.5, 0.5)) if bend < 0 else 0.0)
    return np.array(out)


def _lattice_shifts(lattice: Lattice, reach_px: int) -> np.ndarray:
    """[N, 2] whole-pixel translations within reach."""
    short = float(np.linalg.norm(lattice.steps_px, axis=1).min())
    order = int(1.5 * reach_px / short) + 1
    ij = _lattice_points(lattice.steps_px, order)
    shifts = np.round(ij @ lattice.steps_px).astype(int)
    shifts = shifts[(np.abs(shifts) <= reach_px).all(1)]
    return np.concatenate([shifts, -shifts])


def _growing_order(todo: np.ndarray, done: np.ndarray, size: int, step: int) -> list[tuple[int, int]]:
    """Upper left corners of a grid of pieces, those nearest to what is known first."""
    import cv2

    away = cv2.distanceTransform((~done).astype(np.uint8), cv2.DIST_L2, 5) if done.any() else np.zeros(done.shape)
    corners = [
        (y, x)
        for y in range(0, done.shape[0] - size + 1, step)
        for x in range(0, done.shape[1] - size + 1, step)
        if todo[y : y + size, x : x + size].any()
    ]
    return sorted(corners, key=lambda c: (float(away[c[0] + size // 2, c[1] + size // 2]), c))
