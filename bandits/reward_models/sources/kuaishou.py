"""What KuaiRec and KuaiRand, both from the video app Kuaishou, have in common."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bandits.reward_models.sources.chunks import read_delimited
from bandits.reward_models.sources.files import DataFile
from bandits.reward_models.sources.tally import Codes

_RANGES = {
    "follow_user_num_range": "follows {}",
    "fans_user_num_range": "{} fans",
    "friend_user_num_range": "{} friends",
    "register_days_range": "registered {} days",
}
_UNKNOWN = ("", "UNKNOWN")


class Viewers:
    """Texts of viewers from `user_features*.csv`: how active, and ranges of friends, fans and days since registration.

    Args:
        file: The features; None: nothing is known of any viewer, and all texts are "".

    Raises:
        ValueError: When the file lacks columns, or holds a viewer twice.
    """

    def __init__(self, file: DataFile | None) -> None:
        self._codes = Codes()
        ids, texts = [np.empty(0, np.int64)], [np.empty(0, dtype=object)]
        for chunk in () if file is None else read_delimited(file, ("user_id", "user_active_degree", *_RANGES)):
            active = [f"{value.replace('_', ' ')} viewer" for value in chunk.texts("user_active_degree")]
            ranges = [[how.format(v) for v in chunk.texts(name)] for name, how in _RANGES.items()]
            ids.append(chunk.integers("user_id"))
            texts.append(np.array([", ".join(parts) for parts in zip(active, *ranges, strict=True)], dtype=object))
        self._ids = pd.Index(np.concatenate(ids))
        if not self._ids.is_unique:
            assert file is not None
            twice = self._ids[self._ids.duplicated()][0]
            raise ValueError(f"`{file.place}` must list each user once. Got user_id {twice} twice.")
        self._code = np.append(self._codes.of(np.concatenate(texts)), self._codes.of([""]))

    def of(self, users: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number of each viewer's text; of viewers that the file does not list, that of ""."""
        return np.asarray(self._code[self._ids.get_indexer(pd.Index(users))], dtype=np.int64)

    @property
    def texts(self) -> list[str]:
        """Texts by number."""
        return [str(text) for text in self._codes.values]


def joined_text(*parts: str) -> str:
    """The parts in their order, without those that are unknown or already there.

    >>> joined_text("做饭 #美食", "UNKNOWN", "美食", "生活")
    '做饭 #美食 生活'
    """
    text = ""
    for part in parts:
        if part not in _UNKNOWN and part not in text:
            text = f"{text} {part}" if text else part
    return text
