"""Which data sets can be read, by which files each is known, and what they become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd

from bandits.reward_models.log_format import SOURCE_FORMATS, SourceFormat
from bandits.reward_models.sources import ebnerd, jester, kuairand, kuairec, mind, open_bandit
from bandits.reward_models.sources.files import DataFile, Log, find_companion, find_logs, is_archive

DEFAULT_WATCH_RATIO = 2.0
DEFAULT_RATING = 5.0


class SourceLog(NamedTuple):
    """What a data set became.

    Attributes:
        rows: `user_text`, `item_text`, `impressions`, `clicks`, `time` (the day).
        name: Where they came from, and what counts as a click if that was chosen.
        facts: Counts of rows read and of what was set aside.
    """

    rows: pd.DataFrame
    name: str
    facts: Mapping[str, int]


@dataclass(frozen=True)
class _Source:
    """How one data set lies on disk.

    Attributes:
        logs: Names of the files with the impressions.
        needed: Names of files that must lie beside a log or above it.
        used: Names of files that are used if they are there.
        together: Whether several logs make one: never, if they lie in one folder, or wherever they lie.
        plain_names: Whether a log's name says nothing without the needed files beside it.
    """

    logs: tuple[str, ...]
    needed: tuple[str, ...] = ()
    used: tuple[str, ...] = ()
    together: Literal["never", "folder", "always"] = "never"
    plain_names: bool = False


_SOURCES: dict[SourceFormat, _Source] = {
    "mind": _Source((mind.LOG,), (mind.NEWS,), together="always"),
    "ebnerd": _Source((ebnerd.LOG,), (ebnerd.HISTORY, ebnerd.ARTICLES), together="always"),
    "kuairec-small": _Source(("small_matrix.csv",), (kuairec.CAPTIONS,), (kuairec.USERS,)),
    "kuairec-big": _Source(("big_matrix.csv",), (kuairec.CAPTIONS,), (kuairec.USERS,)),
    "kuairand-random": _Source(("log_random_*.csv",), (kuairand.CAPTIONS,), (kuairand.USERS,), "folder"),
    "kuairand-standard": _Source(("log_standard_*.csv",), (kuairand.CAPTIONS,), (kuairand.USERS,), "folder"),
    "open-bandit": _Source(open_bandit.LOGS, (open_bandit.ITEMS,), plain_names=True),
    "jester": _Source((jester.LOG,), (jester.JOKES,), plain_names=True),
}


def detect(path: Path) -> SourceFormat | None:
    """The data set that lies at `path`; None for a file that belongs to none.

    Args:
        path: A file, a folder or an archive.

    Raises:
        ValueError: When a folder or an archive holds no known data set, or more than one.
    """
    found = [name for name in SOURCE_FORMATS if _candidates(path, _SOURCES[name])]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"`format` must say what to read of {path}. Got several: {', '.join(found)}.")
    if path.is_dir() or is_archive(path):
        wanted = "; ".join(f"{name}: {' or '.join(_SOURCES[name].logs)}" for name in SOURCE_FORMATS)
        raise ValueError(f"`path` must hold a known data set ({wanted}). Got {path}, without any of these files.")
    return None


def source_files(path: Path, format: SourceFormat) -> list[Path]:
    """The files on disk that `read_source` reads: their content decides what it returns.

    Raises:
        FileNotFoundError: When a file is missing.
        ValueError: When there are several logs of which one must be chosen.
    """
    logs = _logs(path, format)
    return sorted({file.path for log in logs for file in (log.file, *log.companions.values())})


def read_source(
    path: Path,
    format: SourceFormat,
    *,
    watch_ratio: float | None = None,
    tabs: Sequence[int] | None = None,
    rating: float | None = None,
) -> SourceLog:
    """Read a data set; the module of its name says how it lies on disk and what becomes of it.

    Args:
        path: A file, a folder or an archive.
        format: The data set.
        watch_ratio: KuaiRec: a video counts as clicked when a larger share of it was watched; by default 2.
        tabs: KuaiRand: tabs of the app whose rows are read; None for all.
        rating: Jester: a joke counts as clicked when it was rated at least so; by default 5.

    Raises:
        FileNotFoundError: When a file is missing.
        ValueError: When a file is not in the data set's schema, or an argument does not belong to it.
    """
    if watch_ratio is not None and not format.startswith("kuairec"):
        raise ValueError(f"`watch_ratio` must be left out for {format}. Got {watch_ratio}.")
    if watch_ratio is not None and not 0 <= watch_ratio < float("inf"):
        raise ValueError(f"`watch_ratio` must be a number, 0 or more. Got {watch_ratio}.")
    if tabs is not None and not format.startswith("kuairand"):
        raise ValueError(f"`tabs` must be left out for {format}. Got {list(tabs)}.")
    if rating is not None and format != "jester":
        raise ValueError(f"`rating` must be left out for {format}. Got {rating}.")
    if rating is not None and not -10 <= rating <= 10:
        raise ValueError(f"`rating` must be a number from -10 to 10. Got {rating}.")
    logs = _logs(path, format)
    name = ", ".join(log.file.place for log in logs)
    if format == "mind":
        rows, facts = mind.read_mind(logs)
    elif format == "ebnerd":
        rows, facts = ebnerd.read_ebnerd(logs)
    elif format in ("kuairec-small", "kuairec-big"):
        ratio = DEFAULT_WATCH_RATIO if watch_ratio is None else watch_ratio
        rows, facts = kuairec.read_kuairec(logs, ratio)
        name += f" (watch_ratio > {ratio:g})"
    elif format in ("kuairand-random", "kuairand-standard"):
        rows, facts = kuairand.read_kuairand(logs, tabs)
        name += "" if tabs is None else f" (tab {', '.join(map(str, tabs))})"
    elif format == "jester":
        threshold = DEFAULT_RATING if rating is None else rating
        rows, facts = jester.read_jester(logs, threshold)
        name += f" (rating >= {threshold:g})"
    else:
        rows, facts = open_bandit.read_open_bandit(logs)
    return SourceLog(rows, name, facts)


def _candidates(path: Path, source: _Source) -> list[DataFile]:
    found = find_logs(path, source.logs)
    if source.plain_names:
        found = [log for log in found if all(find_companion(log, name) for name in source.needed)]
    return found


def _logs(path: Path, format: SourceFormat) -> list[Log]:
    """The logs to read and what belongs to each."""
    if not path.exists():
        raise FileNotFoundError(f"`path` must be a file, a folder or an archive. Got {path}, which does not exist.")
    source = _SOURCES[format]
    files = find_logs(path, source.logs)
    if not files:
        raise FileNotFoundError(f"`path` must be or hold {' or '.join(source.logs)} ({format}). Got {path}.")
    places = [file.place for file in files]
    folders = {str(Path(file.member or file.path).parent) for file in files}
    if len(files) > 1 and (source.together == "never" or (source.together == "folder" and len(folders) > 1)):
        raise ValueError(f"`path` must be one log of {format}. Got several in {path}: {', '.join(places)}: name one.")
    bare = [str(file.member or file.path).removesuffix(".gz") for file in files]
    if len(set(bare)) < len(bare):
        raise ValueError(f"`path` must hold each log once. Got some twice, packed and unpacked: {', '.join(places)}.")
    return [Log(file, _companions(file, source, format)) for file in files]


def _companions(log: DataFile, source: _Source, format: str) -> dict[str, DataFile]:
    found = {name: find_companion(log, name) for name in (*source.needed, *source.used)}
    for name in source.needed:
        if found[name] is None:
            raise FileNotFoundError(
                f"`{name}` must lie beside {log.place} or in a folder above it ({format}). Got none."
            )
    return {name: file for name, file in found.items() if file is not None}
