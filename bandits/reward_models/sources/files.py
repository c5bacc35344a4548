"""The files of a published data set, in a folder or in the archive that they came in."""

from __future__ import annotations

import fnmatch
import gzip
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, cast

_DEPTH = 4  # folders below the given one in which a data set's files may lie
_ABOVE = 2  # folders above a log in which the files that belong to it may lie
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True)
class DataFile:
    """One file on disk, or one member of an archive.

    Attributes:
        path: The file, or the archive.
        member: Name inside the archive; None for a file on disk.
    """

    path: Path
    member: str | None = None

    @property
    def name(self) -> str:
        """Name without folders."""
        return self.path.name if self.member is None else PurePosixPath(self.member).name

    @property
    def place(self) -> str:
        """Folder and name, for messages."""
        inside = self.path if self.member is None else PurePosixPath(self.member)
        return "/".join(inside.parts[-2:])

    @contextmanager
    def open(self, *, seekable: bool = False) -> Iterator[IO[bytes]]:
        """The content, decompressed; a member that must be `seekable` is written to a temporary file first.

        Raises:
            ValueError: When file or archive is damaged.
        """
        try:
            with self._stored() as stored:
                if self.name.endswith(".gz"):
                    with gzip.open(stored) as unpacked:
                        yield cast(IO[bytes], unpacked)
                elif seekable and self.member is not None:
                    with tempfile.TemporaryFile() as copy:
                        shutil.copyfileobj(stored, copy)
                        copy.seek(0)
                        yield copy
                else:
                    yield stored
        except _DAMAGED as error:
            raise ValueError(f"`{self.path.name}` must be an intact file. Got: {error}") from error

    @contextmanager
    def _stored(self) -> Iterator[IO[bytes]]:
        if self.member is None:
            with self.path.open("rb") as file:
                yield file
        elif self.path.suffix == ".zip":
            with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as file:
                yield file
        else:
            with tarfile.open(self.path) as tar:
                # In order, and no further than needed: asked by name, the whole archive would be unpacked first.
                extracted = tar.extractfile(next(info for info in tar if info.name == self.member))
                assert extracted is not None  # only regular files are listed
                with extracted:
                    yield extracted


@dataclass(frozen=True)
class Log:
    """A file of impressions and the files that explain it.

    Attributes:
        file: The impressions.
        companions: The other files by their published names; an optional one may be missing.
    """

    file: DataFile
    companions: Mapping[str, DataFile]


# What zipfile, tarfile and gzip raise.
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error)


def is_archive(path: Path) -> bool:
    """Whether the name is that of an archive.

    >>> is_archive(Path("MINDsmall_train.zip")), is_archive(Path("log.csv.gz"))
    (True, False)
    """
    return path.name.lower().endswith(_ARCHIVES)


def find_logs(path: Path, patterns: Sequence[str]) -> list[DataFile]:
    """Files of these names, in order of their places: `path` itself, or inside it if it is a folder or an archive.

    Args:
        path: A file, a folder or an archive.
        patterns: Names, with `*`; `.gz` may follow.

    Raises:
        FileNotFoundError: When there is no such archive.
        ValueError: When it is damaged.
    """
    if path.is_dir():
        files = [DataFile(file) for file in _walk(path)]
    elif is_archive(path):
        files = [DataFile(path, member) for member in _members(path)]
    else:
        files = [DataFile(path)]
    found = [file for file in files if _fits(file.name, patterns)]
    return sorted(found, key=lambda file: (str(file.path), file.member or ""))


def find_companion(log: DataFile, pattern: str) -> DataFile | None:
    """The nearest file of this name: beside the log, or in a folder above it; for a member also beside its archive."""
    if log.member is not None:
        members = _members(log.path)
        for inner in PurePosixPath(log.member).parents:
            inside = sorted(
                m for m in members if PurePosixPath(m).parent == inner and _fits(PurePosixPath(m).name, [pattern])
            )
            if inside:
                return DataFile(log.path, inside[0])
    start = log.path.resolve().parent
    for folder in (start, *list(start.parents)[:_ABOVE]):
        beside = sorted(f for name in (pattern, f"{pattern}.gz") for f in folder.glob(name) if f.is_file())
        if beside:
            return DataFile(beside[0])
    return None


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name.removesuffix(".gz"), pattern) for pattern in patterns)


def _walk(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        if len(Path(where).relative_to(folder).parts) >= _DEPTH:
            folders.clear()
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        yield from (Path(where) / name for name in names if not name.startswith("."))


def _members(path: Path) -> list[str]:
    if not path.is_file():
        raise FileNotFoundError(f"`path` must be a file, a folder or an archive. Got {path}, which does not exist.")
    state = path.stat()
    return _listed(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=8)  # a packed tar must be read to its end
def _listed(path: Path, changed: int, size: int) -> list[str]:
    """Files in an archive that has not changed since."""
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                names = [info.filename for info in archive.infolist() if not info.is_dir()]
        else:
            with tarfile.open(path) as tar:
                names = [info.name for info in tar.getmembers() if info.isfile()]
    except _DAMAGED as error:
        raise ValueError(f"`{path.name}` must be an intact archive. Got: {error}") from error
    return [name for name in names if not name.startswith("__MACOSX") and not PurePosixPath(name).name.startswith(".")]
