"""Fonts that have the glyphs of a text, whatever its script."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from functools import cache

from matplotlib import font_manager, ft2font

DEFAULT_FAMILY = "DejaVu Sans"  # ships with matplotlib, so figures look the same everywhere


def fonts_for(texts: Iterable[str]) -> list[str]:
    """Font families that together have every character of `texts`, the default first, for matplotlib's font fallback.

    Of the installed fonts, the one that adds most of the missing characters is taken, then the next. What no font has
    is named in a warning; matplotlib draws boxes there.

    >>> fonts_for(["plain text"])
    ['DejaVu Sans']
    """
    missing = {ord(character) for text in texts for character in text if character.isprintable()}
    missing -= _characters(font_manager.findfont(DEFAULT_FAMILY))
    families = [DEFAULT_FAMILY]
    while missing:
        family, found = max(
            ((name, missing & _characters(path)) for name, path in _installed()), key=lambda font: len(font[1])
        )
        if not found:
            break
        families.append(family)
        missing -= found
    if missing:
        sample = "".join(map(chr, sorted(missing)[:10]))
        warnings.warn(
            f"No installed font has {len(missing)} of the characters to draw, such as {sample!r}: boxes are drawn. "
            "Install a font for this script (the Noto fonts cover nearly all) and draw again.",
            stacklevel=2,
        )
    return families


@cache
def _installed() -> list[tuple[str, str]]:
    """Name and path of one regular, upright font per family, sorted by name."""
    regular = {
        font.name: font.fname
        for font in font_manager.fontManager.ttflist
        if font.style == "normal" and font.weight in (400, "normal", "regular") and font.variant == "normal"
    }
    return sorted(regular.items())


@cache
def _characters(path: str) -> frozenset[int]:
    font = ft2font.FT2Font(path)
    return frozenset(font.get_charmap()) if font.scalable else frozenset()
