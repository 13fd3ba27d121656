import numpy as np

from smalti.report.mosaic import MARGIN, Captions, mosaic

RED = np.broadcast_to(np.array([200, 0, 0], np.uint8), (10, 8, 3))


def red_boxes(picture):
    """Number of red pixels, and their bounding box."""
    red = np.all(np.asarray(picture) == [200, 0, 0], axis=2)
    ys, xs = np.nonzero(red)
    return int(red.sum()), (ys.min(), ys.max(), xs.min(), xs.max())


def margins_are_clear(picture):
    pixels = np.asarray(picture)
    edges = [pixels[:4], pixels[-4:], pixels[:, :4], pixels[:, -4:]]
    return all(edge.min() == 255 for edge in edges)


def test_tiles_are_exact_and_inside_the_margins():
    picture = mosaic([[RED, RED], [RED, None]], Captions())
    count, (top, bottom, left, right) = red_boxes(picture)
    assert count == 3 * 80
    assert (top, left) == (MARGIN, MARGIN)
    assert (picture.height - 1 - bottom, picture.width - 1 - right) == (MARGIN, MARGIN)


def test_long_words_grow_the_canvas():
    captions = Captions(
        title="a title that is far longer than two small tiles are wide " * 3,
        note="n" * 300,
        rows=["a long caption of a row", "short"],
        columns=["a long caption of a column", "x"],
        under=[["0.123456789", ""], ["", "below"]],
    )
    picture = mosaic([[RED, RED], [RED, RED]], captions)
    assert red_boxes(picture)[0] == 4 * 80  # no text over a tile
    assert margins_are_clear(picture)


def test_blocks_are_set_apart():
    close = mosaic([[RED]] * 4, Captions())
    apart = mosaic([[RED]] * 4, Captions(), block=2)
    assert apart.height > close.height
