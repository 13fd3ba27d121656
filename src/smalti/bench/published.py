"""The published algorithms, written plainly: what `smalti bench` compares with, timed on a slice of the source and scaled.

In our own words, they do what the published code does, on the variance-exploding scale:

- PSPC (Niedoba et al.): each posterior mean in one pass over the images in batches of 100, with a running maximum; one crop or mask after
  another, the patches of all images gathered with a boolean mask.
- PCA-locality (Lukoianov et al.): batches of 256 images; squared differences times a dense (C H W, C H W) matrix of zeros and ones.
- Local score machines (Kamb & Ganguli): batches of 256 images; squared differences unfolded into windows, and summed.
- Equivariant machines: batches of 64 images; all their patches are filters that z is convolved with, and |z|^2 - 2 z x + |x|^2 the
  distances. With borders: patches of the interior for the interior, of each row along an edge for that row, of the corner for a corner.

The machines average the differences z - x, weighted, one number for each pixel, place, image and channel, as published; `by_products` in
their stead multiplies weights by pixels, as a careful author would, who also takes batches that fit the cache. Not counted: what is done
once for a call, however many images there are (cutting masks from heatmaps, filters from eigenvectors). PCA-locality's published average
normalises each batch by itself; here the running maximum goes on over batches, which costs next to nothing, so that the result is the
denoiser's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch.nn import functional

__all__ = [
    "batched_loop",
    "border_aware",
    "crop_by_crop",
    "equivariant",
    "local_score",
    "mask_by_mask",
    "pca_locality",
]

BATCH, LOCAL_BATCH, EQUIVARIANT_BATCH = 100, 256, 64  # images, as published


def batched_loop(z: torch.Tensor, sigma: float, images: torch.Tensor) -> torch.Tensor:
    """Posterior mean over whole images or patches: z (B, D) float32, images (N, D) uint8 -> (B, D) float32."""
    highest = z.new_full((len(z), 1), -torch.inf)
    mass = z.new_zeros((len(z), 1))
    mean = torch.zeros_like(z)
    for x in _batches(images, BATCH):
        logits = (z[:, None] - x).square().sum(-1) / (-2 * sigma**2)
        new_highest = torch.maximum(highest, logits.amax(1, keepdim=True))
        weights = (logits - new_highest).exp()
        shrink = (highest - new_highest).exp()
        new_mass = mass * shrink + weights.sum(1, keepdim=True)
        mean = (mean * mass * shrink + (x * weights[..., None]).sum(1)) / new_mass
        highest, mass = new_highest, new_mass
    return mean


# ------------------------------------------------------------------------------------------------- patch set composites


def crop_by_crop(z: torch.Tensor, sigma: float, images: torch.Tensor, side: int, by_mask: bool = True) -> torch.Tensor:
    """PSPC-Square, one crop position after another: z (B, C, H, W) float32, images (N, C, H, W) uint8 -> (B, C, H, W).

    `by_mask` gathers the patches with a boolean mask, as the published code does for every kind of patch; otherwise by slices, which
    is what a careful author would do for squares. The benchmark gives both.
    """
    height, width = z.shape[2:]
    corners = ((y, x) for y in range(height - side + 1) for x in range(width - side + 1))
    crops = ((slice(y, y + side), slice(x, x + side)) for y, x in corners)
    if by_mask:
        return mask_by_mask(z, sigma, images, (_mask_of(crop, height, width) for crop in crops))
    return _composite(z, sigma, images, ((..., *crop) for crop in crops))


def mask_by_mask(z: torch.Tensor, sigma: float, images: torch.Tensor, masks: Iterable[torch.Tensor]) -> torch.Tensor:
    """PSPC-Flex, one mask (H, W) bool after another: z (B, C, H, W) float32, images (N, C, H, W) uint8 -> (B, C, H, W)."""
    return _composite(z, sigma, images, ((..., mask) for mask in masks))


def _mask_of(crop: tuple[slice, slice], height: int, width: int) -> torch.Tensor:
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[crop] = True
    return mask


def _composite(z: torch.Tensor, sigma: float, images: torch.Tensor, patches: Iterator[tuple]) -> torch.Tensor:
    composite, count = torch.zeros_like(z), torch.zeros_like(z)
    for patch in patches:
        mean = batched_loop(z[patch].flatten(1), sigma, images[patch].flatten(1))
        composite[patch] += mean.reshape(z[patch].shape)
        count[patch] += 1
    return composite / count


# -------------------------------------------------------------------------------------- single pixels: running averages


def pca_locality(z: torch.Tensor, sigma: float, images: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """PCA-locality: z (B, C, H, W) float32, images (N, C, H, W) uint8, mask (D, D) float32 of 0 and 1, input before output entry."""
    flat = z.flatten(1)
    average = _Average()
    for x in _batches(images.flatten(1), LOCAL_BATCH):
        distances = torch.einsum("bkn,nm->bkm", (flat[:, None] - x).square(), mask)
        average.add(distances / (-2 * sigma**2), lambda weights, x=x: torch.einsum("bkn,kn->bn", weights, x)[:, None])  # type: ignore[misc]
    return average.value()[:, 0].reshape(z.shape)


def local_score(z: torch.Tensor, sigma: float, images: torch.Tensor, window: int) -> torch.Tensor:
    """LocalScore: z (B, C, H, W) float32, images (N, C, H, W) uint8."""
    average = _Average()
    for x in _batches(images, LOCAL_BATCH):
        _add_same_place(average, z, sigma, x, window, window // 2)
    return z - average.value()


def equivariant(
    z: torch.Tensor,
    sigma: float,
    images: torch.Tensor,
    window: int,
    by_products: bool = False,
    batch: int = EQUIVARIANT_BATCH,
) -> torch.Tensor:
    """ELS with circular borders: z (B, C, H, W) float32, images (N, C, H, W) uint8."""
    r = window // 2
    extended = functional.pad(z, (r, r, r, r), mode="circular")
    average = _Average()
    for x in _batches(images, batch):
        _add_every_place(average, extended, sigma, _patches(x, window), by_products)
    return z - average.value()


def border_aware(
    z: torch.Tensor,
    sigma: float,
    images: torch.Tensor,
    window: int,
    by_products: bool = False,
    batch: int = EQUIVARIANT_BATCH,
) -> torch.Tensor:
    """ELS with borders: z (B, C, H, W) float32, images (N, C, H, W) uint8, window < H, W.

    The four edges and corners are the upper edge and the upper left corner of the images turned by 0 to 3 quarters.
    """
    r = window // 2
    above, above_left = (0, 0, r, 0), (r, 0, r, 0)
    turned = [z.rot90(quarter, (2, 3)) for quarter in range(4)]
    inside, corners = _Average(), [_Average() for _ in range(4)]
    edges = [[_Average() for _ in range(r)] for _ in range(4)]
    for images_here in _batches(images, batch):
        _add_every_place(inside, z, sigma, _patches(images_here, window), by_products)
        for quarter in range(4):
            t, x = turned[quarter], images_here.rot90(quarter, (2, 3))
            t_corner, x_corner = (functional.pad(i[..., : 2 * r, : 2 * r], above_left) for i in (t, x))
            if r:
                _add_same_place(corners[quarter], t_corner, sigma, x_corner, window, 0)
            rows, rows_of_z = functional.pad(x, above), functional.pad(t, above)
            for row in range(r):
                strip = slice(row, row + window)
                patches = _patches(rows[:, :, strip], window)
                _add_every_place(edges[quarter][row], rows_of_z[:, :, strip], sigma, patches, by_products)
    difference = torch.zeros_like(z)
    for quarter in range(4):
        canvas = torch.zeros_like(turned[quarter])
        if r:
            canvas[..., :r, :r] = corners[quarter].value()
            canvas[..., :r, r : canvas.shape[3] - r] = torch.cat([edge.value() for edge in edges[quarter]], 2)
        difference += canvas.rot90(-quarter, (2, 3))
    difference[..., r : z.shape[2] - r, r : z.shape[3] - r] = inside.value()
    return z - difference


class _Average:
    """A running average over images and places, for each pixel, with a running maximum of the logits."""

    def __init__(self) -> None:
        self.highest: torch.Tensor | None = None

    def add(self, logits: torch.Tensor, weigh: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Logits (B, n, ...); `weigh` sums what is averaged with weights of that shape, (B, C, ...)."""
        highest = logits.amax(1)
        if self.highest is None:
            weights = (logits - highest[:, None]).exp()
            self.total, self.sums = weights.sum(1), weigh(weights)
        else:
            highest = torch.maximum(highest, self.highest)
            shrink = (self.highest - highest).exp()
            weights = (logits - highest[:, None]).exp()
            self.total = self.total * shrink + weights.sum(1)
            self.sums = self.sums * shrink[:, None] + weigh(weights)
        self.highest = highest

    def value(self) -> torch.Tensor:
        return self.sums / self.total[:, None]


def _batches(images: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
    for start in range(0, len(images), size):
        yield images[start : start + size].float() / 127.5 - 1


def _patches(x: torch.Tensor, window: int) -> torch.Tensor:
    """All p x p patches of (n, C, H, W): (places n, C, p, p)."""
    return functional.unfold(x, window).permute(2, 0, 1).reshape(-1, x.shape[1], window, window)


def _add_same_place(
    average: _Average, z: torch.Tensor, sigma: float, x: torch.Tensor, window: int, padding: int
) -> None:
    """z (B, C, h, w) and x (n, C, h, w): the windows around each pixel, all inside the image after padding with zeros."""
    differences = z[:, None] - x
    squares = differences.square().sum(2)
    height, width = (size + 2 * padding - window + 1 for size in z.shape[2:])
    windows = functional.unfold(squares, window, padding=padding).view(len(z), len(x), window**2, height, width)
    first = window // 2 - padding
    centres = differences[..., first : first + height, first : first + width]
    average.add(windows.sum(2) / (-2 * sigma**2), lambda weights: (weights[:, :, None] * centres).sum(1))


def _add_every_place(
    average: _Average, z: torch.Tensor, sigma: float, patches: torch.Tensor, by_products: bool
) -> None:
    """z (B, C, h, w), each of its p x p windows compared with all patches (n, C, p, p)."""
    side = patches.shape[-1]
    r = side // 2
    own = functional.unfold(z, side).square().sum(1).unflatten(1, (z.shape[2] - 2 * r, z.shape[3] - 2 * r))
    products = functional.conv2d(z, patches)
    distances = own[:, None] - 2 * products + patches.square().sum((1, 2, 3))[:, None, None]
    pixels, centres = z[:, :, r : z.shape[2] - r, r : z.shape[3] - r], patches[:, :, r, r]

    def differences(weights: torch.Tensor) -> torch.Tensor:
        return (weights[:, :, None] * (pixels[:, None] - centres[:, :, None, None])).sum(1)

    def products_of(weights: torch.Tensor) -> torch.Tensor:
        return pixels * weights.sum(1)[:, None] - torch.einsum("bnyx,nc->bcyx", weights, centres)

    average.add(distances / (-2 * sigma**2), products_of if by_products else differences)
