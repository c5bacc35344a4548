"""The policies of the study, and the values that training tests choose among.

Everybody has the same visitors: K n for a test of K headlines. The A/B test divides a share of them evenly and ships
the headline with the highest rate to the rest. Policies without a model are tuned as carefully as those with one, and
`UCB, flat prior` begins as those with a model do, but thinks the same of every headline: what it lacks to them is
what the texts say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from bandits import KernelPolicy
from experiments.studies.headlines.config import Candidates
from policies import UCB1, BetaThompson, FixedSplit, PriorGreedy, PriorThompson, PriorUCB
from policies.ab import ABTest

AB_TEST = "A/B test"
BEST = "best with model"

Prior = Literal["predicted", "base"]


class Candidate(NamedTuple):
    """A policy with all its values.

    Attributes:
        words: The values that were to be chosen.
        make: From the number of headlines and of visitors per headline to the policy.
        prior: What it takes for predictions: the model's, or the same base rate for every headline.
    """

    words: str
    make: Callable[[int, int], KernelPolicy]
    prior: Prior = "predicted"


class Family(NamedTuple):
    """A policy and the candidates for its values.

    Attributes:
        name: Of the policy.
        candidates: At least one.
        without: The same policy without a model; None where there is none.
    """

    name: str
    candidates: list[Candidate]
    without: str | None = None


def families(grid: Candidates) -> list[Family]:
    """All policies, in the order of the page.

    >>> [family.name for family in families(Candidates()) if family.without == "UCB"]
    ['UCB + model', 'UCB + model, learned m']
    """
    weights, widths, draws = grid.weights, grid.widths, grid.thompson_weights
    return [
        Family("even split", [Candidate("", lambda arms, visitors: FixedSplit())]),
        Family(AB_TEST, [_ab_test(share) for share in grid.exploration]),
        Family("UCB", [_ucb(width) for width in widths]),
        Family("Thompson", [_uniform_thompson(), *(_thompson([m], "base") for m in draws)]),
        Family("UCB, flat prior", [_prior_ucb([m], width, "base") for m in weights for width in widths]),
        Family("model's pick", [Candidate("", lambda arms, visitors: PriorGreedy())]),
        Family("Thompson + model", [_thompson([m], "predicted") for m in draws], "Thompson"),
        Family("Thompson + model, learned m", [_thompson(weights, "predicted")], "Thompson"),
        Family("UCB + model", [_prior_ucb([m], width, "predicted") for m in weights for width in widths], "UCB"),
        Family("UCB + model, learned m", [_prior_ucb(weights, width, "predicted") for width in widths], "UCB"),
    ]


def _ab_test(share: float) -> Candidate:
    def make(arms: int, visitors: int) -> KernelPolicy:
        return ABTest(visitors=max(2, round(share * arms * visitors)), if_none="best")

    return Candidate(f"{share:.0%} tested", make)


def _ucb(width: float) -> Candidate:
    return Candidate(f"width {width:g}", lambda arms, visitors: UCB1(width))


def _uniform_thompson() -> Candidate:
    return Candidate("Beta(1, 1)", lambda arms, visitors: BetaThompson())


def _thompson(weights: Sequence[float], prior: Prior) -> Candidate:
    return Candidate(_worth(weights), lambda arms, visitors: PriorThompson(list(weights)), prior)


def _prior_ucb(weights: Sequence[float], width: float, prior: Prior) -> Candidate:
    words = f"{_worth(weights)}, width {width:g}"
    return Candidate(words, lambda arms, visitors: PriorUCB(list(weights), width), prior)


def _worth(weights: Sequence[float]) -> str:
    return f"m {weights[0]:g}" if len(weights) == 1 else f"m among {len(weights)}"
