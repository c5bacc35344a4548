"""Runs the parts of the benchmarks, each in a process of its own, and prints what they found as Markdown.

`python -m benchmarks` runs all of them, `python -m benchmarks policies scaling` some. With `--write docs` their
sections of `docs/benchmarks.md` and their plots are written anew. A part that fails is named at the end; the others go
on, and its section in the docs stays as it was.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from benchmarks.measure import add_settings, say
from benchmarks.report import replace_section, section_of


class Part(NamedTuple):
    """A module of this package that prints Markdown when it is run.

    Attributes:
        title: Of its section.
        compares_threads: Whether it takes `--runs`, `--seconds` and `--images` and says itself how many threads the
            engine uses, so that NumPy must use one only; other parts take no options and all cores.
    """

    title: str
    compares_threads: bool = True


PARTS = {
    "policies": Part("Rounds a second"),
    "primitives": Part("Random numbers and linear scores"),
    "scaling": Part("Cost against N, T and K"),
    "memory": Part("Peak memory"),
    "startup": Part("Start-up"),
    "scoring": Part("Scoring", compares_threads=False),
    "compression": Part("Compression", compares_threads=False),
    "studies": Part("Studies", compares_threads=False),
    "device": Part("The torch engine", compares_threads=False),
}
_LONGEST = 600  # seconds; a part that takes more hangs
# Before NumPy is imported: its linear algebra takes all cores otherwise, and the ratios would not be of one thread.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run parts; the exit status is 1 when one of them failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all)")
    parser.add_argument(
        "--write", type=Path, metavar="FOLDER", help="folder with benchmarks.md, to be brought up to date"
    )
    add_settings(parser)
    options = parser.parse_args(arguments)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"PART must be one of {', '.join(PARTS)}. Got {', '.join(sorted(unknown))}.")
    settings = ["--runs", str(options.runs), "--seconds", str(options.seconds)]
    settings += ["--images", str(options.write / "images")] if options.write else []
    parts = options.parts or list(PARTS)
    if options.write:
        try:
            for part in parts:
                section_of(part, options.write / "benchmarks.md")
        except (OSError, ValueError) as error:
            parser.error(str(error))
    failed = []
    for part in parts:
        say(f"{part} ...")
        started = perf_counter()
        text = _output_of(part, settings)
        say(f"{part}: {'failed after ' if text is None else ''}{perf_counter() - started:.0f} s")
        if text is None:
            failed.append(part)
            continue
        print(f"## {PARTS[part].title}\n\n{text}", flush=True)
        if options.write:
            replace_section(part, options.write / "benchmarks.md", text)
    if failed:
        say(f"Failed: {', '.join(failed)}. What went wrong stands above.")
    return 1 if failed else 0


def _output_of(part: str, settings: Sequence[str]) -> str | None:
    """What a part prints; None when it failed, after it has said why on standard error."""
    command, environment = [sys.executable, "-m", f"benchmarks.{part}"], dict(os.environ)
    if PARTS[part].compares_threads:
        command += settings
        environment |= _ONE_THREAD
    try:
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, timeout=_LONGEST, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        say(f"{error}\n{error.output or ''}")
        return None
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
