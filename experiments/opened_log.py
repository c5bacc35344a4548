"""What the commands that fit and validate read: a click log from disk, or the bundled newsroom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from bandits import reward_models as models
from bandits.reward_models.log_format import LogFormat
from experiments.config import NewsroomData
from experiments.newsroom import Newsroom, make_newsroom

NEWSROOM = "newsroom"


class OpenedLog(NamedTuple):
    """A click log and, where it was made rather than observed, the world behind it.

    Attributes:
        log: The log.
        newsroom: The planted world that it was sampled from; None for real logs.
    """

    log: models.ClickLog
    newsroom: Newsroom | None


def open_log(
    source: str,
    *,
    format: str = "auto",
    watch_ratio: float | None = None,
    tabs: Sequence[int] | None = None,
    rating: float | None = None,
    columns: Mapping[str, str | Sequence[str]] | None = None,
) -> OpenedLog:
    """Read a click log.

    Args:
        source: What `read_click_log` reads, or `newsroom` for the bundled world as experiments have it by default.
        format: As in `read_click_log`, and so are the others.
        watch_ratio: KuaiRec only.
        tabs: KuaiRand only.
        rating: Jester only.
        columns: Names of columns beside the texts and of what follows a click, by argument of `read_click_log`:
            `numbers`, `embeddings`, `user_numbers`, `user_embeddings`, `conversions`, `value`.

    Raises:
        FileNotFoundError: When a file is missing.
        ValueError: When a file or its rows are not valid.
    """
    if source != NEWSROOM:
        kind = cast(LogFormat, format)
        options: dict[str, Any] = {"watch_ratio": watch_ratio, "tabs": tabs, "rating": rating, **(columns or {})}
        log = models.read_click_log(Path(source), format=kind, **options)
        return OpenedLog(log, None)
    if (format, watch_ratio, tabs, rating) != ("auto", None, None, None):
        raise ValueError(f"`format` and its options must be left out for {NEWSROOM}. Got {format!r}.")
    if columns:
        raise ValueError(f"`{next(iter(columns))}` must be left out for {NEWSROOM}, which has no such columns.")
    data = NewsroomData(source="newsroom")
    newsroom = make_newsroom(data.seed, data.users, data.headlines)
    log = models.click_log_from_frame(newsroom.sample_log(data.impressions, data.seed), name=NEWSROOM)
    return OpenedLog(log, newsroom)
