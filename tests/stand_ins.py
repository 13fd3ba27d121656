"""Denoisers for tests: with a known deviation from the optimal one, and one that counts its calls."""

from __future__ import annotations

from smalti import Denoiser, Optimal

__all__ = ["Away", "Counts"]


class Away(Denoiser):
    """The optimal denoiser plus a fixed direction: its deviation is known."""

    def __init__(self, source, step, direction=0):
        self.step, self.direction = step, direction
        self.inner, self.shape, self.num_classes = Optimal(source), source.shape, source.num_classes

    def denoise(self, z, sigma, labels):
        out = self.inner(z, sigma, labels)
        out[:, :, self.direction] += self.step
        return out


class Counts(Denoiser):
    """Counts calls, and stops with Ctrl-C at one of them."""

    def __init__(self, inner, stop=0):
        self.inner, self.shape, self.num_classes, self.stop, self.calls = inner, inner.shape, inner.num_classes, stop, 0

    def __call__(self, z, sigma, labels=None):
        self.calls += 1
        if self.calls == self.stop:
            raise KeyboardInterrupt
        return self.inner(z, sigma, labels)

    def digest(self):
        return "counts"
