"""The compiled loops by themselves."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalti.engine.compiled import kernels
from smalti.engine.compiled.exp2 import exp2


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
    spread, length, margin = kernels._spread_tape(layout, outer, tape)
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


def test_scratch_begins_at_a_cache_line():
    for dtype in (np.float32, np.float64):
        for length in (1, 63, 1000):
            assert kernels.scratch(3, length, np.empty(0, dtype)).ctypes.data % kernels.ALIGNMENT == 0
