"""Masks as sparse sums that share work: groups of neighbouring queries, and the atoms that their masks are made of."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from smalti.engine.compiled.records import MaskSums
from smalti.engine.compiled.rows import LANES

__all__ = ["Atoms", "grouped", "make_atoms"]

GROUPS = (1, 2, 4, 8, 16, 32)  # numbers of queries whose masks may share sums
SAMPLED = 24  # groups that the costs of a number are judged by
# measured, cycles for each tile: to take an entry into an atom's sum, to hand the sum to a query, to begin an atom
ENTRY_COST, MEMBER_COST, ATOM_COST = 2.5, 6.0, 20.0
BLOCK = 4  # pixels: neighbours in the order of queries lie in a square of this side


@dataclass(frozen=True)
class Atoms:
    """Masks of K queries. Within a group, an atom is a set of entries that the same queries look at with the same weights.

    The attributes are those of `smalti.engine.compiled.records.MaskSums`, values in float64.
    """

    groups: np.ndarray
    atoms: np.ndarray
    places: np.ndarray
    values: np.ndarray
    member_starts: np.ndarray
    members: np.ndarray
    _values: dict[type, np.ndarray] = field(default_factory=dict)

    @property
    def largest(self) -> int:
        """Most queries of a group."""
        return int(self.groups[:, 1].max())

    def sums(self, real: type, channels: int) -> MaskSums:
        """What the kernels take, weights as `real`; `channels` that an entry stands for."""
        if real not in self._values:
            self._values[real] = self.values.astype(real)
        return MaskSums(
            self.groups,
            self.atoms,
            self.places,
            self._values[real],
            self.member_starts,
            self.members,
            self.largest,
            channels,
        )


def grouped(masks: np.ndarray, anchors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An order of queries in which neighbours follow one another, and the groups that cost least.

    Args:
        masks: (K, C or 1, H, W).
        anchors: (K, 2) row and column.

    Returns:
        order (K,), and groups (G, 2): first query of the order, number of queries.
    """
    block = anchors // BLOCK
    channel = np.zeros(len(masks), np.int64)
    if masks.shape[1] > 1:  # windows of one pixel and several channels: those of a channel follow one another
        _, first = np.unique(anchors, axis=0, return_inverse=True)
        seen: dict[int, int] = {}
        for k, place in enumerate(first.reshape(-1).tolist()):
            channel[k] = seen.get(place, 0)
            seen[place] = int(channel[k]) + 1
    order = np.lexsort((anchors[:, 1], anchors[:, 0], block[:, 1], block[:, 0], channel))
    flat = masks.reshape(len(masks), -1)
    size = min(GROUPS, key=lambda size: _cost(flat, order, size))
    starts = np.arange(0, len(order), size)
    return order, np.stack([starts, np.diff(np.r_[starts, len(order)])], 1)


def _cost(masks: np.ndarray, order: np.ndarray, size: int) -> float:
    """Cycles for each query in groups of `size`, judged by some groups."""
    starts = np.arange(0, len(order), size)
    some = starts[:: max(1, len(starts) // SAMPLED)]
    cycles = queries = 0.0
    for start in some.tolist():
        here = masks[order[start : start + size]]
        queries += len(here)
        if size == 1:
            cycles += np.count_nonzero(here) * ENTRY_COST + ATOM_COST + MEMBER_COST
            continue
        for entries, members, _ in _partition(here[:, here.any(0)]):
            cycles += len(entries) * ENTRY_COST + len(members) * MEMBER_COST + ATOM_COST
    return cycles / queries


def make_atoms(masks: np.ndarray, groups: np.ndarray) -> Atoms:
    """Atoms of (K, entries) masks in groups (G, 2)."""
    table, starts, places, values, member_starts, members = [], [0], [], [], [0], []
    for first, count in groups.tolist():
        here = masks[first : first + count]
        used = np.flatnonzero(here.any(0))
        begin = len(starts) - 1
        for entries, queries, weights in _partition(here[:, used]):
            places.append(used[entries] * LANES)
            values.append(weights)
            members.append(first + queries)
            starts.append(starts[-1] + len(entries))
            member_starts.append(member_starts[-1] + len(queries))
        table.append((first, count, begin, len(starts) - 1))

    def joined(parts: list[np.ndarray], dtype: type) -> np.ndarray:
        return np.concatenate(parts).astype(dtype) if parts else np.empty(0, dtype)

    return Atoms(
        np.array(table, np.int64).reshape(-1, 4),
        np.array(starts, np.int64),
        joined(places, np.int64),
        joined(values, np.float64),
        np.array(member_starts, np.int64),
        joined(members, np.int64),
    )


def _partition(masks: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(entries, queries, weights of the entries) of every atom of (k, e) masks without empty columns.

    Entries whose columns are multiples of a 0-1 pattern go by the pattern; a column with several weights makes an atom for each weight.
    """
    top = masks.max(0)
    flat = ((masks == 0) | (masks == top)).all(0)  # one weight for all queries that look at it
    patterns = masks[:, flat] != 0
    found = []
    if patterns.shape[1]:
        packed = np.packbits(patterns, axis=0)
        _, number = np.unique(packed, axis=1, return_inverse=True)
        number = number.reshape(-1)
        by_number = np.argsort(number, kind="stable")
        entries = np.flatnonzero(flat)[by_number]
        parts = np.split(entries, np.flatnonzero(np.diff(number[by_number])) + 1)
        found += [(part, np.flatnonzero(masks[:, part[0]]), top[part]) for part in parts]
    if not flat.all():  # soft windows: each query by itself
        rest = np.flatnonzero(~flat)
        for query in range(len(masks)):
            own = rest[masks[query, rest] != 0]
            if len(own):
                found.append((own, np.array([query]), masks[query, own]))
    return found
