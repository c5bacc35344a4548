"""A classifier two-sample test: can a classifier tell clicks of the log from clicks of the simulation?"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
from scipy.special import logit
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from bandits.core import FloatArray, IntArray
from experiments.validation.held_out import HeldOut

_FOLDS = 3
_FEWEST = 100
_WORDS = 300
_TOLD = 8


def two_sample_test(
    data: HeldOut, *, max_rows: int, resamples: int, null_draws: int, seed: int
) -> dict[str, Any] | None:
    """Cross-fitted AUC of a logistic regression between clicked impressions of the log and of the simulation.

    Both are impressions of the same rows, so what a classifier can find is where the log has more clicks, or fewer,
    than the model says: for which words of user and item, and at which height of the prediction. Folds keep units
    together. An AUC of 0.5 means: not to be told apart, by this classifier.

    Args:
        data: The held-out rows.
        max_rows: Larger logs are cut to whole units, drawn at random.
        resamples: Bootstrap samples, over units, of the AUC's interval.
        null_draws: Repetitions of the whole test with clicks of the simulation in the log's place.
        seed: Key of all draws.

    Returns:
        Plain values: `auc`, `low`, `high` (95 percent), `null_low`, `null_high` (where 95 of 100 models that are right
        would lie), `p_value` (one-sided, against these), `rows`, `features` (those with the largest weights, and which
        side they speak for: `more` clicks than simulated or `fewer`); None with fewer than 100 clicks or 6 units.

    References:
        Lopez-Paz, Oquab (2017), "Revisiting classifier two-sample tests".
    """
    random = np.random.default_rng([seed, 2])
    rows = _some(data.unit, max_rows, random)
    features, names = _features(data, rows)
    unit = np.unique(data.unit[rows], return_inverse=True)[1].astype(np.int64)
    fold = random.permutation(int(unit.max()) + 1)[unit] % _FOLDS
    real, simulated = data.clicks[rows], data.simulated_clicks(random)[rows]
    if min(real.sum(), simulated.sum()) < _FEWEST or unit.max() + 1 < 2 * _FOLDS:
        return None
    scores = _cross_fitted(features, real, simulated, fold)
    auc = _auc(scores, real, simulated)
    drawn = []
    for _ in range(resamples):
        times = np.bincount(random.integers(unit.max() + 1, size=unit.max() + 1), minlength=unit.max() + 1)[unit]
        if (real * times).any() and (simulated * times).any():
            drawn.append(_auc(scores, real * times, simulated * times))
    null = []
    for _ in range(null_draws):
        first, second = data.simulated_clicks(random)[rows], data.simulated_clicks(random)[rows]
        null.append(_auc(_cross_fitted(features, first, second, fold), first, second))
    weights = _fitted(features, real, simulated).coef_[0] * _spread(features)
    order = np.argsort(-np.abs(weights))[:_TOLD]
    return {
        "auc": auc,
        **dict(zip(("low", "high"), map(float, np.quantile(drawn, [0.025, 0.975])), strict=True)),
        **dict(zip(("null_low", "null_high"), map(float, np.quantile(null, [0.025, 0.975])), strict=True)),
        "p_value": (1 + sum(value >= auc for value in null)) / (1 + len(null)),
        "rows": len(rows),
        "features": [
            {"name": names[place], "clicks": "more" if weights[place] > 0 else "fewer", "weight": float(weights[place])}
            for place in order
        ],
    }


def _some(unit: IntArray, limit: int, random: np.random.Generator) -> IntArray:
    """Rows of whole units, drawn at random until `limit` rows are reached; all rows when there are fewer."""
    if len(unit) <= limit:
        return np.arange(len(unit))
    rank = random.permutation(int(unit.max()) + 1)
    sizes = np.bincount(rank[unit]).cumsum()
    found: IntArray = np.flatnonzero(rank[unit] < max(1, int((sizes <= limit).sum())))
    return found


def _features(data: HeldOut, rows: IntArray) -> tuple[scipy.sparse.csr_array, list[str]]:
    """Words of users and items and the standardised log-odds of the prediction, shape (n, F), and their names."""
    parts, names = [], []
    for side in ("user", "item"):
        texts = data.rows[f"{side}_text"].iloc[rows].tolist()
        vectorizer = TfidfVectorizer(max_features=_WORDS, token_pattern=r"(?u)\b\w+\b")
        if any(any(letter.isalnum() for letter in text) for text in texts):
            parts.append(vectorizer.fit_transform(texts))
            names += [f"{side}: {word}" for word in vectorizer.get_feature_names_out()]
    tiny = np.finfo(np.float64).tiny
    height = logit(np.clip(data.rates[rows], tiny, 1 - np.finfo(np.float64).eps))
    scale = height.std()
    if scale > 0:
        standard = (height - height.mean()) / scale
        parts += [scipy.sparse.csr_array(np.column_stack([standard, standard**2]))]
        names += ["prediction", "prediction, squared"]
    return scipy.sparse.csr_array(scipy.sparse.hstack(parts)), names


def _fitted(features: scipy.sparse.csr_array, real: FloatArray, simulated: FloatArray) -> LogisticRegression:
    both = scipy.sparse.vstack([features, features]).tocsr()
    label = np.repeat([1, 0], len(real))
    weight = np.concatenate([real / max(real.sum(), 1.0), simulated / max(simulated.sum(), 1.0)])
    weight *= (real.sum() + simulated.sum()) / 2
    return LogisticRegression(C=0.1, max_iter=500).fit(both, label, sample_weight=weight)


def _cross_fitted(
    features: scipy.sparse.csr_array, real: FloatArray, simulated: FloatArray, fold: IntArray
) -> FloatArray:
    scores = np.empty(len(real))
    for part in range(_FOLDS):
        inside = fold == part
        model = _fitted(features[~inside], real[~inside], simulated[~inside])
        scores[inside] = model.decision_function(features[inside])
    return scores


def _auc(scores: FloatArray, real: FloatArray, simulated: FloatArray) -> float:
    label, weight = np.repeat([1, 0], len(scores)), np.concatenate([real, simulated])
    return float(roc_auc_score(label, np.tile(scores, 2), sample_weight=weight))


def _spread(features: scipy.sparse.csr_array) -> FloatArray:
    """Standard deviation of each feature."""
    mean, square = features.mean(axis=0), features.multiply(features).mean(axis=0)
    spread: FloatArray = np.sqrt(np.maximum(np.asarray(square).ravel() - np.asarray(mean).ravel() ** 2, 0.0))
    return spread
