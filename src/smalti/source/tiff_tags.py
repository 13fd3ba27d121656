"""What a TIFF file says of its samples, where Pillow does not take it: read from its first directory (TIFF 6.0, section 2)."""

from __future__ import annotations

import struct

__all__ = ["refusal", "with_black_zero"]

BITS, COMPRESSION, COLOURS, FORMAT = 258, 259, 262, 339
SHORT, LONG = 3, 4
MOST_TAGS = 1000
KINDS = {1: "integer", 2: "signed integer", 3: "float", 4: "undefined", 5: "complex", 6: "complex"}


def refusal(data: bytes) -> str | None:
    """Why a TIFF that Pillow does not take is not read, with the remedy; None where it is no TIFF."""
    tags = _tags(data)
    if tags is None:
        return None
    bits, kind = tags.get(BITS, (1, 0))[0], KINDS.get(tags.get(FORMAT, (1, 0))[0], "odd")
    if kind != "integer" or bits > 16:
        return f"{bits}-bit {kind} pixels, which have no 8-bit scale; save the values as .npy instead"
    return (
        f"a TIFF of {bits} bits with the colour code {tags.get(COLOURS, (1, 0))[0]} and the compression "
        f"{tags.get(COMPRESSION, (1, 0))[0]}, which Pillow does not read; save it as PNG"
    )


def with_black_zero(data: bytes) -> bytes | None:
    """A TIFF of 16-bit grey samples that count from white, but for that word: Pillow does not know it beside big-endian samples.

    None where the file is another.
    """
    tags = _tags(data) or {}
    if tags.get(COLOURS, (1, 0))[0] != 0 or tags.get(BITS, (1, 0))[0] != 16 or tags.get(FORMAT, (1, 0))[0] != 1:
        return None
    at = tags[COLOURS][1]
    return data[:at] + struct.pack(_order(data) + "H", 1) + data[at + 2 :]


def _order(data: bytes) -> str:
    return "<" if data.startswith(b"II") else ">"


def _tags(data: bytes) -> dict[int, tuple[int, int]] | None:
    """The first value of every whole-numbered tag, and where in the file it stands; None where it is no TIFF."""
    if data[:4] not in (b"II*\0", b"MM\0*"):
        return None
    order, found = _order(data), dict[int, tuple[int, int]]()
    try:
        (start,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, start)
        for entry in range(start + 2, start + 2 + 12 * min(count, MOST_TAGS), 12):
            tag, kind, number = struct.unpack_from(order + "HHI", data, entry)
            if kind not in (SHORT, LONG) or number < 1:
                continue
            size = 2 if kind == SHORT else 4
            at = entry + 8 if size * number <= 4 else struct.unpack_from(order + "I", data, entry + 8)[0]
            (value,) = struct.unpack_from(order + ("H" if kind == SHORT else "I"), data, at)
            found[tag] = value, at
    except struct.error:  # cut off
        return found
    return found
