"""Cross-fitting: no prediction has seen its own round, its unit or (in one adaptive run) the future."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from bandits.ope import LoggedFeedback, cross_fitted_means, cross_fitted_predictions
from bandits.ope.predictions import forward_folds, random_folds


def test_means_by_a_loop():
    random = np.random.default_rng(1)
    chosen, reward, folds = random.integers(0, 3, (2, 40)), random.normal(size=(2, 40)), np.arange(40) % 4
    for forward in (False, True):
        found = cross_fitted_means(chosen, reward, 4, folds, forward=forward)
        assert found.shape == (2, 40, 4)
        for m in range(2):
            for t in range(40):
                others = [s for s in range(40) if (folds[s] < folds[t] if forward else folds[s] != folds[t])]
                overall = np.mean([reward[m, s] for s in others]) if others else 0.0
                for k in range(4):
                    seen = [reward[m, s] for s in others if chosen[m, s] == k]
                    assert found[m, t, k] == pytest.approx(np.mean(seen) if seen else overall, abs=1e-12)


def test_folds_keep_units_whole_and_are_keyed():
    unit = np.repeat(np.arange(23), 3)
    folds = random_folds(unit, 5, seed=1)
    assert all(len(set(folds[unit == u])) == 1 for u in range(23))
    assert set(np.bincount(folds) // 3) == {4, 5}
    np.testing.assert_array_equal(folds, random_folds(unit, 5, seed=1))
    assert np.any(folds != random_folds(unit, 5, seed=2))
    assert random_folds([7, 7, 9], 5).max() == 1
    np.testing.assert_array_equal(forward_folds(10, 4), [0, 0, 0, 1, 1, 2, 2, 2, 3, 3])


@pytest.mark.parametrize("binary", [True, False])
def test_linear_model_against_scikit_learn_on_the_written_out_design(make_log, binary):
    log = make_log(300, position=np.arange(300) % 2)
    if not binary:
        log = make_log(300, position=np.arange(300) % 2, reward=np.random.default_rng(2).normal(size=300))
    found = cross_fitted_predictions(log, num_folds=3, penalty=2.0, seed=4)
    columns = np.column_stack([log.features, log.position == 0, log.position == 1])
    columns = columns / columns.std(axis=0)

    def design(x, arm):
        hot = np.eye(3)[arm]
        return np.concatenate([hot, x, np.outer(hot, x).ravel()])

    folds = random_folds(np.arange(300), 3, seed=4)
    train = folds != folds[0]
    rows = [design(x, a) for x, a in zip(columns[train], log.chosen[train], strict=True)]
    if binary:
        model = LogisticRegression(C=0.5, tol=1e-10, max_iter=10_000).fit(rows, log.reward[train])
        expected = model.predict_proba([design(columns[0], k) for k in range(3)])[:, 1]
    else:
        expected = Ridge(alpha=2.0).fit(rows, log.reward[train]).predict([design(columns[0], k) for k in range(3)])
    np.testing.assert_allclose(found[0], expected, atol=2e-3 if binary else 1e-6)


def test_a_prediction_does_not_depend_on_its_own_unit(make_log):
    log = make_log(200)
    unit = np.arange(200) // 4
    plain = cross_fitted_predictions(log, unit, seed=1)
    changed = log.reward.copy()
    changed[40:44] = 1 - changed[40:44]
    other = cross_fitted_predictions(make_log(200, reward=changed), unit, seed=1)
    np.testing.assert_array_equal(plain[40:44], other[40:44])
    assert np.any(plain != other)


@pytest.mark.parametrize("features", [True, False])
def test_one_adaptive_run_is_predicted_from_its_past(make_log, features):
    fields = {} if features else {"features": None}
    log = make_log(200, adaptive=True, **fields)
    changed = log.reward.copy()
    changed[120:] = 1 - changed[120:]
    plain, other = (
        cross_fitted_predictions(log),
        cross_fitted_predictions(make_log(200, adaptive=True, reward=changed, **fields)),
    )
    np.testing.assert_array_equal(plain[:120], other[:120])
    assert np.any(plain[140:] != other[140:])
    assert not plain[:20].any()


def test_constant_rewards_are_predicted_as_they_are(make_log):
    found = cross_fitted_predictions(make_log(100, reward=np.zeros(100)))
    np.testing.assert_array_equal(found, 0.0)


@pytest.mark.faults
def test_bad_input_is_named(make_log):
    with pytest.raises(ValueError, match="`penalty` must be positive"):
        cross_fitted_predictions(make_log(20), penalty=0.0)
    with pytest.raises(ValueError, match=r"`num_folds` must be at least 2, of at least 2 units\. Got 1"):
        cross_fitted_predictions(make_log(20), num_folds=1)
    one = LoggedFeedback(np.array([0]), np.array([1.0]), np.array([0.5]), 2, False)
    with pytest.raises(ValueError, match=r"at least 2 units\. Got 5 for 1"):
        cross_fitted_predictions(one)
    with pytest.raises(ValueError, match="`num_folds` must be at least 2"):
        forward_folds(10, 1)
