"""Off-policy evaluation: what another policy would have earned, from a log with propensities.

`evaluate_policy` runs all estimators on one log; `bandits.ope.estimators` and `bandits.ope.intervals` hold them as
functions of arrays. No torch here; pandas, pyarrow and scikit-learn are imported by the functions that need them.
"""

from bandits.ope.estimators import Terms, WeightSummary
from bandits.ope.evaluate import Evaluation, PolicyValue, evaluate_policy
from bandits.ope.intervals import ValueInterval
from bandits.ope.log import LoggedFeedback
from bandits.ope.log_file import log_schema, read_log, read_probabilities, write_log
from bandits.ope.log_writer import LogWriter, join_logs
from bandits.ope.obd import read_obd
from bandits.ope.predictions import cross_fitted_means, cross_fitted_predictions
from bandits.ope.targets import epsilon_greedy, target_probabilities, uniform

__all__ = [
    "Evaluation",
    "LogWriter",
    "LoggedFeedback",
    "PolicyValue",
    "Terms",
    "ValueInterval",
    "WeightSummary",
    "cross_fitted_means",
    "cross_fitted_predictions",
    "epsilon_greedy",
    "evaluate_policy",
    "join_logs",
    "log_schema",
    "read_log",
    "read_obd",
    "read_probabilities",
    "target_probabilities",
    "uniform",
    "write_log",
]
