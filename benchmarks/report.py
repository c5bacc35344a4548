"""Tables in Markdown, targets that were asked for beside what was measured, and the machine they were measured on."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np

from bandits.engine.simulation import available_cores
from benchmarks.measure import Settings


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, text_columns: int = 1) -> str:
    """A Markdown table; columns after the first `text_columns` are aligned to the right."""
    rule = ["---" if i < text_columns else "--:" for i in range(len(headers))]
    return (
        "\n".join(f"| {' | '.join(row)} |" for row in (headers, rule, *rows))
        .replace("| --- ", "|---")
        .replace("| --: ", "|--:")
    )


class Target(NamedTuple):
    """A number that was asked for, and what became of it.

    Attributes:
        what: What was measured.
        asked: What it should be, in words.
        measured: What it is.
        met: Whether that is as asked.
        bound: What holds it back, a sentence; shown when it was not met.
    """

    what: str
    asked: str
    measured: str
    met: bool
    bound: str = ""


def at_least(what: str, asked: float, measured: float, bound: str = "") -> Target:
    """A target that is met from `asked` upwards."""
    return Target(what, f"at least {asked:g}", f"{measured:.3g}", measured >= asked, bound)


def at_most(what: str, asked: float, measured: float, bound: str = "") -> Target:
    """A target that is met up to `asked`."""
    return Target(what, f"at most {asked:g}", f"{measured:.3g}", measured <= asked, bound)


def targets_table(targets: Sequence[Target]) -> str:
    """What was asked and what was measured; below it, what bounds those that were missed."""
    rows = [(t.what, t.asked, t.measured, "yes" if t.met else "no") for t in targets]
    missed = [f"* {t.what}: {t.bound}" for t in targets if not t.met and t.bound]
    return "\n\n".join([table(("what", "asked", "measured", "met"), rows), *(["\n".join(missed)] if missed else [])])


def conditions(settings: Settings) -> str:
    """Where, when, with what and how often: a sentence that stands above every table."""
    cores = available_cores()
    load = f", load before the start {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"Measured on {date.today().isoformat()}: {processor()}, {cores} core{'s' * (cores > 1)}{load}; "
        f"Python {platform.python_version()}, NumPy {np.__version__}, Numba {numba.__version__}. "
        f"Medians of {settings.runs} run{'s' * (settings.runs > 1)}; in brackets the smallest and the largest."
    )


def processor() -> str:
    """The processor, as the machine reports it."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def section_of(part: str, file: Path) -> str:
    """A part's section of a file, with the two comments that mark it.

    Raises:
        ValueError: When the file has no such section, or several.
    """
    begin, end = f"<!-- {part}: written by the benchmarks -->", f"<!-- end of {part} -->"
    found = re.findall(f"{re.escape(begin)}.*?{re.escape(end)}", file.read_text(encoding="utf-8"), re.DOTALL)
    if len(found) != 1:
        raise ValueError(f"`{file}` must have one section between {begin!r} and {end!r}. Got {len(found)}.")
    section: str = found[0]
    return section


def replace_section(part: str, file: Path, text: str) -> None:
    """Write a part's section of a file anew.

    Raises:
        ValueError: As `section_of`.
    """
    old = section_of(part, file)
    begin, end = old.splitlines()[0], old.splitlines()[-1]
    new = file.read_text(encoding="utf-8").replace(old, f"{begin}\n\n{text}\n{end}")
    file.write_text(new, encoding="utf-8")
