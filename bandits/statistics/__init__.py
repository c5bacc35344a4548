"""Statistics of a benchmark: pure functions of arrays whose axes the docstrings name.

Importing this package loads NumPy and `scipy.special` only: the policies call `sample_size_two_proportions` and must
start quickly, so the functions that need more of scipy, or statsmodels, import it themselves.
"""

from bandits.statistics.intervals import Interval, mean_interval, paired_difference, replications_needed
from bandits.statistics.proportions import (
    TwoProportionTest,
    holm,
    minimum_detectable_effect,
    proportion_interval,
    sample_size_two_proportions,
    two_proportion_test,
)
from bandits.statistics.ranking import RankingAgreement, kendall_tau_b, ranking_agreement

__all__ = [
    "Interval",
    "RankingAgreement",
    "TwoProportionTest",
    "holm",
    "kendall_tau_b",
    "mean_interval",
    "minimum_detectable_effect",
    "paired_difference",
    "proportion_interval",
    "ranking_agreement",
    "replications_needed",
    "sample_size_two_proportions",
    "two_proportion_test",
]
