"""What results look like: PNG pictures with exact pixels and captions."""

from smalti.core.pixels import shown_noisy, to_u8
from smalti.report.pictures import (
    aligned_rows,
    grid,
    labelled_grid,
    samples_with_neighbours,
    save_png,
    trajectory_strip,
)

__all__ = [
    "aligned_rows",
    "grid",
    "labelled_grid",
    "samples_with_neighbours",
    "save_png",
    "shown_noisy",
    "to_u8",
    "trajectory_strip",
]
