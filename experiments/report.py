"""Writes a run's report.html from its folder alone: one file, figures inside, every text from data escaped."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from experiments.figures import draw_figures
from experiments.report_adaptivity import adaptivity_caveats
from experiments.report_branches import branch_tests
from experiments.report_lower_bound import lower_bound_words
from experiments.report_precision import comparison_words, precision_section
from experiments.report_sections import agreement_section, caveats, facts, made_with, model_section
from experiments.report_words import baseline_rule, hindsight_words, phase_words, run_verdict, sanity_words
from experiments.report_worlds import arms_section, late_section, sampled_worlds, users_section
from experiments.run_data import WORLDS, RunData
from experiments.run_folder import RunFolder, write_text


def write_report(run: RunFolder) -> Path:
    """Draw the figures, write report.html, and say where it is."""
    data = RunData(run)
    notes = draw_figures(data)
    figures = {name: _inlined(run.figures / f"{name}.svg") for name in notes}
    write_text(run.report_file, _template().render(**_content(data), figures=figures, traffic=_traffic(notes)))
    return run.report_file


def _content(data: RunData) -> dict[str, Any]:
    rows = data.summary.to_dict("records")
    return {
        "title": f"{data.config.name}: bandits against {data.config.baseline}",
        "facts": facts(data),
        "verdict": run_verdict(data),
        "policies": rows,
        "baseline": data.config.baseline,
        "has_users": data.has_users,
        "comparison_words": comparison_words(data),
        "precision": precision_section(data),
        "lower_bound_words": lower_bound_words(data),
        "baseline_rule": baseline_rule(data),
        "sanity_words": sanity_words(data),
        "test_length_words": hindsight_words(data),
        "phase_words": phase_words(data),
        "world": WORLDS[data.kind],
        "other_world": WORLDS[data.kinds[1]] if len(data.kinds) > 1 else None,
        "branch_tests": branch_tests(data),
        "unit": data.unit,
        "arms": arms_section(data),
        "late_items": late_section(data),
        "users": users_section(data),
        "tests": sampled_worlds(data),
        "model": model_section(data),
        "agreement": agreement_section(data),
        "caveats": [*caveats(data), *adaptivity_caveats(data)],
        "made_with": made_with(data),
    }


def _traffic(notes: dict[str, str]) -> list[tuple[str, str]]:
    return [(label, name) for name, label in notes.items() if name.startswith("traffic_")]


def _inlined(file: Path) -> str:
    """A figure as a data address: inside an `img`, nothing in it can run."""
    return "data:image/svg+xml;base64," + base64.b64encode(file.read_bytes()).decode()


def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("experiments"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"interval": interval, "signed": signed, "percent": percent, "points": points}
    environment.filters |= {
        "number": number,
        "signed": signed,
        "percent": percent,
        "p_value": p_value,
        "count": lambda value: f"{value:,}",
    }
    return environment.get_template("report.html.j2")


def number(value: float) -> str:
    """A number as people read it: thousands separated, three digits where it is small.

    >>> number(12345.6), number(12.34), number(0.1234)
    ('12,346', '12.3', '0.123')
    """
    if math.isnan(value):
        return "none"
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.3g}"


def signed(value: float) -> str:
    """A difference, with its sign.

    >>> signed(12.34), signed(-0.5)
    ('+12.3', '-0.5')
    """
    if math.isnan(value):
        return "none"
    return ("-" if value < 0 else "+") + number(abs(value))


def interval(low: float, high: float, write: Callable[[float], str] = number) -> str:
    """Both ends of an interval; words where there is none.

    >>> interval(1.0, 2.5), interval(math.nan, math.nan)
    ('1 to 2.5', 'no interval')
    """
    return "no interval" if math.isnan(low) else f"{write(low)} to {write(high)}"


def percent(value: float) -> str:
    """A share in percent.

    >>> percent(0.0345), percent(0.2)
    ('3.45 %', '20.0 %')
    """
    if math.isnan(value):
        return "none"
    return f"{100 * value:.2f} %" if value < 0.1 else f"{100 * value:.1f} %"


def points(value: float) -> str:
    """A difference of two shares in percentage points.

    >>> points(0.0123), points(-0.0004)
    ('+1.23', '-0.04')
    """
    return "none" if math.isnan(value) else f"{100 * value:+.2f}"


def p_value(value: float) -> str:
    """A p-value, to three decimals.

    >>> p_value(0.0001), p_value(0.04)
    ('< 0.001', '0.040')
    """
    if math.isnan(value):
        return "none"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
