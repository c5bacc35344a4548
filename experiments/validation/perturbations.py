"""Changes of a text that change nothing it says: how far do they move a click probability?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bandits import reward_models as models
from bandits.core import FloatArray
from experiments.validation.held_out import HeldOut

PERTURBATIONS: dict[str, Callable[[str], str]] = {
    "capitals": str.upper,
    "keywords": lambda text: f"best new free amazing {text} best new free amazing exclusive",
    "punctuation": lambda text: f"{text.rstrip('.!?')}!!! ???",
    "emoji": lambda text: f"{text} \U0001f525\U0001f631\U0001f449",
}


def perturbations(
    model: models.AnyRewardModel, data: HeldOut, *, max_texts: int, seed: int
) -> dict[str, dict[str, float]]:
    """Relative change of the propensity of held-out rows when their item's text is written otherwise.

    In a log of tests one item is changed at a time, and its rivals stay as they are.

    Args:
        model: The model.
        data: Its held-out rows.
        max_texts: Rows to change, drawn at random; in tests whole contrasts, about as many rows.
        seed: Key of the draw.

    Returns:
        By name of the change: `mean` (of the relative change), `mean_size` (of its absolute value), `largest_rise`,
        `largest_fall` and `rows`. Nothing for a model that knows columns of its items, and so no other texts of them.
    """
    if "item" in (model.info.get("columns") or {}):
        return {}
    random = np.random.default_rng([seed, 5])
    owner = data.owner if data.kind == "tests" else np.arange(len(data.rows))
    place = random.permutation(int(owner.max()) + 1)[owner]
    chosen = data.rows[place < max(1, int((np.bincount(place).cumsum() <= max_texts).sum()))]
    before = _rates(model, chosen["user_text"].tolist(), chosen["item_text"].tolist(), chosen["contrast"].tolist())
    found = {}
    for name, change in PERTURBATIONS.items():
        after = np.empty(len(chosen))
        if model.kind == "pairs":
            changed = [change(text) for text in chosen["item_text"]]
            after = _rates(model, chosen["user_text"].tolist(), changed, [])
        else:
            after = _one_at_a_time(model, chosen["item_text"].to_numpy(), chosen["contrast"].to_numpy(), change)
        moved = after / before - 1
        found[name] = {
            "mean": float(moved.mean()),
            "mean_size": float(np.abs(moved).mean()),
            "largest_rise": float(moved.max()),
            "largest_fall": float(-moved.min()),
            "rows": float(len(moved)),
        }
    return found


def _one_at_a_time(model: models.AnyRewardModel, items: Any, contrast: Any, change: Callable[[str], str]) -> FloatArray:
    """Rate of each changed item among the unchanged others of its contrast, shape (n,)."""
    texts: list[str] = []
    tests: list[str] = []
    own: list[int] = []
    for row, name in enumerate(contrast):
        rivals = np.flatnonzero((contrast == name) & (np.arange(len(items)) != row))
        own.append(len(texts))
        texts += [change(items[row]), *items[rivals]]
        tests += [str(row)] * (1 + len(rivals))
    return _rates(model, [""] * len(texts), texts, tests)[own]


def _rates(model: models.AnyRewardModel, users: list[str], items: list[str], tests: list[str]) -> FloatArray:
    return models.rates_of_rows(model, users, items, tests if model.kind == "tests" else None)
