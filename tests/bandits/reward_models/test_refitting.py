"""Fits that follow one another: each is a function of its own clicks and seed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from bandits.reward_models import FitConfig, Refitter

pytestmark = pytest.mark.model

RNG = np.random.default_rng(2)
USERS, ITEMS = ["loves sport", "loves music"], ["sport today", "music today", "money today"]
CONFIG = FitConfig(
    weights="tiny", tuning="lora", epochs=3, learning_rate=0.03, batch_size=2, device="cpu", precision="float32"
)
SHOWN = RNG.uniform(0.2, 9.0, (2, 3))
CLICKS = SHOWN * np.array([[0.7, 0.2, 0.1], [0.2, 0.8, 0.1]])


def test_a_fit_knows_nothing_of_the_one_before_and_keeps_out_of_others_luck() -> None:
    import torch

    refitter, luck = Refitter(USERS, ITEMS, CONFIG), torch.get_rng_state()
    first = refitter.logits(SHOWN, CLICKS, 5)
    turned, other = refitter.logits(SHOWN, SHOWN - CLICKS, 5), refitter.logits(SHOWN, CLICKS, 6)
    np.testing.assert_array_equal(refitter.logits(SHOWN, CLICKS, 5), first)
    assert np.abs(turned - first).max() > 0.1
    assert np.abs(other - first).max() > 1e-3
    assert torch.equal(torch.get_rng_state(), luck)


def test_the_scale_of_weights_changes_nothing_and_pairs_that_were_never_shown_are_scored() -> None:
    shown = SHOWN.copy()
    shown[1, 2] = 0.0
    clicks = np.where(shown, CLICKS, 0.0)
    logits = Refitter(USERS, ITEMS, CONFIG).logits(shown, clicks, 1)
    np.testing.assert_allclose(Refitter(USERS, ITEMS, CONFIG).logits(shown / 7, clicks / 7, 1), logits, atol=1e-3)
    assert np.isfinite(logits).all()


@pytest.mark.faults
@pytest.mark.parametrize("other", [{"loss": "both"}, {"members": 2}, {"teacher": "folder"}])
def test_only_single_fits_to_pairs_are_refitted(other: dict[str, object]) -> None:
    with pytest.raises(
        ValueError, match=f"`config` must have `loss` 'binomial'.* Got .*{next(iter(other.values()))!r}"
    ):
        Refitter(USERS, ITEMS, CONFIG.model_copy(update=other))


@pytest.mark.faults
def test_where_all_clicked_alike_there_is_nothing_to_learn() -> None:
    refitter, total = Refitter(USERS, ITEMS, CONFIG), SHOWN.sum()
    np.testing.assert_allclose(expit(refitter.logits(SHOWN, np.zeros((2, 3)), 1)), 0.5 / (total + 1))
    np.testing.assert_allclose(expit(refitter.logits(SHOWN, SHOWN, 1)), (total + 0.5) / (total + 1))
    np.testing.assert_allclose(expit(refitter.logits(np.zeros((2, 3)), np.zeros((2, 3)), 1)), 0.5)
