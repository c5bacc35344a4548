"""Click probabilities of rows that are no rectangle: rows of a file, items of its tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bandits.reward_models.ensemble import AnyRewardModel, RewardEnsemble

FloatArray = NDArray[np.float64]


def rates_of_rows(
    model: AnyRewardModel, user_texts: Sequence[str], item_texts: Sequence[str], tests: Sequence[str] | None = None
) -> FloatArray:
    """Click probability of each row, shape (n,), as a propensity table of the same texts would have it.

    Args:
        model: A fitted model.
        user_texts: User of each row, "" for none, length n.
        item_texts: Item of each row, length n.
        tests: Test of each row, for a model of tests and only for one: its probabilities compare the distinct items of
            a test, and their level is the base rate of the log that it was fitted on.

    Raises:
        ValueError: When there are no rows, or `tests` does not suit the model.
    """
    if not len(item_texts):
        raise ValueError("`item_texts` must not be empty. Got no rows.")
    if (tests is not None) != (model.kind == "tests"):
        given = "none" if tests is None else "some"
        raise ValueError(
            f"`tests` must be given for a model of tests and for no other. Got {given} for a model of {model.kind}."
        )
    scores = _of_distinct(model, user_texts, item_texts)
    if tests is None:
        return model.calibrator(scores)
    rates = np.empty(len(scores))
    items = np.asarray(item_texts, dtype=object)
    for members in pd.Series(np.arange(len(scores))).groupby(np.asarray(tests, dtype=object)).indices.values():
        first, of_row = np.unique(items[members], return_index=True, return_inverse=True)[1:]
        rates[members] = model.calibrator(scores[members][first])[of_row]
    return rates


def num_cut(model: AnyRewardModel, user_texts: Sequence[str], item_texts: Sequence[str]) -> int:
    """How many rows are longer than the model reads, so that their ends are cut."""
    reads = model.members[0] if isinstance(model, RewardEnsemble) else model  # the members of an ensemble read alike
    return reads.network.pair_tokenizer.rows(user_texts, item_texts).num_cut


def _of_distinct(model: AnyRewardModel, user_texts: Sequence[str], item_texts: Sequence[str]) -> FloatArray:
    """Logits of rows, each pair of texts scored once, shape (n,)."""
    rows = pd.MultiIndex.from_arrays([list(user_texts), list(item_texts)])
    of_row, pairs = pd.factorize(rows)
    users, items = pairs.get_level_values(0).tolist(), pairs.get_level_values(1).tolist()
    scores: FloatArray = model.scores(users, items)[of_row]
    return scores
