"""Policies in plain Python, one object per replication."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod

import numpy as np

from bandits.core import Context, Feedback, FloatArray, IntArray, Policy, Problem, repr_of
from bandits.kernel import ScalarContext, ScalarFeedback
from bandits.random_streams import RandomStreams

_NO_PRIOR: FloatArray = np.zeros(0)


class ScalarPolicy(ABC):
    """A policy for one replication, in ten lines of Python with any library.

    `simulate` makes one deep copy per replication. Slow and simple: thousands of rounds a second.

    Attributes:
        stream: Number of the stream of random draws.
        adaptive: Whether what it chooses depends on earlier outcomes; see `Policy`.
    """

    stream: int = 0
    adaptive: bool = True

    @abstractmethod
    def reset(self, problem: Problem, random: RandomStreams) -> None:
        """Get ready for a problem with `num_envs` 1; `random.generator(0)` gives a NumPy generator."""

    @abstractmethod
    def select(self, context: ScalarContext) -> int:
        """Choose an available arm for one visit."""

    @abstractmethod
    def update(self, feedback: ScalarFeedback) -> None:
        """Learn from what came of one choice."""

    def __repr__(self) -> str:
        return repr_of(self)


class PerReplication(Policy):
    """Plays one deep copy of a scalar policy in every replication.

    Args:
        policy: The scalar policy.
    """

    def __init__(self, policy: ScalarPolicy) -> None:
        self.policy = policy
        self.stream, self.adaptive = policy.stream, policy.adaptive

    def __repr__(self) -> str:
        return repr(self.policy)

    def reset(self, problem: Problem, random: RandomStreams) -> None:
        """Make and reset a copy for each replication."""
        alone = Problem(**{**problem.__dict__, "num_envs": 1})
        self._copies = [copy.deepcopy(self.policy) for _ in range(problem.num_envs)]
        for n, policy in enumerate(self._copies):
            policy.reset(alone, random.row(n))

    def select(self, context: Context) -> IntArray:
        """Ask every copy."""
        chosen = [policy.select(scalar_context(context, n)) for n, policy in enumerate(self._copies)]
        return np.array(chosen, dtype=np.int64)

    def update(self, feedback: Feedback) -> None:
        """Hand each row to the copy that it belongs to."""
        for i, n in enumerate(feedback.rows):
            self._copies[n].update(
                ScalarFeedback(
                    scalar_context(feedback.context, i),
                    int(feedback.chosen[i]),
                    feedback.outcomes[i],
                    float(feedback.reward[i]),
                    float("nan") if feedback.propensity is None else float(feedback.propensity[i]),
                )
            )


def scalar_context(context: Context, n: int) -> ScalarContext:
    """Row `n` of a context."""
    return ScalarContext(
        int(context.round[n]),
        int(context.user_id[n]),
        float(context.time[n]),
        context.user[n],
        context.arms[n],
        context.available[n],
        _NO_PRIOR if context.prior is None else context.prior[n],
    )
