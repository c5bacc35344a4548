"""`bandits explain`: which words of two texts moved a click probability."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from bandits.reward_models.fit_config import FitConfig

MODEL_FOLDER = "reward_model"  # where a run keeps its fitted model
_MISSING_CAPTUM = "Explanations of single words need captum: pip install 'click-bandits[explain]'."


def has_captum() -> bool:
    """Whether the library that takes probabilities apart is installed; answered without loading it."""
    return importlib.util.find_spec("captum") is not None


def why_no_words(fit: FitConfig) -> str:
    """Why a report on such a model says nothing of single words; "" where it does."""
    if fit.members > 1:
        return "Words are not explained for an ensemble; `bandits explain` takes the folder of one of its members."
    if fit.architecture != "cross":
        return "Words are not explained for a bi-encoder, which reads user and item apart."
    return "" if has_captum() else _MISSING_CAPTUM


def explain_page(folder: Path, item: str, user: str) -> str:
    """The effects of all words, the strongest first.

    Args:
        folder: A saved reward model, or a run that has fitted one.
        item: Text of the item.
        user: Text of the user; "" if nothing is known.

    Raises:
        FileNotFoundError: When there is no reward model in `folder`.
        ValueError: When `item` is empty, captum is not installed, or the model is an ensemble or a bi-encoder.
    """
    if not has_captum():
        raise ValueError(_MISSING_CAPTUM)
    from bandits.reward_models import RewardModel, explain_click, load_reward_model

    inside = folder / MODEL_FOLDER
    home = inside if inside.is_dir() else folder
    model = load_reward_model(home)
    if not isinstance(model, RewardModel):
        raise ValueError(f"`folder` must hold a single model. Got an ensemble: try its member {home / 'member-0'}.")
    return explain_click(model, user, item).to_text()
