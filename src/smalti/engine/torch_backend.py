"""The `torch` backend: the same two phases on any device, for every window family and match.

Separable windows (all boxes and Gaussians) are two small matrix products of the difference image, P d T^t, whatever their size;
other windows are one product with the matrix of masks. Distances are float32 (float64 where `precision` says that float32 would
not do), normalisers and sums over blocks float64.
"""

from __future__ import annotations

import itertools

import torch

from smalti.engine.backend import Backend, Covariances, Shares
from smalti.engine.decomposition import Largest
from smalti.engine.elements import Block, Selection, blocks
from smalti.engine.precision import PRODUCT_ERROR, double
from smalti.engine.problem import Problem
from smalti.engine.windows import Windows

__all__ = ["TorchBackend"]

# of one (B, n, K) or (B, n, C, H, W) intermediate: within a core's L2 cache; much of a GPU's memory
BLOCK_BYTES = {"cpu": 2 << 20, "cuda": 512 << 20}


class TorchBackend(Backend):
    """Leaves nothing out: a problem's tolerance holds as it is."""

    name = "torch"

    def log_normalisers(
        self, problem: Problem, z: torch.Tensor, sigma: torch.Tensor, selection: Selection
    ) -> torch.Tensor:
        total = _Pass(problem, z.float(), sigma).normalisers(selection)
        needed = double(total.abs().amax(1), PRODUCT_ERROR)
        if bool(needed.any()):
            total[needed] = _Pass(problem, z[needed].double(), sigma[needed.cpu()]).normalisers(selection)
        return total

    def numerator(
        self,
        problem: Problem,
        z: torch.Tensor,
        sigma: torch.Tensor,
        log_normalisers: torch.Tensor,
        selection: Selection,
    ) -> torch.Tensor:
        log_normalisers = log_normalisers.to(z.device)
        needed = double(log_normalisers.abs().amax(1), PRODUCT_ERROR)
        out = z.new_empty(z.shape, dtype=torch.float64)
        for chosen, dtype in ((~needed, torch.float32), (needed, torch.float64)):
            if bool(chosen.any()):
                run = _Pass(problem, z[chosen].to(dtype), sigma[chosen.cpu()])
                out[chosen] = run.numerator(selection, log_normalisers[chosen])
        return out

    def covariance_product(
        self,
        problem: Problem,
        z: torch.Tensor,
        sigma: torch.Tensor,
        direction: torch.Tensor,
        selection: Selection,
        transpose: bool,
    ) -> Covariances:
        run = _Pass(problem, z.double(), sigma)
        return run.covariance_product(selection, run.normalisers(selection), direction.double(), transpose)

    def shares(
        self,
        problem: Problem,
        z: torch.Tensor,
        sigma: torch.Tensor,
        selection: Selection,
        pixels: torch.Tensor,
        top: int,
    ) -> Shares:
        run = _Pass(problem, z.double(), sigma)
        return run.shares(selection, run.normalisers(selection), pixels.to(z.device), top)


class _Linear:
    """Window sums and their transposes as matrix products, for images d (..., C or 1, H, W) and weights w (..., K)."""

    channels = 1

    def sums(self, d: torch.Tensor) -> torch.Tensor:
        """sum_q window_k(q) d(q): (..., C, H, W) -> (..., K)."""
        raise NotImplementedError

    def spread(self, w: torch.Tensor) -> torch.Tensor:
        """sum_k window_k(q) w_k: (..., K) -> (..., C or 1, H, W)."""
        raise NotImplementedError

    @staticmethod
    def of(windows: Windows, shape: tuple[int, int, int], like: torch.Tensor) -> _Linear:
        factors = windows.factors(shape)
        if factors is not None:
            return _Separable(*(factor.to(like.device, like.dtype) for factor in factors))
        return _Dense(windows.masks(shape).to(like.device, like.dtype))


class _Separable(_Linear):
    def __init__(self, rows: torch.Tensor, columns: torch.Tensor) -> None:
        self.rows, self.columns = rows, columns

    def sums(self, d: torch.Tensor) -> torch.Tensor:
        return self._product(self.rows, d.sum(-3), self.columns.T).flatten(-2)

    def spread(self, w: torch.Tensor) -> torch.Tensor:
        grid = w.unflatten(-1, (len(self.rows), len(self.columns)))
        return self._product(self.rows.T, grid, self.columns)[..., None, :, :]

    @staticmethod
    def _product(left: torch.Tensor, d: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """left d right; with one batch axis, since matmul copies `left` for every image where there are two."""
        out = left @ d.flatten(0, -3) @ right
        return out.unflatten(0, d.shape[:-2])


class _Dense(_Linear):
    def __init__(self, masks: torch.Tensor) -> None:
        self.shape, self.channels = masks.shape[1:], masks.shape[1]
        self.matrix = masks.flatten(1)

    def sums(self, d: torch.Tensor) -> torch.Tensor:
        d = d.sum(-3, keepdim=True) if self.channels == 1 else d
        return d.flatten(-3) @ self.matrix.T

    def spread(self, w: torch.Tensor) -> torch.Tensor:
        return (w @ self.matrix).unflatten(-1, self.shape)


class _Pass:
    """One precision, one batch: z (B, C, H, W) in the dtype to compute in."""

    def __init__(self, problem: Problem, z: torch.Tensor, sigma: torch.Tensor) -> None:
        self.problem, self.z = problem, z
        self.scale = (0.5 / sigma.double() ** 2).to(z.device)
        self.queries = _Linear.of(problem.queries, problem.shape, z)
        self.responses = _Linear.of(problem.responses, problem.shape, z)
        widest = max(z[0].numel(), problem.count) * len(z) * z.element_size()
        self.size = max(1, BLOCK_BYTES.get(z.device.type, BLOCK_BYTES["cpu"]) // widest)

    def _logits(self, selection: Selection):  # type: ignore[no-untyped-def]
        """(block, logits (B, n, K)) for every block of elements."""
        for block in blocks(self.problem, selection, self.size, self.z.dtype, self.z.device):
            yield block, self._block_logits(block)

    def _block_logits(self, block: Block) -> torch.Tensor:
        squares = (self.z[:, None] - block.images).square_()
        sums = self.queries.sums(squares)
        values = block.log_priors[:, None] - sums * self.scale[:, None, None].to(sums.dtype)
        return values if block.admitted is None else values.masked_fill(~block.admitted, -torch.inf)

    def normalisers(self, selection: Selection) -> torch.Tensor:
        total = self.z.new_full((len(self.z), self.problem.count), -torch.inf, dtype=torch.float64)
        for _, values in self._logits(selection):
            torch.logaddexp(total, values.logsumexp(1).double(), out=total)
        return total

    def _weights(self, values: torch.Tensor, log_normalisers: torch.Tensor) -> torch.Tensor:
        reference = log_normalisers.to(values.dtype)
        correction = (reference - log_normalisers).exp().to(values.dtype)  # what rounding took from the normaliser
        return (values - reference[:, None]).exp_().mul_(correction[:, None])

    def numerator(self, selection: Selection, log_normalisers: torch.Tensor) -> torch.Tensor:
        total = torch.zeros_like(self.z, dtype=torch.float64)
        for block, values in self._logits(selection):
            composite = self.responses.spread(self._weights(values, log_normalisers))
            total += _contract(composite, block.images)
        return total

    def covariance_product(
        self, selection: Selection, log_normalisers: torch.Tensor, direction: torch.Tensor, transpose: bool
    ) -> Covariances:
        inner, outer = (self.responses, self.queries) if transpose else (self.queries, self.responses)
        mass, mean = torch.zeros_like(log_normalisers), torch.zeros_like(log_normalisers)
        for block, values in self._logits(selection):
            weights = self._weights(values, log_normalisers)
            products = inner.sums(direction[:, None] * block.images)
            mass += weights.sum(1)
            mean += (weights * products).sum(1)
        mean /= mass
        total = torch.zeros_like(self.z, dtype=torch.float64)
        by_image = total.new_zeros(len(self.z), len(selection))
        for block, values in self._logits(selection):
            weights = self._weights(values, log_normalisers)
            weights *= inner.sums(direction[:, None] * block.images) - mean[:, None]
            by_image[:, block.positions] += weights.sum(-1)
            total += _contract(outer.spread(weights), block.images)
        return Covariances(total, by_image)

    def shares(self, selection: Selection, log_normalisers: torch.Tensor, pixels: torch.Tensor, top: int) -> Shares:
        rows, columns = pixels.unbind(1)
        coverage = self.problem.coverage.to(self.z)
        largest = Largest(len(self.z), len(pixels), top, coverage.shape[0])
        entropy = torch.zeros(len(self.z), len(pixels), dtype=torch.float64)
        for positions, kinds in itertools.groupby(self._logits(selection), lambda pair: pair[0].positions):
            together = torch.zeros(len(self.z), len(pixels), positions.stop - positions.start, dtype=torch.float64)
            for block, values in kinds:
                composite = self.responses.spread(self._weights(values, log_normalisers)) / coverage
                share = composite[..., rows, columns].permute(0, 3, 1, 2).cpu()  # (B, P, n, C or 1)
                largest.add(share, self.problem.numbered(block.indices, block.flip, block.shift))
                together += share.mean(-1)
            entropy -= torch.special.xlogy(together, together).sum(-1)
        return Shares(largest.shares, largest.elements, entropy)


def _contract(weights: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """sum_i weights[b, i] * images[i]: (B, n, C or 1, H, W), (n, C, H, W) -> (B, C, H, W)."""
    return (weights * images).sum(1)
