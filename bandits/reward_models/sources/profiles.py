"""What a reader has read before, as one short text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

_NAMED = 3  # sections in a profile


def reading_profile(sections: Iterable[str]) -> str:
    """The sections that a reader read most; of equally many the first in the alphabet.

    Args:
        sections: Section of each article that was read; "" where it is not known.

    >>> reading_profile(["football_nfl", "newsus", "football_nfl", "", "weather", "autos"])
    'Reads football nfl, autos, newsus'
    >>> reading_profile([])
    ''
    """
    counts = Counter(section for section in sections if section)
    most = sorted(counts, key=lambda section: (-counts[section], section))[:_NAMED]
    return f"Reads {', '.join(most)}".replace("_", " ") if most else ""
