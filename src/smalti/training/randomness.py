"""Random numbers that depend on (seed, purpose, number) alone, so that a resumed training draws what an uninterrupted one draws."""

from __future__ import annotations

import hashlib

import torch

__all__ = ["generator", "seed_of"]


def seed_of(seed: int, purpose: str, number: int) -> int:
    """63 bits of sha256."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{purpose}:{number}".encode()).digest()[:8], "little") >> 1


def generator(seed: int, purpose: str, number: int) -> torch.Generator:
    """A CPU generator of its own."""
    return torch.Generator().manual_seed(seed_of(seed, purpose, number))
