"""What a run says while it works: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Reporter:
    """Tells the stages of a run.

    Args:
        console: Where to; standard error by default, so that standard output carries results only.

    Attributes:
        seconds: How long each finished stage took.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self.seconds: dict[str, float] = {}

    def say(self, text: str) -> None:
        """One line, as it is."""
        self.console.print(text, markup=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """One line that must not be overlooked."""
        self.console.print(f"Warning: {text}", markup=False, soft_wrap=True, style="bold yellow")

    @property
    def on_terminal(self) -> bool:
        """Whether bars can be shown."""
        return self.console.is_terminal

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Say what begins, and how long it took when it ends well."""
        began = time.perf_counter()
        self.say(f"{name} ...")
        yield
        self.seconds[name] = round(time.perf_counter() - began, 2)
        self.say(f"{name}: {self.seconds[name]:.1f} s")

    @contextmanager
    def bar(self, name: str, total: int) -> Iterator[Callable[[str], None]]:
        """Count steps of a stage; the function that it hands out advances by one and shows what is being done."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        shown = self.on_terminal and total > 1
        with Progress(*columns, console=self.console, transient=True, disable=not shown) as progress:
            task = progress.add_task(name, total=total)
            yield lambda text: progress.update(task, advance=1, description=f"{name}: {text}".replace("[", r"\["))
