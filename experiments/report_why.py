"""The section on one choice: which words moved the click probability, and what the scores of policies are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.explain_command import why_no_words
from experiments.figures import arm_names
from experiments.html_page import number, percent
from experiments.run_data import RunData


def why_section(data: RunData) -> dict[str, Any] | None:
    """The explained user and item, and the scores; None where nothing was explained."""
    if not data.why:
        return None
    names = arm_names(data)
    rows = [
        {
            "policy": scored["policy"],
            "item": names[arm["arm"]],
            "place": arm["place"],
            "parts": sum_words(scored["names"], arm["parts"]),
            "score": "" if arm["parts"] is None else number(sum(arm["parts"])),
        }
        for scored in data.why["policies"]
        for arm in scored["arms"]
    ]
    scored = {row["policy"] for row in rows}
    without = ", ".join(label for label in data.config.policies if label not in scored)
    return {
        "words": _intro(data, names[data.why["item"]]),
        "effects": _effect_words(data),
        "rows": rows,
        "without": f"These compare no scores of arms, or play on a device: {without}." if without else "",
    }


def sum_words(names: Sequence[str], parts: Sequence[float] | None) -> str:
    """A score as the sum of its parts; an infinite one is that of an arm that was never shown.

    >>> sum_words(("estimate", "draw"), (0.04, -0.013))
    '0.04 estimate - 0.013 draw'
    >>> sum_words(("estimate", "bonus"), None)
    'never shown: comes first'
    """
    if parts is None:
        return "never shown: comes first"
    first, *others = [f"{number(abs(part))} {name}" for name, part in zip(names, parts, strict=True)]
    signs = ["-" if part < 0 else "+" for part in parts]
    lead = "-" if signs[0] == "-" else ""
    return " ".join([lead + first, *(f"{sign} {term}" for sign, term in zip(signs[1:], others, strict=True))])


def _intro(data: RunData, item: str) -> str:
    table, explain = data.table, data.config.report.explain
    assert explain is not None
    user = "" if table is None else table.user_texts[data.why["user"]] or table.user_ids[data.why["user"]]
    has_user = table is not None and len(table.user_ids) > 1
    when = "in replication 0" if data.num_worlds > 1 else "at the end"
    why_item = "" if explain.item else f", which the policy with the most clicks shows most {when}"
    return (f"The user: “{user}”. " if has_user else "") + f"The item: “{item}”{why_item}."


def _effect_words(data: RunData) -> str:
    fit, found = data.config.reward_model, data.why["words"]
    if found is None:
        return why_no_words(fit) if fit is not None and data.model else ""
    return (
        f"The reward model predicts that {percent(found['probability'])} click, and {percent(found['without_words'])} "
        "with a mask in place of every word. The figure divides the difference of both log-odds among the words."
    )
