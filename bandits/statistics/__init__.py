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
from bandits.statistics.aggregate import (
    BootstrapInterval,
    interquartile_mean,
    performance_profile,
    probability_of_improvement,
    stratified_bootstrap,
)
from bandits.statistics.bayes import BayesianComparison, bayesian_comparison
from bandits.statistics.clusters import clustered_proportion, clustered_ratio, share_between
from bandits.statistics.comparison import PairedComparison, paired_comparison
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
from bandits.statistics.effect import Effect
from bandits.statistics.intervals import (
    Interval,
    MeanWithError,
    mean_interval,
    mean_with_error,
    paired_difference,
    replications_needed,
)
from bandits.statistics.lower_bound import bernoulli_divergence, lai_robbins_constant
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
    minimum_detectable_effect,
    proportion_interval,
    sample_size_two_proportions,
    two_proportion_test,
)
from bandits.statistics.ranking import RankingAgreement, kendall_tau_b, ranking_agreement
from bandits.statistics.rates import exact_proportion_interval, proportion_difference
from bandits.statistics.sample_ratio import SampleRatioTest, logged_propensity_test, sample_ratio_test
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
    "AdjustedPValues",
    "AlwaysValidTest",
    "BatchedTest",
    "BayesianComparison",
    "BootstrapInterval",
    "ConfidenceSequence",
    "CupedArms",
    "Effect",
    "GroupSequentialDesign",
    "Interval",
    "MeanWithError",
    "Moments",
    "PairedComparison",
    "RankingAgreement",
    "SampleRatioTest",
    "SampleSizes",
    "TwoProportionTest",
    "adjust_p_values",
    "aipw_contrast",
    "aipw_values",
    "alpha_spent",
    "always_valid_p_value",
    "batched_ols",
    "bayesian_comparison",
    "bernoulli_divergence",
    "beta_mixture_difference",
    "beta_mixture_log_e_value",
    "beta_mixture_sequence",
    "beta_mixture_test",
    "betting_log_capital",
    "clustered_proportion",
    "clustered_ratio",
    "cuped",
    "drift_for_power",
    "empirical_bernstein_sequence",
    "exact_proportion_interval",
    "exit_probabilities",
    "expected_information",
    "group_sequential_design",
    "hedged_betting_sequence",
    "inflation_factor",
    "interquartile_mean",
    "kendall_tau_b",
    "lai_robbins_constant",
    "logged_propensity_test",
    "mean_interval",
    "mean_with_error",
    "minimum_detectable_difference",
    "minimum_detectable_effect",
    "moments",
    "msprt_test",
    "normal_mixture_rho",
    "normal_mixture_sequence",
    "paired_comparison",
    "paired_difference",
    "performance_profile",
    "power_two_means",
    "power_two_proportions",
    "predictive_test",
    "probability_of_improvement",
    "proportion_difference",
    "proportion_interval",
    "ranking_agreement",
    "rate_moments",
    "ratio_moments",
    "relative_lift",
    "replications_needed",
    "running_intersection",
    "sample_ratio_test",
    "sample_size_two_means",
    "sample_size_two_proportions",
    "sample_sizes_two_proportions",
    "sequential_power",
    "share_between",
    "stratified_bootstrap",
    "two_point_weights",
    "two_proportion_test",
    "union_difference",
    "welch_test",
]
