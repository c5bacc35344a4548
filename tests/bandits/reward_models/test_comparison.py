"""Leads over baselines: differences of the metrics, intervals by hand, and their coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import t as student

from bandits.reward_models import metrics
from bandits.reward_models.comparison import (
    Lead,
    lead_in_conditional_loss,
    lead_in_log_loss,
    lead_in_pairwise_accuracy,
    unbeaten,
)
from bandits.reward_models.verdict import verdict
from bandits.reward_models.within_test import conditional_log_loss

USERS, ITEMS = 30, 5
OF_USER = np.repeat(np.arange(USERS), ITEMS)


def sample(seed: int) -> tuple[np.ndarray, ...]:
    """Predictions of two models, true rates with a level of each user, impressions and clicks."""
    random = np.random.default_rng(seed)
    truth = logit(0.1) + random.normal(0, 0.5, USERS * ITEMS) + random.normal(0, 0.3, USERS)[OF_USER]
    p, other = (expit(truth + random.normal(0, error, USERS * ITEMS)) for error in (0.2, 0.5))
    impressions = random.integers(50, 150, USERS * ITEMS).astype(float)
    return p, other, expit(truth), impressions, random.binomial(impressions.astype(int), expit(truth)).astype(float)


def test_lead_in_log_loss_and_its_interval_by_hand() -> None:
    p, other, _, n, c = sample(0)
    found = lead_in_log_loss(p, other, n, c, OF_USER)
    assert found.lead == pytest.approx(metrics.log_loss(other, n, c) - metrics.log_loss(p, n, c))
    rows = [np.flatnonzero(user == OF_USER) for user in range(USERS)]
    own = [[metrics.log_loss(q[of], n[of], c[of]) for of in rows] for q in (other, p)]
    x = np.bincount(OF_USER, n)
    y = np.subtract(*own) * x
    error = np.std(y - found.lead * x, ddof=1) / np.sqrt(USERS) / x.mean()
    half = student.ppf(0.975, USERS - 1) * error
    assert (found.low, found.high) == pytest.approx((found.lead - half, found.lead + half))
    back = lead_in_log_loss(other, p, n, c, [f"user {u}" for u in OF_USER])
    assert (back.lead, back.low, back.high) == pytest.approx((-found.lead, -found.high, -found.low))


def test_leads_inside_tests_are_differences_of_the_metrics() -> None:
    p, other, _, n, c = sample(1)
    tests = (n, c, OF_USER)  # what was a user is a test
    stories = OF_USER // 2
    loss = lead_in_conditional_loss(p, other, *tests, stories)
    expected = conditional_log_loss(other, *tests) - conditional_log_loss(p, *tests)
    assert loss.lead == pytest.approx(expected)
    ranked, rival = (metrics.pairwise_accuracy(scores, *tests) for scores in (p, other))
    assert lead_in_pairwise_accuracy(p, other, *tests, stories).lead == pytest.approx(ranked.accuracy - rival.accuracy)
    significant = lead_in_pairwise_accuracy(p, other, *tests, stories, significant=True)
    assert significant.lead == pytest.approx(ranked.accuracy_significant - rival.accuracy_significant)
    assert 0 < ranked.pairs_significant < ranked.pairs
    wider = lead_in_pairwise_accuracy(p, other, *tests, np.arange(len(p)) // (ITEMS * 10))  # three units
    assert wider.high - wider.low > 0


@pytest.mark.statistics
def test_intervals_hold_the_expected_lead() -> None:
    """Of a thousand samples of new users, 95 percent of intervals hold what the lead is over all users."""
    found, expected = [], []
    for seed in range(1000):
        p, other, truth, n, c = sample(seed)
        found.append(lead_in_log_loss(p, other, n, c, OF_USER))
        gained = truth * np.log(p / other) + (1 - truth) * np.log((1 - p) / (1 - other))
        expected.append((np.sum(gained * n), n.sum()))
    lead = np.sum(expected, axis=0)[0] / np.sum(expected, axis=0)[1]
    covered = np.mean([each.low <= lead <= each.high for each in found])
    assert abs(covered - 0.95) < 4 * np.sqrt(0.05 * 0.95 / 1000) + 0.01


def test_nothing_to_compare_is_not_certain() -> None:
    one = np.array([0.1]), np.array([0.2]), np.array([50.0]), np.array([5.0])
    alone = lead_in_log_loss(*one, ["a user"])
    assert (alone.low, alone.is_certain) == (None, False)
    assert alone.lead > 0
    none = lead_in_pairwise_accuracy(*one, np.zeros(1, dtype=np.int64), ["a story"])
    assert none == Lead(None, None, None)
    same = lead_in_log_loss(one[0].repeat(3), one[0].repeat(3), np.full(3, 9.0), np.ones(3), ["a", "b", "c"])
    assert (same.lead, same.is_certain) == (0.0, False)


def test_a_model_must_lead_everywhere() -> None:
    good, doubtful = Lead(0.02, 0.01, 0.03), Lead(0.02, -0.01, 0.05)
    leads = {
        "a": {"conditional_log_loss": good, "pairwise_accuracy": good, "pairwise_accuracy_significant": doubtful},
        "b": {"conditional_log_loss": good, "pairwise_accuracy": doubtful, "pairwise_accuracy_significant": good},
    }
    assert unbeaten(leads) == ["b"]
    plain = {name: {key: vars(lead) for key, lead in found.items()} for name, found in leads.items()}
    assert verdict("BERT", plain, ["b"]).startswith(
        "BERT earns nothing here: with 95 percent confidence it does not beat b. "
    )
    closest = {"far": {"log_loss": vars(Lead(0.5, 0.4, 0.6))}, "near": {"log_loss": vars(good)}}
    words = verdict("BERT", closest, [])
    assert words.startswith("BERT beats each of the 2 simpler models with 95 percent confidence.")
    assert words.endswith("over the strongest, near, is 0.02000 (0.01000 to 0.03000) in log loss per impression.")
