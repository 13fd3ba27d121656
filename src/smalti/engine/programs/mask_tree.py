"""Hard masks as a tree of small changes: each sum is another mask's sum, plus the entries that come in, less those that leave.

    S_k = S_parent(k) + sum over p in M_k not in M_parent of d_p - sum over p in M_parent not in M_k of d_p

The parents are those of a minimum spanning tree on the masks and the empty mask, the length of an edge being the number of entries in
which two masks differ (Prim's algorithm). Neighbouring masks differ in their margins only, so the tree is much shorter than the masks are
large, and a mask more than half full costs no more than another. Depth first, and the largest subtree last, a dozen rows hold all sums
that are still needed: a sum's place is taken by that of its last child.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smalti.engine.compiled.tree_kernels import EMPTY

__all__ = ["MaskTree", "mask_tree"]

BLOCK = 4096  # masks that a tree is made of at once: all pairs of them are compared, 64 MB


@dataclass(frozen=True)
class MaskTree:
    """K masks in the order in which their sums are made.

    Attributes:
        order: (K,) sum number k is that of mask order[k].
        parents: (K,) number of the sum that each begins from, less than its own; -1 for the empty mask.
        places: (K, 2) int64: where the sum lies that each begins from, and where its own goes. Place `EMPTY` is the empty mask's.
        rows: number of places.
        starts: (K, 3) int64: entries from the first to the second are added, from the second to the third subtracted.
        entries: (E,) unsigned, numbers of entries.
        largest: entries of the largest mask.
    """

    order: np.ndarray
    parents: np.ndarray
    places: np.ndarray
    rows: int
    starts: np.ndarray
    entries: np.ndarray
    largest: int

    def mirrored(self, width: int) -> MaskTree:
        """The tree of the masks flipped left to right, in rows of `width` entries."""
        row, column = np.divmod(self.entries.astype(np.int64), width)
        entries = (row * width + width - 1 - column).astype(self.entries.dtype)
        return MaskTree(self.order, self.parents, self.places, self.rows, self.starts, entries, self.largest)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sums of (B, entries) values over each mask: (B, K), in the tree's order."""
        running = np.concatenate([np.zeros((len(values), 1)), values[:, self.entries].cumsum(1)], 1)
        first, middle, last = (running[:, self.starts[:, i]] for i in range(3))
        total = np.concatenate([np.zeros((len(values), 1)), 2 * middle - first - last], 1)
        ahead = np.concatenate([[0], self.parents + 1])
        while ahead.any():  # each adds what lies on its way to the root, twice as far every time
            total = total + total[:, ahead]
            ahead = ahead[ahead]
        return total[:, 1:]


def mask_tree(masks: np.ndarray) -> MaskTree:
    """The tree of (K, entries) bool masks, given with neighbours near to one another."""
    order: list[int] = []
    parents = np.empty(len(masks), np.int64)
    for start in range(0, len(masks), BLOCK):
        part = slice(start, start + BLOCK)
        found = _spanning(masks[part])
        parents[part] = np.where(found < 0, -1, found + start)
    children: list[list[int]] = [[] for _ in range(len(masks) + 1)]  # the last are those of the empty mask
    for k, parent in enumerate(parents.tolist()):
        children[parent].append(k)
    order, places, rows = _walk(children)
    entries, starts, at = [], [], 0
    for k in order:
        before = masks[parents[k]] if parents[k] >= 0 else np.zeros(masks.shape[1], bool)
        more, less = np.flatnonzero(masks[k] & ~before), np.flatnonzero(before & ~masks[k])
        entries += [more, less]
        starts.append((at, at + len(more), at + len(more) + len(less)))
        at += len(more) + len(less)
    number = np.empty(len(masks), np.int64)
    number[order] = np.arange(len(masks))
    return MaskTree(
        np.array(order),
        np.where(parents < 0, -1, number[parents])[order],
        np.array(places, np.int64),
        rows,
        np.array(starts, np.int64),
        np.concatenate(entries).astype(np.min_scalar_type(max(masks.shape[1], 256))),
        int(masks.sum(1).max()),
    )


def _spanning(masks: np.ndarray) -> np.ndarray:
    """(K,) parents in the minimum spanning tree of the masks and the empty one, -1 for the latter."""
    single = masks.astype(np.float32)
    sizes = single.sum(1)
    differ = sizes[:, None] + sizes[None] - 2 * (single @ single.T)  # whole numbers, exact
    lengths, parents = sizes.copy(), np.full(len(masks), -1)
    open_ = np.ones(len(masks), bool)
    for _ in range(len(masks)):
        k = int(np.where(open_, lengths, np.inf).argmin())
        open_[k] = False
        nearer = open_ & (differ[k] < lengths)
        lengths[nearer], parents[nearer] = differ[k][nearer], k
    return parents


def _walk(children: list[list[int]]) -> tuple[list[int], list[tuple[int, int]], int]:
    """Depth-first order, (place of the parent, own place) of each, and the number of places."""
    sizes = [1] * len(children)
    down, queue = [], [len(children) - 1]
    while queue:
        k = queue.pop()
        down.append(k)
        queue += children[k]
    for k in reversed(down):
        sizes[k] += sum(sizes[c] for c in children[k])
    order: list[int] = []
    places: list[tuple[int, int]] = []
    free: list[int] = []
    rows = EMPTY + 1
    # (mask, place of its parent, whether that may be overwritten)
    waiting = [(k, EMPTY, False) for k in children[-1]]
    while waiting:
        k, above, last = waiting.pop()
        if not last and not free:
            free.append(rows)
            rows += 1
        here = above if last else free.pop()
        order.append(k)
        places.append((above, here))
        below = sorted(children[k], key=lambda c: -sizes[c])
        waiting += [(c, here, i == 0) for i, c in enumerate(below)]
        if not below:
            free.append(here)
    return order, places, rows
