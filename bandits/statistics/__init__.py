"""Statistics of a benchmark: pure functions of arrays whose axes the docstrings name.

Importing this package loads NumPy and `scipy.special` only: the policies call `sample_size_two_proportions` and must
start quickly, so the functions that need more of scipy, or statsmodels, import it themselves.
"""

from bandits.statistics.adaptive import (
    AdaptiveEstimate,
    BatchedTest,
    aipw_contrast,
    aipw_values,
    batched_ols,
    two_point_weights,
)
from bandits.statistics.confidence_sequences import (
    ConfidenceSequence,
    beta_mixture_difference,
    beta_mixture_log_e_value,
    beta_mixture_sequence,
    betting_log_capital,
    empirical_bernstein_sequence,
    hedged_betting_sequence,
    normal_mixture_rho,
    normal_mixture_sequence,
    running_intersection,
    union_difference,
)
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
from bandits.statistics.sequential_tests import (
    AlwaysValidTest,
    always_valid_p_value,
    beta_mixture_test,
    msprt_test,
    predictive_test,
)
from bandits.statistics.spending import (
    GroupSequentialDesign,
    alpha_spent,
    drift_for_power,
    exit_probabilities,
    expected_information,
    group_sequential_design,
    inflation_factor,
    sequential_power,
)

__all__ = [
    "AdaptiveEstimate",
    "AlwaysValidTest",
    "BatchedTest",
    "ConfidenceSequence",
    "GroupSequentialDesign",
    "Interval",
    "RankingAgreement",
    "TwoProportionTest",
    "aipw_contrast",
    "aipw_values",
    "alpha_spent",
    "always_valid_p_value",
    "batched_ols",
    "beta_mixture_difference",
    "beta_mixture_log_e_value",
    "beta_mixture_sequence",
    "beta_mixture_test",
    "betting_log_capital",
    "drift_for_power",
    "empirical_bernstein_sequence",
    "exit_probabilities",
    "expected_information",
    "group_sequential_design",
    "hedged_betting_sequence",
    "holm",
    "inflation_factor",
    "kendall_tau_b",
    "mean_interval",
    "minimum_detectable_effect",
    "msprt_test",
    "normal_mixture_rho",
    "normal_mixture_sequence",
    "paired_difference",
    "predictive_test",
    "proportion_interval",
    "ranking_agreement",
    "replications_needed",
    "running_intersection",
    "sample_size_two_proportions",
    "sequential_power",
    "two_point_weights",
    "two_proportion_test",
    "union_difference",
]
