"""Statistics of a benchmark: pure functions of arrays whose axes the docstrings name.

Importing this package loads NumPy and `scipy.special` only: the policies call `sample_size_two_proportions` and must
start quickly, so the functions that need more of scipy, or statsmodels, import it themselves.
"""

from bandits.statistics.aggregate import (
    BootstrapInterval,
    interquartile_mean,
    performance_profile,
    probability_of_improvement,
    stratified_bootstrap,
)
from bandits.statistics.bayes import BayesianComparison, bayesian_comparison
from bandits.statistics.comparison import PairedComparison, paired_comparison
from bandits.statistics.effect import Effect
from bandits.statistics.intervals import Interval, mean_interval, paired_difference, replications_needed
from bandits.statistics.means import (
    CupedArms,
    Moments,
    cuped,
    moments,
    rate_moments,
    ratio_moments,
    relative_lift,
    welch_test,
)
from bandits.statistics.multiplicity import AdjustedPValues, adjust_p_values
from bandits.statistics.power import (
    SampleSizes,
    minimum_detectable_difference,
    power_two_means,
    power_two_proportions,
    sample_size_two_means,
    sample_sizes_two_proportions,
)
from bandits.statistics.proportions import (
    TwoProportionTest,
    holm,
    minimum_detectable_effect,
    proportion_interval,
    sample_size_two_proportions,
    two_proportion_test,
)
from bandits.statistics.ranking import RankingAgreement, kendall_tau_b, ranking_agreement
from bandits.statistics.rates import exact_proportion_interval, proportion_difference
from bandits.statistics.sample_ratio import SampleRatioTest, logged_propensity_test, sample_ratio_test

__all__ = [
    "AdjustedPValues",
    "BayesianComparison",
    "BootstrapInterval",
    "CupedArms",
    "Effect",
    "Interval",
    "Moments",
    "PairedComparison",
    "RankingAgreement",
    "SampleRatioTest",
    "SampleSizes",
    "TwoProportionTest",
    "adjust_p_values",
    "bayesian_comparison",
    "cuped",
    "exact_proportion_interval",
    "holm",
    "interquartile_mean",
    "kendall_tau_b",
    "logged_propensity_test",
    "mean_interval",
    "minimum_detectable_difference",
    "minimum_detectable_effect",
    "moments",
    "paired_comparison",
    "paired_difference",
    "performance_profile",
    "power_two_means",
    "power_two_proportions",
    "probability_of_improvement",
    "proportion_difference",
    "proportion_interval",
    "ranking_agreement",
    "rate_moments",
    "ratio_moments",
    "relative_lift",
    "replications_needed",
    "sample_ratio_test",
    "sample_size_two_means",
    "sample_size_two_proportions",
    "sample_sizes_two_proportions",
    "stratified_bootstrap",
    "two_proportion_test",
    "welch_test",
]
