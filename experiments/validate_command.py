"""`bandits validate`: a fitted model against a log that it has never seen, as a page, JSON and HTML."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bandits import reward_models as models
from bandits.reward_models.log_format import LogFormat
from experiments import html_page
from experiments.opened_log import open_log
from experiments.validation.config import load_validation
from experiments.validation.validate import validate


def validation_page(
    model_folder: Path,
    source: str,
    out: Path | None = None,
    *,
    format: LogFormat = "auto",
    watch_ratio: float | None = None,
    tabs: Sequence[int] | None = None,
    rating: float | None = None,
    config: str | None = None,
    overrides: Sequence[str] = (),
) -> str:
    """Validate a model and write `validation.json` and `report.html`; what `bandits validate` prints.

    Args:
        model_folder: A saved reward model.
        source: See `open_log`, as with the other arguments about the log. Rows that the model was fitted on are left
            out, so the log that it was fitted on will do.
        out: Folder to write to; `validation` in the model's folder by default.
        format: How the log is written.
        watch_ratio: KuaiRec only.
        tabs: KuaiRand only.
        rating: Jester only.
        config: YAML as in `ValidationConfig`; by default the bundled one for logs of this kind.
        overrides: `key=value` each.

    Raises:
        FileNotFoundError: When a file is missing.
        ValueError: When model, log or config cannot be used.
    """
    model = models.load_reward_model(model_folder)
    loaded = load_validation(config, model.kind, overrides)
    opened = open_log(source, format=format, watch_ratio=watch_ratio, tabs=tabs, rating=rating)
    found = validate(model, opened, loaded)
    folder = out or model_folder / "validation"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "validation.json").write_text(json.dumps(found, indent=1, allow_nan=False), encoding="utf-8")
    page = html_page.template("validation.html.j2").render(found=found)
    (folder / "report.html").write_text(page, encoding="utf-8")
    return "\n".join([*_lines(found), "", str(folder / "report.html")])


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    rows, units = found["rows"], found["units"]
    yield (
        f"{found['log']['name']}: {rows['held_out']:,} pairs of texts that the model was not fitted on "
        f"({rows['left_out']:,} left out), {found['clicks']:,.0f} clicks in {found['impressions']:,.0f} impressions, "
        f"{units['count']:,} values of `{units['by']}`"
    )
    for aspect, answer in found["answers"].items():
        yield ""
        yield f"Validated for {aspect}: {answer}"
        for line in found["verdict"]:
            if line["aspect"] == aspect:
                yield f"  {line['answer']:<11}  {line['question']}: {line['found']} (held to: {line['held_to']})"
