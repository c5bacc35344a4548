"""The choice of a precision: hardware, size, and the check."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from bandits.reward_models import Calibrator, RewardModel
from bandits.reward_models.fit_config import ScoringConfig

pytestmark = pytest.mark.model

USERS = [f"reader {u} likes {'walks ' * (u % 5)}tea" for u in range(40)]
ITEMS = [f"text number {k}" for k in range(5)]
CALIBRATOR = Calibrator("platt", 2.0, -3.0)


@pytest.fixture
def model() -> RewardModel:
    import torch

    from bandits.reward_models.network import Network
    from bandits.reward_models.weights import resolve_weights

    weights = resolve_weights("tiny", texts=USERS + ITEMS)
    network = Network.from_weights(weights, max_length=32, device=torch.device("cpu"), seed=3)
    with torch.no_grad():
        for parameter in network.model.parameters():
            parameter *= 4  # or all texts would look alike
    return RewardModel(network, CALIBRATOR, "pairs", {})


@pytest.fixture
def on_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor with bfloat16, for tables of any size."""
    from bandits.reward_models import precision

    monkeypatch.setattr(precision, "has_bfloat16", lambda _: True)
    monkeypatch.setattr(precision, "_WORTH_CHECKING", 1)


def test_check_sees_the_largest_relative_change(model: RewardModel) -> None:
    from bandits.reward_models.precision import largest_change

    pairs = model.network.pair_tokenizer.product(USERS, ITEMS)  # fewer than the check takes: it sees them all
    exact, rounded = (expit(2.0 * model.network.logits(pairs, name) - 3.0) for name in ("float32", "bfloat16"))
    assert largest_change(model, pairs) == pytest.approx(np.max(np.abs(rounded / exact - 1)), rel=1e-3)
    assert 0 < largest_change(model, pairs) < 0.1


@pytest.mark.usefixtures("on_hardware")
def test_check_of_a_large_table_takes_a_keyed_sample(model: RewardModel, monkeypatch: pytest.MonkeyPatch) -> None:
    from bandits.reward_models import precision
    from bandits.reward_models.network import Network

    seen = []
    original = Network.logits
    monkeypatch.setattr(precision, "CHECKED_PAIRS", 30)
    monkeypatch.setattr(
        Network, "logits", lambda self, pairs, name: (seen.append(pairs), original(self, pairs, name))[1]
    )
    for _ in range(2):
        precision.choose_precision(model, model.network.pair_tokenizer.product(USERS, ITEMS), ScoringConfig())
    precision.choose_precision(model, model.network.pair_tokenizer.product(USERS[1:], ITEMS), ScoringConfig())
    assert [len(set(zip(pairs.user, pairs.item, strict=True))) for pairs in seen] == [30] * 6
    assert len({pairs.content_hash for pairs in seen[:4]}) == 1
    assert seen[4].content_hash != seen[0].content_hash


@pytest.mark.usefixtures("on_hardware")
def test_bound_decides(model: RewardModel) -> None:
    from bandits.reward_models.precision import choose_precision, largest_change

    pairs = model.network.pair_tokenizer.product(USERS, ITEMS)
    change = largest_change(model, pairs)
    loose = choose_precision(model, pairs, ScoringConfig(max_change=1.01 * change))
    strict = choose_precision(model, pairs, ScoringConfig(max_change=0.99 * change))
    assert (loose.precision, strict.precision) == ("bfloat16", "float32")
    assert loose.largest_change == strict.largest_change == change
    assert f"up to {change:.2%}" in loose.reason


def test_no_check_where_it_cannot_pay(model: RewardModel, monkeypatch: pytest.MonkeyPatch) -> None:
    from bandits.reward_models import precision

    monkeypatch.setattr(precision, "largest_change", lambda *_: pytest.fail("checked"))
    pairs = model.network.pair_tokenizer.product(USERS, ITEMS)
    for hardware, words in ((True, "too few pairs"), (False, "has no bfloat16")):
        monkeypatch.setattr(precision, "has_bfloat16", lambda _, found=hardware: found)
        choice = precision.choose_precision(model, pairs, ScoringConfig())
        assert (choice.precision, choice.largest_change) == ("float32", None)
        assert words in choice.reason
    for name in ("float32", "bfloat16"):
        assert precision.choose_precision(model, pairs, ScoringConfig(precision=name)).precision == name


def test_calibration_in_float32_serves_bfloat16_too(model: RewardModel) -> None:
    """Platt's numbers fitted on logits of either precision give the same click rates."""
    pairs = model.network.pair_tokenizer.product(USERS, ITEMS)
    exact, rounded = (model.network.logits(pairs, name) for name in ("float32", "bfloat16"))
    impressions = np.full(len(exact), 1000.0)
    clicks = np.random.default_rng(5).binomial(1000, CALIBRATOR(exact)).astype(float)
    ours = Calibrator.fit("platt", exact, impressions, clicks)(rounded)
    refitted = Calibrator.fit("platt", rounded, impressions, clicks)(rounded)
    np.testing.assert_allclose(ours, refitted, rtol=0.01)
    assert ours.mean() == pytest.approx(clicks.sum() / impressions.sum(), rel=5e-3)


@pytest.mark.faults
@pytest.mark.parametrize("changes", [{"precision": "float16"}, {"max_change": 0.0}, {"max_change": 1.0}, {"speed": 1}])
def test_bad_settings_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        ScoringConfig.model_validate(changes)
