"""Text for people: names from anywhere, made fit for a terminal, a figure and a file; numbers in sentences."""

from __future__ import annotations

__all__ = ["LONGEST", "counted", "printable", "shortened"]

LONGEST = 80  # letters of what a user typed that a message repeats


def printable(text: str) -> str:
    r"""`text` with every character that does not print (control characters, halves of pairs from names that are not UTF-8) as an
    escape, such as \x1b or \udcff: it steers no terminal and can be encoded."""
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def shortened(text: str, longest: int = LONGEST) -> str:
    """`text`, cut with "..." at `longest` letters."""
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def counted(number: int, thing: str) -> str:
    """ "1 image", "2 images"."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
