"""What policies know that take predictions for evidence: their own counts, and how much the predictions are worth.

A prediction q of an arm's click rate counts as m visits of which the share q clicked: the rate has the prior
Beta(m q, m (1 - q)). Predictions may differ between visitors. Then an arm's results are carried over to the visitor at
hand by how much they differ from what had been predicted. Of n visits of the arm, with predictions q_1 .. q_n, let s
have been clicked. Her posterior is

    Beta(q (m + n s / E), (1 - q) (m + n (n - s) / (n - E))),    E = q_1 + ... + q_n.

Where all visitors have the same prediction, E = n q and this is Bayes' rule, Beta(m q + s, m (1 - q) + n - s).
Elsewhere it is an approximation: as n grows, her odds go to those that were predicted for her, times the odds ratio of
the arm's observed to its predicted clicks. Click rates of a few percent that are all off by one factor are so set right
to about their own size; a model that has the order of the visitors wrong is not.

m is one number, or is learned among several. Each has the same chance at first. After every visit it is multiplied with
the probability that the posterior under this m had given to what came; a reward between 0 and 1 counts as that part of
a click. With one prediction per arm the product is the Beta-binomial marginal likelihood of the arms' counts,
prod_k B(m q_k + s_k, m (1 - q_k) + n_k - s_k) / B(m q_k, m (1 - q_k)), as in empirical Bayes; that the policy chose
the arms by earlier results does not change it.

References:
    Skellam (1948), "A probability distribution derived from the binomial distribution by regarding the probability of
    success as variable between the sets of trials" (the Beta-binomial likelihood); Robbins (1956), "An empirical Bayes
    approach to statistics"; Dawid (1984), "The prequential approach" (models judged by their predictions one visit
    ahead).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, inf, log

from bandits.core import FloatArray
from bandits.kernel import ScalarContext, ScalarFeedback, State
from bandits.machine_code import jit
from policies.checks import checked_numbers

# Default weights to learn among: a factor of 4 apart, from next to nothing to more visits than most arms ever get.
WEIGHTS = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0)

# Parameters: the weights m, then those of the policy. Fields of an arm: clicks and misses seen, clicks and misses that
# were predicted, and the visits times observed over predicted of each. `shared`: visits, then for each weight the log
# of the probability of all that came, then its chance.
_CLICKS, _MISSES, _PREDICTED_CLICKS, _PREDICTED_MISSES, _CLICK_EVIDENCE, _MISS_EVIDENCE, ARM_FIELDS = range(7)
_VISITS, _LOG_LIKELIHOOD = 0, 1
_EDGE = 1e-6  # predictions keep this distance from 0 and 1, which some calibrators predict


def checked_weight(weight: float | Sequence[float]) -> tuple[float, ...]:
    """The weight or weights of a prior as numbers.

    Raises:
        TypeError: When it is neither a number nor a list of numbers.
        ValueError: When there are none, one is not a finite number above 0, or they do not increase.
    """
    values = checked_numbers("weight", weight if isinstance(weight, Sequence) else [weight])
    increasing = all(low < high for low, high in zip((0.0, *values), values, strict=False))
    if not (values and increasing):
        raise ValueError(f"`weight` must be a number above 0, or several in increasing order. Got {weight!r}.")
    return values


def shared_size(weights: Sequence[float]) -> int:
    """Length of the shared fields."""
    return _LOG_LIKELIHOOD + 2 * len(weights)


@jit
def num_weights(state: State) -> int:
    """How many weights there are."""
    return int((state.shared.shape[0] - _LOG_LIKELIHOOD) // 2)


@jit
def chance(state: State, g: int) -> float:
    """How probable weight g is after what has been seen."""
    return float(state.shared[_LOG_LIKELIHOOD + num_weights(state) + g])


@jit
def visits(state: State) -> float:
    """Visits of which the outcome is known."""
    return float(state.shared[_VISITS])


@jit
def begin(state: State) -> None:
    """Give all weights the same chance."""
    count = num_weights(state)
    for g in range(count):
        state.shared[_LOG_LIKELIHOOD + count + g] = 1.0 / count


@jit
def are_rates(context: ScalarContext) -> bool:
    """Whether the predictions of all available arms lie in [0, 1]."""
    valid = True
    for k in range(context.prior.shape[0]):
        valid = valid and (not context.available[k] or 0.0 <= context.prior[k] <= 1.0)
    return valid


@jit
def click_parameter(state: State, context: ScalarContext, k: int, weight: float) -> float:
    """First parameter of the Beta posterior of arm k for this visitor."""
    return _rate(context, k) * (weight + float(state.arm[_CLICK_EVIDENCE, k]))


@jit
def prior_clicks(context: ScalarContext, k: int, weight: float) -> float:
    """What the first parameter is before any visit: the prediction times its weight."""
    return _rate(context, k) * weight


@jit
def miss_parameter(state: State, context: ScalarContext, k: int, weight: float) -> float:
    """Second parameter of the Beta posterior of arm k for this visitor."""
    return (1.0 - _rate(context, k)) * (weight + float(state.arm[_MISS_EVIDENCE, k]))


@jit
def _rate(context: ScalarContext, k: int) -> float:
    return min(max(float(context.prior[k]), _EDGE), 1.0 - _EDGE)


@jit
def learn(state: State, feedback: ScalarFeedback) -> None:
    """Take in one outcome: first how well each weight had foretold it, then the arm's counts."""
    arm, reward = feedback.chosen, feedback.reward
    if num_weights(state) > 1:
        _judge_weights(state, feedback.context, arm, reward)
    predicted = _rate(feedback.context, arm)
    state.shared[_VISITS] += 1.0
    state.arm[_CLICKS, arm] += reward
    state.arm[_MISSES, arm] += 1.0 - reward
    state.arm[_PREDICTED_CLICKS, arm] += predicted
    state.arm[_PREDICTED_MISSES, arm] += 1.0 - predicted
    shown = state.arm[_CLICKS, arm] + state.arm[_MISSES, arm]
    state.arm[_CLICK_EVIDENCE, arm] = shown * state.arm[_CLICKS, arm] / state.arm[_PREDICTED_CLICKS, arm]
    state.arm[_MISS_EVIDENCE, arm] = shown * state.arm[_MISSES, arm] / state.arm[_PREDICTED_MISSES, arm]


@jit
def _judge_weights(state: State, context: ScalarContext, arm: int, reward: float) -> None:
    count = num_weights(state)
    best = -inf
    for g in range(count):
        clicks = click_parameter(state, context, arm, state.params[g])
        misses = miss_parameter(state, context, arm, state.params[g])
        foretold = reward * log(clicks / (clicks + misses)) + (1.0 - reward) * log(misses / (clicks + misses))
        state.shared[_LOG_LIKELIHOOD + g] += foretold
        best = max(best, state.shared[_LOG_LIKELIHOOD + g])
    total = 0.0
    for g in range(count):
        likelihood = exp(state.shared[_LOG_LIKELIHOOD + g] - best)
        state.shared[_LOG_LIKELIHOOD + count + g] = likelihood
        total += likelihood
    for g in range(count):
        state.shared[_LOG_LIKELIHOOD + count + g] /= total


# What both policies report: the weight, as a geometric mean over the chances.
RECORD_NAMES = ("prior weight",)


def record(state: State, out: FloatArray) -> None:
    """Hook `record`: how many visits the predictions are thought to be worth."""
    mean = 0.0
    for g in range(num_weights(state)):
        mean += chance(state, g) * log(state.params[g])
    out[0] = exp(mean)
