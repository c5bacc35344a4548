"""Writes a run's report.html from its folder alone: one file, figures inside, every text from data escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.figures import draw_figures
from experiments.html_page import inlined, template
from experiments.report_adaptivity import adaptivity_caveats
from experiments.report_branches import branch_tests
from experiments.report_lower_bound import lower_bound_words
from experiments.report_members import members_section
from experiments.report_precision import comparison_words, precision_section
from experiments.report_sections import agreement_section, caveats, facts, made_with, model_section
from experiments.report_why import why_section
from experiments.report_words import baseline_rule, hindsight_words, phase_words, run_verdict, sanity_words
from experiments.report_worlds import arms_section, late_section, sampled_worlds, users_section
from experiments.run_data import WORLDS, RunData
from experiments.run_folder import RunFolder, write_text


def write_report(run: RunFolder) -> Path:
    """Draw the figures, write report.html, and say where it is."""
    data = RunData(run)
    notes = draw_figures(data)
    figures = {name: inlined(run.figures / f"{name}.svg") for name in notes}
    write_text(
        run.report_file, template("report.html.j2").render(**_content(data), figures=figures, traffic=_traffic(notes))
    )
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
        "members": members_section(data),
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
        "why": why_section(data),
        "caveats": [*caveats(data), *adaptivity_caveats(data)],
        "made_with": made_with(data),
    }


def _traffic(notes: dict[str, str]) -> list[tuple[str, str]]:
    return [(label, name) for name, label in notes.items() if name.startswith("traffic_")]
