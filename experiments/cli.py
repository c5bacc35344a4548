"""The command line. Heavy libraries are imported by the commands that need them, so that `--help` answers at once."""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO, cast

import typer

if TYPE_CHECKING:
    from bandits.reward_models.log_format import LogFormat

app = typer.Typer(
    name="bandits",
    help="Simulate bandit policies against real A/B tests, on users that a fine-tuned, calibrated BERT plays.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

BAD_INPUT, INTERRUPTED = 2, 130


class Listed(StrEnum):
    """What `bandits list` can list."""

    policies = "policies"
    envs = "envs"
    experiments = "experiments"
    studies = "studies"
    tunings = "tunings"


class Interval(StrEnum):
    """How `bandits ope` makes intervals."""

    normal = "normal"
    bootstrap = "bootstrap"


class Unit(StrEnum):
    """What `bandits ope` takes for independent."""

    round = "round"
    user = "user"


@app.command()
def run(
    config: Annotated[str, typer.Argument(help="A config file, or the name of a bundled experiment.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override, e.g. policies.LinUCB.alpha=0.5.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder. [default: runs/NAME]")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A small trial under the name NAME-quick.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads that simulate. [default: all cores]")] = None,
    log_events: Annotated[
        bool, typer.Option("--log-events", help="Write down every round of the policies that know their propensities.")
    ] = False,
) -> None:
    """Run an experiment from data to report, or go on with one that was interrupted."""
    if not log_events and _is_bundled_study(config):
        typer.echo(f"{config} is a study: this runs `bandits study {config}`.", err=True)
        return study(config, overrides, out, quick, threads)
    with _plain_errors() as place:
        from experiments.installation import check_one_installation

        check_one_installation()
        from experiments.config import load_config

        logging = ["simulation.log_events=all"] if log_events else []
        loaded = load_config(config, [*(overrides or ()), *logging], quick=quick)
        place.folder = out or Path("runs") / loaded.config.name
        from experiments.runner import run_experiment

        folder = run_experiment(loaded, place.folder, threads=threads)
        (folder / "error.txt").unlink(missing_ok=True)
        typer.echo(folder / "report.html")


@app.command()
def study(
    config: Annotated[str, typer.Argument(help="A study's file, or the name of a bundled study.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override, e.g. world.base_rate=0.05.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder. [default: runs/NAME]")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A small trial under the name NAME-quick.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads that simulate. [default: all cores]")] = None,
) -> None:
    """Say how often designs err, and what they find, ship and lose, where the truth is known."""
    with _plain_errors() as place:
        from experiments.installation import check_one_installation

        check_one_installation()
        from experiments.studies.config import load_study

        loaded = load_study(config, overrides or (), quick=quick)
        place.folder = out or Path("runs") / loaded.config.name
        from experiments.studies.run import run_study

        page = run_study(loaded, place.folder, threads=threads)
        (place.folder / "error.txt").unlink(missing_ok=True)
        typer.echo(page)


@app.command()
def tune(
    config: Annotated[str, typer.Argument(help="A search's file, or the name of a bundled search.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override, e.g. search.trials=50.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder. [default: runs/NAME]")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A small trial under the name NAME-quick.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads that simulate. [default: all cores]")] = None,
) -> None:
    """Search for better parameters of policies or of the reward model, and judge them under another seed."""
    with _plain_errors() as place:
        from experiments.installation import check_one_installation

        check_one_installation()
        from experiments.tuning.config import load_tuning

        loaded = load_tuning(config, overrides or (), quick=quick)
        place.folder = out or Path("runs") / loaded.config.name
        from experiments.tuning.run import run_tuning

        page = run_tuning(loaded, place.folder, threads=threads)
        (place.folder / "error.txt").unlink(missing_ok=True)
        typer.echo(page)


@app.command(name="check-log")
def check_log_(
    path: Annotated[
        Path, typer.Argument(help="A click log: CSV, Parquet, or the file, folder or archive of a public data set.")
    ],
    format: Annotated[str, typer.Option(help="How it is written, such as mind; auto: by names and columns.")] = "auto",
    watch_ratio: Annotated[
        float | None, typer.Option(help="KuaiRec: watching a larger share of a video counts as a click. [default: 2]")
    ] = None,
    tab: Annotated[
        list[int] | None, typer.Option(help="KuaiRand: a tab of the app to read; may be repeated. [default: all]")
    ] = None,
    rating: Annotated[
        float | None, typer.Option(help="Jester: a rating of at least this counts as a click. [default: 5]")
    ] = None,
) -> None:
    """Say in one page what a click log can and cannot answer, before anything trains."""
    with _plain_errors():
        from bandits.reward_models import check_log, read_click_log

        kind = cast("LogFormat", format)
        log = read_click_log(path, format=kind, watch_ratio=watch_ratio, tabs=tab or None, rating=rating)
        typer.echo(check_log(log).to_text())


@app.command()
def fit(
    log: Annotated[str, typer.Argument(help="A click log as for check-log, or newsroom.")],
    out: Annotated[Path, typer.Option(help="Folder of the model.")],
    format: Annotated[
        str, typer.Option(help="How the log is written, such as mind; auto: by names and columns.")
    ] = "auto",
    watch_ratio: Annotated[float | None, typer.Option(help="KuaiRec: as in check-log. [default: 2]")] = None,
    tab: Annotated[list[int] | None, typer.Option(help="KuaiRand: as in check-log. [default: all]")] = None,
    rating: Annotated[float | None, typer.Option(help="Jester: as in check-log. [default: 5]")] = None,
    number: Annotated[
        list[str] | None, typer.Option(help="A column with a number of each item, such as its price; may be repeated.")
    ] = None,
    embedding: Annotated[
        list[str] | None, typer.Option(help="A column (Parquet) with a list of numbers of each item; may be repeated.")
    ] = None,
    user_number: Annotated[list[str] | None, typer.Option(help="As --number, of users.")] = None,
    user_embedding: Annotated[list[str] | None, typer.Option(help="As --embedding, of users.")] = None,
    conversions: Annotated[
        str | None, typer.Option(help="The column with how many of a row's clicks were followed by a conversion.")
    ] = None,
    value: Annotated[str | None, typer.Option(help="The column with the total value of these conversions.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML with hyperparameters. [default: their defaults]")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A hyperparameter, e.g. epochs=2.")
    ] = None,
) -> None:
    """Fit a reward model on a click log, calibrate, evaluate and save it; or go on where that was interrupted."""
    with _plain_errors():
        from experiments.fit_command import fit_page

        kind = cast("LogFormat", format)
        tabs, show = tab or None, sys.stderr.isatty()
        named: dict[str, str | list[str] | None] = {"numbers": number, "embeddings": embedding}
        named |= {"user_numbers": user_number, "user_embeddings": user_embedding}
        named |= {"conversions": conversions, "value": value}
        typer.echo(
            fit_page(
                log,
                out,
                format=kind,
                watch_ratio=watch_ratio,
                tabs=tabs,
                rating=rating,
                columns={argument: names for argument, names in named.items() if names},
                config=config,
                overrides=overrides or (),
                show_progress=show,
            )
        )


@app.command()
def score(
    model: Annotated[Path, typer.Argument(help="Folder of a saved reward model.")],
    file: Annotated[
        Path, typer.Argument(help="CSV or Parquet with item_text, user_text, and test for a model of tests.")
    ],
    out: Annotated[Path | None, typer.Option(help="CSV or Parquet to write. [default: FILE.scored.csv]")] = None,
) -> None:
    """Add a column with the click probability of each row to a file."""
    with _plain_errors():
        from experiments.score_command import score_page

        typer.echo(score_page(model, file, out))


@app.command()
def validate(
    model: Annotated[Path, typer.Argument(help="Folder of a saved reward model.")],
    data: Annotated[str, typer.Option(help="A click log as for fit; rows the model was fitted on are left out.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write to. [default: MODEL/validation]")] = None,
    format: Annotated[str, typer.Option(help="As in fit.")] = "auto",
    watch_ratio: Annotated[float | None, typer.Option(help="KuaiRec: as in check-log. [default: 2]")] = None,
    tab: Annotated[list[int] | None, typer.Option(help="KuaiRand: as in check-log. [default: all]")] = None,
    rating: Annotated[float | None, typer.Option(help="Jester: as in check-log. [default: 5]")] = None,
    config: Annotated[str | None, typer.Option(help="YAML: policies, thresholds. [default: bundled]")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="E.g. thresholds.agreement=0.9.")
    ] = None,
) -> None:
    """Say what a fitted model is good for (ranking, level, dynamics), from a log that it has never seen."""
    with _plain_errors():
        from experiments.validate_command import validation_page

        page = validation_page(
            model,
            data,
            out,
            format=cast("LogFormat", format),
            watch_ratio=watch_ratio,
            tabs=tab or None,
            rating=rating,
            config=config,
            overrides=overrides or (),
        )
        typer.echo(page)


@app.command()
def ope(
    log: Annotated[Path, typer.Argument(help="A Parquet log, or a campaign's folder of the Open Bandit Dataset.")],
    policy: Annotated[Path, typer.Option(help="YAML: uniform, a fixed split, or columns of the log.")],
    adaptive: Annotated[
        bool | None,
        typer.Option("--adaptive/--independent", help="Whether the logging policy learned. [default: the log says]"),
    ] = None,
    confidence: Annotated[float, typer.Option(help="Coverage of each interval.")] = 0.95,
    interval: Annotated[Interval, typer.Option(help="How intervals are made.")] = Interval.normal,
    unit: Annotated[Unit, typer.Option(help="What is independent in a single run.")] = Unit.round,
    clip: Annotated[float, typer.Option(help="Largest weight of clipped IPS and SWITCH-DR.")] = 10.0,
    shrinkage: Annotated[float, typer.Option(help="Strength of DR with shrinkage.")] = 100.0,
    seed: Annotated[int, typer.Option(min=0, help="Key of folds, bootstrap and replay.")] = 0,
) -> None:
    """Say what another policy would have earned, from a log with propensities."""
    with _plain_errors():
        from experiments.ope_command import ope_page

        typer.echo(
            ope_page(
                log,
                policy,
                adaptive=adaptive,
                confidence=confidence,
                interval=interval.value,
                unit=unit.value,
                clip=clip,
                shrinkage=shrinkage,
                seed=seed,
            )
        )


@app.command()
def explain(
    folder: Annotated[Path, typer.Argument(help="A saved reward model, or a run that has fitted one.")],
    item: Annotated[str, typer.Option(help="Text of the item.")],
    user: Annotated[str, typer.Option(help="Text of the user. [default: nothing is known]")] = "",
) -> None:
    """Say which words of a user and an item moved the probability of a click, and by how much."""
    with _plain_errors():
        from experiments.explain_command import explain_page

        typer.echo(explain_page(folder, item, user))


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
) -> None:
    """Redraw figures and report.html from a run folder alone."""
    with _plain_errors() as place:
        from experiments.report import write_report
        from experiments.run_folder import RunFolder

        opened = RunFolder.open(folder)
        place.folder = folder
        write_report(opened)
        typer.echo(opened.report_file)


@app.command(name="list")
def list_(what: Annotated[Listed, typer.Argument(help="What to list.")]) -> None:
    """List policies and environments with parameters and defaults, or what is bundled: one line each."""
    with _plain_errors():
        from experiments import listing

        typer.echo("\n".join(getattr(listing, what.value)()))


def _is_bundled_study(name: str) -> bool:
    with _plain_errors():
        from experiments.installation import check_one_installation

        check_one_installation()
        from experiments.studies.config import bundled_studies

        return name in bundled_studies()


class _Place:
    """Where the traceback of an error is kept: in the run folder once there is one, else in the working folder."""

    folder = Path()

    @property
    def is_run(self) -> bool:
        return (self.folder / "config.yaml").is_file() and self.folder != Path()

    def keep_traceback(self) -> Path:
        file = (self.folder if self.is_run else Path()) / "error.txt"
        file.write_text(traceback.format_exc(), encoding="utf-8")
        return file


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning without the line of code that it came from."""
    typer.echo(f"Warning: {message}", err=True)


@contextmanager
def _plain_errors() -> Iterator[_Place]:
    """Turn errors into one message and an exit code: 2 bad input, 130 interrupted, 1 anything unexpected."""
    place = _Place()
    try:
        yield place
    except KeyboardInterrupt:
        typer.echo("\nInterrupted. Nothing that was finished is lost: the same command goes on from here.", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except (ValueError, OSError, ModuleNotFoundError) as error:
        typer.echo(f"Error: {error}", err=True)
        if place.is_run:
            place.keep_traceback()
        raise typer.Exit(BAD_INPUT) from None
    except Exception as error:
        typer.echo(f"Unexpected error: {type(error).__name__}: {error}", err=True)
        typer.echo(f"The traceback is in {place.keep_traceback()}.", err=True)
        raise typer.Exit(1) from None


def main() -> None:
    """Entry point of the command `bandits`."""
    warnings.showwarning = _show_warning
    app()


if __name__ == "__main__":
    main()
