"""Says whether a model beats its baselines; plain values in, words out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

MEASURES = {
    "log_loss": "log loss per impression",
    "conditional_log_loss": "conditional log loss per click",
    "pairwise_accuracy": "pairwise accuracy",
    "pairwise_accuracy_significant": "pairwise accuracy, pairs with p < 0.05",
}
JUDGED = ("log_loss", "conditional_log_loss", "pairwise_accuracy")


def lead_in_words(lead: Mapping[str, float | None]) -> str:
    """A lead (fields of `Lead`) with its interval.

    >>> lead_in_words({"lead": 0.01234, "low": 0.0012, "high": 0.0235})
    '0.01234 (0.00120 to 0.02350)'
    """
    if lead["lead"] is None:
        return "–"
    ends = f" ({lead['low']:.5f} to {lead['high']:.5f})" if lead["low"] is not None else " (no interval)"
    return f"{lead['lead']:.5f}{ends}"


def verdict(name: str, leads: Mapping[str, Mapping[str, Mapping[str, float | None]]], unbeaten: Sequence[str]) -> str:
    """Whether the model earns its place, in words.

    Args:
        name: What the model is called.
        leads: Baseline to measure to fields of `Lead`, from `evaluate`.
        unbeaten: Baselines over which some lead in one of `JUDGED` is not certain.

    >>> leads = {"base rate": {"log_loss": {"lead": 0.01, "low": -0.01, "high": 0.03}}}
    >>> print(verdict("BERT", leads, ["base rate"])[:73])
    BERT earns nothing here: with 95 percent confidence it does not beat base
    """
    measures = [key for key in next(iter(leads.values())) if key in JUDGED]
    closest = min(leads, key=lambda baseline: leads[baseline][measures[0]]["lead"] or 0.0)
    numbers = " and ".join(f"{lead_in_words(leads[closest][key])} in {MEASURES[key]}" for key in measures)
    found = (
        f"{name} earns nothing here: with 95 percent confidence it does not beat {', '.join(unbeaten)}."
        if unbeaten
        else f"{name} beats each of the {len(leads)} simpler models with 95 percent confidence."
    )
    return f"{found} Its lead over the strongest, {closest}, is {numbers}."
