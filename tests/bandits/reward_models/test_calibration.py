"""Calibrators against statsmodels, against the truth, and through a file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.special import expit, logit

from bandits.reward_models import Calibrator
from bandits.reward_models.calibration import LEVEL_METHODS
from bandits.reward_models.metrics import auc


@pytest.fixture
def counts() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(2)
    logits = random.normal(0, 2, 200)
    impressions = random.integers(50, 500, 200)
    clicks = random.binomial(impressions, expit(0.6 * logits - 2.5))
    return logits, impressions.astype(float), clicks.astype(float)


def test_platt_equals_a_binomial_regression(counts: tuple[np.ndarray, ...]) -> None:
    logits, impressions, clicks = counts
    found = Calibrator.fit("platt", *counts)
    responses = np.column_stack([clicks, impressions - clicks])
    fitted = sm.GLM(responses, sm.add_constant(logits), family=sm.families.Binomial()).fit()
    assert (found.intercept, found.slope) == pytest.approx(tuple(fitted.params), rel=1e-4)
    assert np.sum(found(logits) * impressions) == pytest.approx(clicks.sum(), rel=1e-5)


def test_temperature_equals_a_regression_without_intercept(counts: tuple[np.ndarray, ...]) -> None:
    logits, impressions, clicks = counts
    found = Calibrator.fit("temperature", *counts)
    responses = np.column_stack([clicks, impressions - clicks])
    fitted = sm.GLM(responses, logits, family=sm.families.Binomial()).fit()
    assert found.slope == pytest.approx(fitted.params[0], abs=1e-4)
    assert found.intercept == 0


def test_identity_is_one_sigmoid(counts: tuple[np.ndarray, ...]) -> None:
    np.testing.assert_allclose(Calibrator.fit("identity", *counts)(counts[0]), expit(counts[0]))


def test_ranking_is_never_turned_round(counts: tuple[np.ndarray, ...]) -> None:
    logits, impressions, clicks = counts
    found = Calibrator.fit("platt", -logits, impressions, clicks)
    assert found.slope == 0
    assert found(logits)[0] == pytest.approx(clicks.sum() / impressions.sum(), rel=1e-4)


def test_within_tests_finds_the_slope_and_keeps_the_level() -> None:
    random = np.random.default_rng(5)
    contrast = np.repeat(np.arange(300), 4)
    scores = random.normal(0, 1, 1200) + random.normal(0, 5, 300)[contrast]  # tests differ by more than items do
    impressions = np.full(1200, 2000.0)
    levels = random.normal(-4, 0.3, 300)
    centered = scores - (np.bincount(contrast, scores) / 4)[contrast]
    clicks = random.poisson(impressions * np.exp(levels[contrast] + 0.25 * centered)).astype(float)
    found = Calibrator.fit_within_tests(scores, impressions, clicks, contrast, base_rate=0.013)
    assert found.slope == pytest.approx(0.25, abs=0.02)
    rates = found(np.array([[7.0, 7.0], [100.0, 100.0]]))
    np.testing.assert_allclose(rates, 0.013)
    assert logit(found(np.array([2.0, 0.0]))) @ [1, -1] == pytest.approx(2 * found.slope)


def test_file_keeps_every_digit(tmp_path: Path, counts: tuple[np.ndarray, ...]) -> None:
    found = Calibrator.fit("platt", *counts)
    found.save(tmp_path / "calibrator.json")
    assert Calibrator.load(tmp_path / "calibrator.json") == found


@pytest.mark.faults
def test_changed_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "calibrator.json"
    Calibrator("platt", 1.5, -2.0).save(path)
    path.write_text(path.read_text().replace("1.5", "1.6"))
    with pytest.raises(ValueError, match="must have hash"):
        Calibrator.load(path)


@pytest.mark.faults
def test_rows_without_clicks_are_refused() -> None:
    logits, impressions = np.zeros(3), np.full(3, 10.0)
    for clicks in (np.zeros(3), impressions):
        for method in LEVEL_METHODS:
            with pytest.raises(ValueError, match="must have clicks and impressions without a click"):
                Calibrator.fit(method, logits, impressions, clicks)
    with pytest.raises(ValueError, match="must have clicks"):
        Calibrator.fit_within_tests(logits, impressions, np.zeros(3), np.zeros(3, dtype=np.int64), base_rate=0.1)


def test_platt_never_depends_on_where_logits_lie(counts: tuple[np.ndarray, ...]) -> None:
    logits, impressions, clicks = counts
    near, far = (Calibrator.fit("platt", z, impressions, clicks) for z in (logits, 40 * logits - 300))
    np.testing.assert_allclose(far(40 * logits - 300), near(logits), rtol=1e-5)


def test_beta_is_the_published_map() -> None:
    """Kull, Silva Filho, Flach (2017), equation 4: 1 / (1 + 1 / (e^c s^a / (1 - s)^b))."""
    s, (a, b, c) = np.linspace(0.01, 0.99, 50), (0.7, 1.9, -0.4)
    published = 1 / (1 + 1 / (np.exp(c) * s**a / (1 - s) ** b))
    found = Calibrator("beta", slope=a, upper_slope=b, intercept=c)(logit(s))
    np.testing.assert_allclose(found, published, rtol=1e-12)
    equal_slopes = Calibrator("beta", slope=1.3, upper_slope=1.3, intercept=-0.4)
    np.testing.assert_allclose(equal_slopes(logit(s)), Calibrator("platt", 1.3, -0.4)(logit(s)), rtol=1e-12)


@pytest.fixture
def bent() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts whose true map is a beta map with different slopes."""
    random = np.random.default_rng(7)
    s = random.beta(1, 1.5, 300)
    impressions = random.integers(200, 3000, 300)
    clicks = random.binomial(impressions, Calibrator("beta", 0.6, -0.8, 1.7)(logit(s)))
    return logit(s), impressions.astype(float), clicks.astype(float)


def test_beta_equals_a_regression_on_both_log_probabilities(bent: tuple[np.ndarray, ...]) -> None:
    logits, impressions, clicks = bent
    found = Calibrator.fit("beta", *bent)
    s = expit(logits)
    features = sm.add_constant(np.column_stack([np.log(s), -np.log(1 - s)]))
    fitted = sm.GLM(np.column_stack([clicks, impressions - clicks]), features, family=sm.families.Binomial()).fit()
    assert (found.intercept, found.slope, found.upper_slope) == pytest.approx(tuple(fitted.params), rel=1e-3)
    np.testing.assert_allclose(found(logits), fitted.predict(features), rtol=1e-4)
    assert (found.slope, found.upper_slope) == pytest.approx((0.6, 1.7), abs=0.1)


def test_a_negative_slope_of_beta_is_left_out() -> None:
    """As the paper says: without the feature whose slope would be negative, the others are fitted anew."""
    random = np.random.default_rng(8)
    s = random.beta(1, 1, 300)
    impressions = np.full(300, 2000.0)
    features = np.column_stack([np.log(s), -np.log(1 - s)])
    clicks = random.binomial(2000, expit(features @ [1.5, -0.2] - 0.5)).astype(float)
    responses = np.column_stack([clicks, impressions - clicks])
    free = sm.GLM(responses, sm.add_constant(features), family=sm.families.Binomial()).fit()
    assert free.params[2] < -0.1
    left = sm.GLM(responses, sm.add_constant(features[:, 0]), family=sm.families.Binomial()).fit()
    found = Calibrator.fit("beta", logit(s), impressions, clicks)
    assert (found.intercept, found.slope, found.upper_slope) == pytest.approx((*left.params, 0.0), abs=1e-4)


def pooled(rates: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted isotonic regression by its formula: max over starts of min over ends of the mean between them."""
    n = len(rates)

    def mean(a: int, b: int) -> float:
        return float(np.average(rates[a : b + 1], weights=weights[a : b + 1]))

    return np.array([max(min(mean(a, b) for b in range(i, n)) for a in range(i + 1)) for i in range(n)])


def test_isotonic_equals_the_max_min_formula() -> None:
    random = np.random.default_rng(9)
    logits = np.sort(random.normal(-2, 1, 40))
    impressions = random.integers(30, 400, 40).astype(float)
    clicks = random.binomial(impressions.astype(int), expit(logits)).astype(float)
    clicks[:3] += 1.0  # so that no step is at 0
    found = Calibrator.fit("isotonic", logits, impressions, clicks)
    np.testing.assert_allclose(found(logits), pooled(clicks / impressions, impressions), rtol=1e-12)
    assert np.sum(found(logits) * impressions) == pytest.approx(clicks.sum())
    assert found(np.array([-50.0]))[0] == found(logits)[0]
    assert found(np.array([50.0]))[0] == found(logits)[-1]


def test_ends_of_isotonic_are_never_certain() -> None:
    logits, impressions = np.arange(4.0), np.array([10.0, 30.0, 20.0, 50.0])
    found = Calibrator.fit("isotonic", logits, impressions, np.array([0.0, 0.0, 5.0, 50.0]))
    np.testing.assert_allclose(found(logits), [0.5 / 41, 0.5 / 41, 0.25, 50.5 / 51])
    few = Calibrator.fit("isotonic", logits, impressions, np.array([0.0, 1.0, 1.0, 1.0]))
    np.testing.assert_allclose(few(logits)[0], 3 / 100)  # (0 + 1/2) / 11 would pass its neighbours
    apart = Calibrator.fit("isotonic", logits, impressions, np.array([0.0, 0.0, 20.0, 50.0]))
    np.testing.assert_allclose(apart(logits), [0.5 / 41, 0.5 / 41, 70.5 / 71, 70.5 / 71])


@pytest.mark.parametrize("method", ["identity", "temperature", "platt", "beta", "isotonic"])
def test_no_method_turns_the_ranking_round(method: str, bent: tuple[np.ndarray, ...]) -> None:
    logits, impressions, clicks = bent
    for order in (logits, -logits):
        found = Calibrator.fit(method, order, impressions, clicks)  # type: ignore[arg-type]
        assert np.all(np.diff(found(np.linspace(-9, 9, 400))) >= 0)
    p = Calibrator.fit(method, *bent)(logits)  # type: ignore[arg-type]
    if method == "isotonic":
        assert auc(p, impressions, clicks) >= auc(logits, impressions, clicks)  # it may tie what is wrongly ordered
    else:
        assert auc(p, impressions, clicks) == pytest.approx(auc(logits, impressions, clicks), abs=1e-12)


@pytest.mark.parametrize("method", ["platt", "beta", "isotonic"])
def test_scores_that_say_nothing_give_the_base_rate(method: str) -> None:
    impressions, clicks = np.array([10.0, 30.0, 60.0]), np.array([1.0, 0.0, 4.0])
    for rows in (slice(None), slice(0, 1)):
        logits = np.full(3, -1.7)[rows]
        found = Calibrator.fit(method, logits, impressions[rows], clicks[rows])  # type: ignore[arg-type]
        rate = clicks[rows].sum() / impressions[rows].sum()
        np.testing.assert_allclose(found(logits), rate, rtol=1e-6)


@pytest.mark.parametrize("method", ["identity", "temperature", "platt", "beta", "isotonic"])
def test_every_method_comes_back_from_its_file(method: str, tmp_path: Path, bent: tuple[np.ndarray, ...]) -> None:
    found = Calibrator.fit(method, *bent)  # type: ignore[arg-type]
    found.save(tmp_path / "calibrator.json")
    loaded = Calibrator.load(tmp_path / "calibrator.json")
    assert (loaded, loaded.content_hash) == (found, found.content_hash)
    np.testing.assert_array_equal(loaded(bent[0]), found(bent[0]))


def test_files_and_hashes_of_earlier_versions_hold(tmp_path: Path) -> None:
    numbers = {"method": "platt", "slope": 1.5, "intercept": -2.0}
    digest = hashlib.sha256(json.dumps(numbers, sort_keys=True).encode()).hexdigest()
    (tmp_path / "calibrator.json").write_text(json.dumps(numbers | {"content_hash": digest}))
    assert Calibrator.load(tmp_path / "calibrator.json") == Calibrator("platt", 1.5, -2.0)


def test_hash_depends_on_every_number() -> None:
    made = [
        Calibrator("platt", 1.0, 0.5),
        Calibrator("beta", 1.0, 0.5, upper_slope=1.0),
        Calibrator("beta", 1.0, 0.5, upper_slope=1.1),
        Calibrator("isotonic", knots=(0.0, 1.0), rates=(0.1, 0.2)),
        Calibrator("isotonic", knots=(0.0, 1.1), rates=(0.1, 0.2)),
        Calibrator("isotonic", knots=(0.0, 1.0), rates=(0.1, 0.3)),
    ]
    assert len({calibrator.content_hash for calibrator in made}) == len(made)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "plat"}, "`method` must be one of identity, .* Got 'plat'"),
        ({"method": "beta"}, "`upper_slope` must be at least 0 and finite for `beta`.* Got None"),
        ({"method": "beta", "upper_slope": -1.0}, "`upper_slope` must .* Got -1.0"),
        ({"method": "platt", "upper_slope": 1.0}, "`upper_slope` must .*None for others"),
        ({"method": "isotonic"}, "`knots` and `rates` must be .* Got 0 and 0"),
        ({"method": "platt", "knots": (0.0,), "rates": (0.5,)}, "there for `isotonic` only"),
        ({"method": "isotonic", "knots": (1.0, 0.0), "rates": (0.1, 0.2)}, "`knots` must be finite and increase"),
        ({"method": "isotonic", "knots": (0.0, 1.0), "rates": (0.2, 0.1)}, "`rates` must lie in .* never decrease"),
        ({"method": "isotonic", "knots": (0.0, 1.0), "rates": (0.2, 1.1)}, "`rates` must lie in"),
    ],
)
def test_calibrators_that_cannot_be_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Calibrator(**arguments)
