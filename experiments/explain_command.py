"""`bandits explain`: which words of two texts moved a click probability."""

from __future__ import annotations

import importlib.util
from pathlib import Path

MODEL_FOLDER = "reward_model"  # where a run keeps its fitted model
MISSING_CAPTUM = "Explanations of single words need captum: pip install 'click-bandits[explain]'."


def has_captum() -> bool:
    """Whether the library that takes probabilities apart is installed; answered without loading it."""
    return importlib.util.find_spec("captum") is not None


def explain_page(folder: Path, item: str, user: str) -> str:
    """The effects of all words, the strongest first.

    Args:
        folder: A saved reward model, or a run that has fitted one.
        item: Text of the item.
        user: Text of the user; "" if nothing is known.

    Raises:
        FileNotFoundError: When there is no reward model in `folder`.
        ValueError: When `item` is empty, or captum is not installed.
    """
    if not has_captum():
        raise ValueError(MISSING_CAPTUM)
    from bandits.reward_models import RewardModel, explain_click

    inside = folder / MODEL_FOLDER
    model = RewardModel.load(inside if inside.is_dir() else folder)
    return explain_click(model, user, item).to_text()
