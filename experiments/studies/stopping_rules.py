"""Rules that say, look by look, whether an A/B test has a winner; all tests and all looks at once.

Every number comes from `bandits.statistics`. Positive means treatment: a rule's answer is +1 where it would stop and
declare the treatment the winner, -1 the control, and 0 where it goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from bandits.statistics import (
    bayesian_comparison,
    beta_mixture_test,
    group_sequential_design,
    normal_mixture_rho,
    normal_mixture_sequence,
    two_proportion_test,
)
from bandits.statistics.spending import Spending
from experiments.studies.replay_config import RulesConfig

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


class Looks(NamedTuple):
    """R comparisons of a treatment with a control as they stood at each of up to L looks.

    Rows with fewer looks are filled up at the end with nan, and 0 in `clicks` and `visitors`.

    Attributes:
        estimate: Treatment mean minus control mean, shape (R, L).
        standard_error: Of the estimate, shape (R, L); 0 where no spread was seen yet.
        statistic: z of no difference, shape (R, L); 0 where no spread was seen yet.
        control_mean: Shape (R, L).
        units: Units in both arms together, shape (R, L).
        information: Share of the final information, increasing to 1 along a row, shape (R, L).
        smaller_arm: Units in the smaller arm, shape (R, L).
        clicks: Control's and treatment's, shape (R, L, 2); None where the metric is no click.
        visitors: Control's and treatment's, shape (R, L, 2); None likewise.
        predictive_p: Always-valid p-value of the predictive test, shape (R, L); None where the order of the visitors is
            not known.
    """

    estimate: FloatArray
    standard_error: FloatArray
    statistic: FloatArray
    control_mean: FloatArray
    units: FloatArray
    information: FloatArray
    smaller_arm: FloatArray
    clicks: FloatArray | None = None
    visitors: FloatArray | None = None
    predictive_p: FloatArray | None = None

    @property
    def there(self) -> BoolArray:
        """Which looks are looks and not filling, shape (R, L)."""
        return np.isfinite(self.information)

    @property
    def last(self) -> IntArray:
        """Index of each row's last look, shape (R,)."""
        return np.asarray(self.there.sum(axis=1) - 1, dtype=np.int64)


class Decisions(NamedTuple):
    """What a rule made of the comparisons, shape (R,) each.

    Attributes:
        look: Look at which it stopped; the last one where it never declared a winner.
        side: +1 where it declared the treatment the winner, -1 the control, 0 none.
    """

    look: IntArray
    side: IntArray


class Rule(NamedTuple):
    """A stopping rule.

    Attributes:
        method: What it does, in words, with its level and its looks.
        answer: Function of looks and settings that gives +1, -1 or 0 for each, shape (R, L).
        applies: Whether the looks have what it needs.
    """

    method: str
    answer: Callable[[Looks, RulesConfig], IntArray]
    applies: Callable[[Looks], bool]


def click_looks(clicks: FloatArray, visitors: FloatArray, information: FloatArray) -> Looks:
    """Looks at a click rate, with the pooled z of `two_proportion_test`.

    Args:
        clicks: Control's and treatment's so far, shape (R, L, 2).
        visitors: Same shape.
        information: Share of the final information, shape (R, L); nan fills up short rows.
    """
    there = np.isfinite(information) & (visitors > 0).all(axis=2)
    totals = np.where(there[..., None], visitors, 1.0)
    wins = np.where(there[..., None], clicks, 0.0)
    rates = wins / totals
    test = two_proportion_test(wins[..., 1], totals[..., 1], wins[..., 0], totals[..., 0])
    variance = (rates * (1 - rates) / totals).sum(axis=2)
    return Looks(
        estimate=np.where(there, test.difference, np.nan),
        standard_error=np.where(there, np.sqrt(variance), np.nan),
        statistic=np.where(there, test.statistic, np.nan),
        control_mean=np.where(there, rates[..., 0], np.nan),
        units=np.where(there, totals.sum(axis=2), np.nan),
        information=information,
        smaller_arm=np.where(there, totals.min(axis=2), np.nan),
        clicks=clicks,
        visitors=visitors,
    )


def mean_looks(mean: FloatArray, variance: FloatArray, units: FloatArray, information: FloatArray) -> Looks:
    """Looks at any mean, from cumulative summaries.

    Args:
        mean: Control's and treatment's so far, shape (R, L, 2).
        variance: Of one unit, same shape.
        units: Same shape.
        information: Share of the final information, shape (R, L); nan fills up short rows.
    """
    error = np.sqrt((variance / units).sum(axis=2))
    estimate = mean[..., 1] - mean[..., 0]
    statistic = np.divide(estimate, error, out=np.zeros_like(estimate), where=error > 0)
    statistic = np.where(np.isfinite(information), statistic, np.nan)
    return Looks(
        estimate, error, statistic, mean[..., 0], units.sum(axis=2), information, smaller_arm=units.min(axis=2)
    )


def decide(answer: IntArray, looks: Looks) -> Decisions:
    """The first look at which a rule's answer is not 0, and that answer.

    Args:
        answer: Shape (R, L).
        looks: What it answered to.
    """
    stops = (answer != 0) & looks.there
    ever = stops.any(axis=1)
    look = np.where(ever, stops.argmax(axis=1), looks.last)
    side = np.where(ever, np.take_along_axis(answer, look[:, None], axis=1)[:, 0], 0)
    return Decisions(look, side)


def rules(config: RulesConfig) -> Mapping[str, Rule]:
    """All stopping rules, by the name under which results show them."""
    level = f"two-sided level {config.alpha:g} per comparison"
    prior = f"prior Beta({config.prior[0]:g}, {config.prior[1]:g})"

    def spending(kind: Spending, name: str) -> Rule:
        return Rule(
            f"{name} type error spending (Lan-DeMets) over all looks; {level} over all looks together",
            lambda looks, settings: _spending(looks, settings, kind),
            lambda looks: True,
        )

    return {
        "fixed horizon": Rule(f"one z test at the planned end; {level}", _fixed, lambda looks: True),
        "naive peeking": Rule(f"the same z test at every look, nothing corrected; {level} and look", _naive, _always),
        "O'Brien-Fleming": spending("obrien-fleming", "O'Brien-Fleming"),
        "Pocock": spending("pocock", "Pocock"),
        "mSPRT": Rule(
            "normal-mixture confidence sequence (the mixture sequential probability ratio test), narrowest at the "
            f"planned end; silent below {config.burn_in} units in either arm; {level} over all looks together",
            _normal_mixture,
            _always,
        ),
        "beta mixture": Rule(
            f"exact beta-mixture test, {prior}; {level} over all looks together", _beta_mixture, _has_clicks
        ),
        "predictive": Rule(
            f"exact predictive test at every visitor, {prior}; {level} over all visitors together",
            _predictive,
            lambda looks: looks.predictive_p is not None,
        ),
        "expected loss": Rule(
            f"Bayesian: stop when the leader's expected loss is below {100 * config.max_loss:g} percent of "
            f"both arms' click rate, {prior}; silent below {config.burn_in} units in either arm; no error level at all",
            _expected_loss,
            _has_clicks,
        ),
    }


def boundaries(information: FloatArray, alpha: float, kind: Spending) -> FloatArray:
    """Boundaries of |z| for every row, shape (R, L); nan beyond a row's looks. Equal rows are computed once.

    Args:
        information: Shape (R, L), as in `Looks`.
        alpha: Two-sided level.
        kind: Spending function.
    """
    result = np.full(information.shape, np.nan)
    known: dict[bytes, FloatArray] = {}
    for row, shares in enumerate(information):
        looks = shares[np.isfinite(shares)]
        key = looks.tobytes()
        if key not in known:
            known[key] = group_sequential_design(looks, alpha=alpha, spending=kind).boundaries
        result[row, : len(looks)] = known[key]
    return result


def _always(looks: Looks) -> bool:
    return True


def _has_clicks(looks: Looks) -> bool:
    return looks.clicks is not None


def _side(looks: Looks, stop: BoolArray) -> IntArray:
    """The sign of the estimate where a rule stops."""
    return np.asarray(np.where(stop & looks.there, np.sign(np.nan_to_num(looks.estimate)), 0), dtype=np.int64)


def _critical(config: RulesConfig) -> float:
    return float(special.ndtri(1 - config.alpha / 2))


def _fixed(looks: Looks, config: RulesConfig) -> IntArray:
    at_end = np.arange(looks.estimate.shape[1]) == looks.last[:, None]
    return _side(looks, at_end & (np.abs(looks.statistic) >= _critical(config)))


def _naive(looks: Looks, config: RulesConfig) -> IntArray:
    return _side(looks, np.abs(looks.statistic) >= _critical(config))


def _spending(looks: Looks, config: RulesConfig, kind: Spending) -> IntArray:
    return _side(looks, np.abs(looks.statistic) >= boundaries(looks.information, config.alpha, kind))


def _normal_mixture(looks: Looks, config: RulesConfig) -> IntArray:
    answer = np.zeros(looks.estimate.shape, dtype=np.int64)
    confidence = 1 - config.alpha
    for row, last in enumerate(looks.last):
        here = slice(0, last + 1)
        rho = normal_mixture_rho(float(looks.units[row, last]), confidence=confidence)
        sequence = normal_mixture_sequence(
            looks.estimate[row, here],
            looks.standard_error[row, here],
            looks.units[row, here],
            rho=rho,
            confidence=confidence,
        )
        answer[row, here] = (sequence.low > 0).astype(np.int64) - (sequence.high < 0)
    return np.where(looks.smaller_arm >= config.burn_in, answer, 0)


def _beta_mixture(looks: Looks, config: RulesConfig) -> IntArray:
    clicks, visitors = _counts(looks)
    test = beta_mixture_test(
        clicks[..., 1], visitors[..., 1], clicks[..., 0], visitors[..., 0], prior=(config.prior[0], config.prior[1])
    )
    return _side(looks, test.p_value <= config.alpha)


def _predictive(looks: Looks, config: RulesConfig) -> IntArray:
    assert looks.predictive_p is not None
    return _side(looks, looks.predictive_p <= config.alpha)


def _expected_loss(looks: Looks, config: RulesConfig) -> IntArray:
    clicks, visitors = _counts(looks)
    answer = np.zeros(looks.estimate.shape, dtype=np.int64)
    going = np.ones(len(answer), dtype=np.bool_)
    for look in range(looks.estimate.shape[1]):  # a test that has stopped needs no further integrals
        rows = np.flatnonzero(going & looks.there[:, look] & (looks.smaller_arm[:, look] >= config.burn_in))
        if not len(rows):
            continue
        posterior = bayesian_comparison(
            clicks[rows, look], visitors[rows, look], prior=(config.prior[0], config.prior[1])
        )
        leader = posterior.expected_loss.argmin(axis=1)
        loss = posterior.expected_loss.min(axis=1)
        rate = clicks[rows, look].sum(axis=1) / visitors[rows, look].sum(axis=1)
        stop = loss < config.max_loss * rate
        answer[rows[stop], look] = np.where(leader[stop] == 1, 1, -1)
        going[rows[stop]] = False
    return answer


def _counts(looks: Looks) -> tuple[FloatArray, FloatArray]:
    assert looks.clicks is not None
    assert looks.visitors is not None
    return looks.clicks, looks.visitors
