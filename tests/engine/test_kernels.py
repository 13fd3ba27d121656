"""The compiled loops by themselves."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import noisy, random_source
from smalti.engine.collection import PosteriorMeanCollection
from smalti.engine.compiled import kernels
from smalti.engine.compiled.exp2 import exp2
from smalti.engine.compiled.pixel_rows import absorb_pixels
from smalti.engine.programs.pixels import PixelProgram
from smalti.engine.programs.table import row_for
from smalti.engine.windows import Centred


@numba.njit
def _exp2_of(values, out):
    for i in range(values.shape[0]):
        out[i] = exp2(values[i])


def test_exp2_is_within_its_bound():
    x = np.concatenate([np.linspace(-126, 126, 2_000_001), np.arange(-126, 127)]).astype(np.float32)
    out = np.empty_like(x)
    _exp2_of(x, out)
    assert np.abs(out / np.exp2(x.astype(np.float64)) - 1).max() < 2.5e-7


def test_exp2_at_the_ends():
    out = np.full(5, np.nan, np.float32)
    _exp2_of(np.array([-np.inf, -1e30, -126.001, -126, 0], np.float32), out)
    assert out[:3].tolist() == [0, 0, 0]
    assert out[3] == pytest.approx(2.0**-126, rel=1e-6)
    assert out[4] == pytest.approx(1, abs=2.5e-7)


@numba.njit
def _absorb(logits, pixels, state, gap, wide):
    return absorb_pixels(logits, 16, pixels, np.float32(0), 0, 16, 1, state, 16, 16, gap, wide)


@given(height=st.integers(1, 24), width=st.integers(1, 24), seed=st.integers(0, 99))
def test_box_sums_and_their_transposes(height, width, seed):
    rng = np.random.default_rng(seed)
    stride, rows = 24 + int(rng.integers(0, 9)), 25
    n = kernels.padded((rows - height) * stride + 24 - width + 1)
    row = kernels.padded(n + height * stride + width) + 2 * kernels.LANES
    tape = np.zeros(6 * row + kernels.LANES)
    d = tape[4 * row : 5 * row]
    d[: rows * stride] = rng.random(rows * stride)
    at = kernels.box_sum(tape, 4 * row, height, width, stride, n, row)
    grid = d[: rows * stride].reshape(rows, stride)
    for y in range(rows - height + 1):
        for x in range(24 - width + 1):
            assert tape[at + y * stride + x] == pytest.approx(grid[y : y + height, x : x + width].sum())

    layout = (rows, 24, stride, 0, row, height, width, 0, n)
    outer = (height, width, 0, 0)
    spread, length, margin = kernels.spread_tape(layout, outer, tape)
    weights = np.zeros((rows - height + 1, stride))
    weights[:, : 24 - width + 1] = rng.random((rows - height + 1, 24 - width + 1))
    for _ in range(2):  # the second time, what the first left must not matter
        spread[margin : margin + weights.size] = weights.ravel()
        at = kernels.spread_box(spread, length, margin, layout, outer)
        out = spread[at : at + rows * 24].reshape(rows, 24)
        expected = np.zeros((rows, stride))
        for y in range(weights.shape[0]):
            for x in range(24 - width + 1):
                expected[y : y + height, x : x + width] += weights[y, x]
        np.testing.assert_allclose(out, expected[:, :24], atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 1, 9), (3, 2, 16), (2, 5, 17), (3, 4, 33), (1, 8, 32)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_one_pass_for_pixels(shape, dtype):
    """Rows that are whole vectors and rows that are not; fours that are full and not; float32 and float64."""
    source = random_source(6, shape, dtype=dtype, hflip=True)
    for window in (1, 3, 5, 2 * max(shape[1:]) - 1):
        collection = PosteriorMeanCollection(source, Centred(window), Centred(1), tolerance=0)
        assert row_for(collection.problem).prepare is PixelProgram
        reference = PosteriorMeanCollection(source, Centred(window), Centred(1), backend="reference")
        for sigma in (0.003, 0.4, 5.0):
            z = noisy(source, sigma, 3)
            np.testing.assert_allclose(collection(z, sigma), reference(z, sigma), atol=1e-5)
            np.testing.assert_allclose(
                collection.log_normalisers(z, sigma), reference.log_normalisers(z, sigma), rtol=1e-5, atol=1e-4
            )


def test_which_logits_an_image_has_near_the_largest():
    """Bits of the images whose logits are within the gap, and of those within the wider one; what is further off adds nothing."""
    state = np.zeros(3 * 16, np.float32)
    logits = np.full((4, 16), -70, np.float32)
    logits[1, 3], logits[2, 5] = -9, -30
    pixels = np.ones(64, np.float32)
    found = _absorb(logits.ravel(), pixels, state, np.float32(10), np.float32(40))
    assert found == 0b10010
    assert state[16 + 3] == pytest.approx(2.0**-9)
    assert state[32 + 3] == pytest.approx(2.0**-9)
    before = state.copy()
    logits[1, 3] = -20
    assert _absorb(logits.ravel(), pixels, state, np.float32(10), np.float32(40)) == 0b10000
    assert _absorb(logits.ravel(), pixels, state, np.float32(10), np.float32(15)) == 0
    np.testing.assert_array_equal(state, before)


def test_scratch_begins_at_a_cache_line():
    for dtype in (np.float32, np.float64):
        for length in (1, 63, 1000):
            assert kernels.scratch(3, length, np.empty(0, dtype)).ctypes.data % kernels.ALIGNMENT == 0
