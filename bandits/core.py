"""The nouns: what a policy knows, sees and learns, and what a policy is."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bandits.random_streams import RandomStreams

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Problem:
    """What a policy may know before the first round.

    Attributes:
        num_envs: Number of replications `N` that are played side by side.
        num_arms: Number of arms `K`.
        user_dim: Number of user features `D`.
        arm_dim: Number of arm features `E`.
        reward_range: Smallest and largest possible reward.
        horizon: Number of rounds `T`; None when unknown.
        outcome_names: Names of the `J` outcomes of a round.
        num_users: Number of users `U` who may come, numbered from 0; 0 when visitors are anonymous.
        has_prior: Whether contexts carry a prior.
        null_arm: The arm that stands for showing nothing; None without one. It is never among the available ones, so
            that only policies that mean it choose it, and it is never the best arm that regret is measured against.
        segment_names: Names of groups of users whose results are worth telling apart; empty without any.
        user_segments: Index of the segment of each user, shape (U,); empty without segments.
        user_texts: What is known of each user as text, shape (U,); empty without texts.
        arm_texts: Text of each arm, shape (K,); empty without texts, and where they differ between replications.
    """

    num_envs: int
    num_arms: int
    user_dim: int = 0
    arm_dim: int = 0
    reward_range: tuple[float, float] = (0.0, 1.0)
    horizon: int | None = None
    outcome_names: tuple[str, ...] = ("click",)
    num_users: int = 0
    has_prior: bool = False
    null_arm: int | None = None
    segment_names: tuple[str, ...] = ()
    user_segments: tuple[int, ...] = ()
    user_texts: tuple[str, ...] = ()
    arm_texts: tuple[str, ...] = ()

    def require_rewards_in_unit_interval(self, policy: str) -> None:
        """Raise ValueError unless all rewards lie in [0, 1], naming the policy that needs it."""
        low, high = self.reward_range
        if low < 0 or high > 1:
            raise ValueError(f"{policy} needs rewards in [0, 1]. Got a problem with rewards in [{low}, {high}].")


@dataclass(frozen=True, eq=False)
class Context:
    """What a policy sees when it chooses, one row per replication (or per row of feedback).

    Attributes:
        round: Number of the visit, from 0, shape (N,).
        user_id: Index of the visiting user; -1 when she is anonymous, shape (N,).
        time: Calendar time in days since the start, shape (N,).
        user: User features, shape (N, D).
        arms: Arm features, shape (N, K, E); a broadcast view where they are the same for all.
        available: Whether each arm may be chosen, shape (N, K).
        prior: Predicted mean reward of each arm, handed out by the experiment, shape (N, K); None where there is none.
            It is never the truth.
    """

    round: IntArray
    user_id: IntArray
    time: FloatArray
    user: FloatArray
    arms: FloatArray
    available: BoolArray
    prior: FloatArray | None = None

    def take(self, rows: IntArray) -> Context:
        """The context of some rows (B,), which may repeat."""
        prior = None if self.prior is None else self.prior[rows]
        return Context(
            self.round[rows],
            self.user_id[rows],
            self.time[rows],
            self.user[rows],
            self.arms[rows],
            self.available[rows],
            prior,
        )


@dataclass(frozen=True, eq=False)
class Feedback:
    """What comes back, now or later: `B` rows in order of arrival. B = N when nothing is delayed.

    Attributes:
        rows: Replication (0 .. N-1) of each row; replications may repeat, shape (B,).
        context: What the policy saw when it chose, `B` rows.
        chosen: Arms that were chosen, shape (B,); (B, L) where slates of `L` arms are shown.
        outcomes: What happened, shape (B, J), named by `Problem.outcome_names`.
        reward: The number to maximise, made of the outcomes by the environment, shape (B,).
        propensity: Probability with which the policy had chosen as it did, shape (B,); None when unknown. The engine
            fills it in for whoever records the events of a simulation, and leaves it None for the policy itself: what a
            policy learns must not depend on being recorded. A policy that needs it can remember what it did.
    """

    rows: IntArray
    context: Context
    chosen: IntArray
    outcomes: FloatArray
    reward: FloatArray
    propensity: FloatArray | None = None

    @property
    def rounds(self) -> IntArray:
        """Round in which each row was chosen, shape (B,)."""
        return self.context.round


# What `simulate` calls after every round for whoever records it: with the feedback of the replications that still play
# (B rows, propensity filled in) and the probabilities that all arms had in them, shape (B, K). Arrays may be written
# over afterwards: keep copies.
EventListener = Callable[[Feedback, FloatArray], None]


class Policy(ABC):
    """A bandit policy over `N` replications at once, in NumPy or torch.

    The constructor takes hyperparameters only, keeps each under its own name, and checks them. Everything that depends
    on the problem arrives in `reset`, which also forgets what was learned. See `KernelPolicy` and `ScalarPolicy` for
    the other two ways to write a policy.

    Attributes:
        stream: Number of the stream of random draws. Two copies of a policy with the same number behave alike.
        adaptive: Whether what it chooses depends on earlier outcomes. Logs say so, because statistics that assume
            independent rounds fail on data that an adaptive policy collected.
    """

    stream: int = 0
    adaptive: bool = True

    @abstractmethod
    def reset(self, problem: Problem, random: RandomStreams) -> None:
        """Forget everything and get ready for a problem.

        Args:
            problem: What may be known beforehand.
            random: The policy's own random draws; its only source of chance.

        Raises:
            ValueError: When the policy cannot play this problem.
        """

    @abstractmethod
    def select(self, context: Context) -> IntArray:
        """Choose an available arm in every replication, shape (N,)."""

    @abstractmethod
    def update(self, feedback: Feedback) -> None:
        """Learn from `B` rows of feedback, in order."""

    def propensities(self, context: Context) -> FloatArray | None:
        """Probability of each arm being chosen in `context`, shape (N, K); None when unknown. Draws no numbers."""
        return None

    def score_parts(self, context: Context) -> Mapping[str, FloatArray] | None:
        """Why this arm: the parts of the score by which `select` would choose now, which changes nothing.

        Returns:
            Name of a part to its size for each arm, shape (N, K), NaN where the arm is not available. The parts of an
            arm add up to its score, and `select` takes an available arm with the highest, draws included, unless it
            explores at random. None for a policy that compares no such scores.
        """
        return None

    def stop(self) -> BoolArray | None:
        """Whether the policy has seen enough in each replication, shape (N,); None for one that never stops."""
        return None

    def recommend(self) -> IntArray | None:
        """The arm that the policy would ship now, -1 for none, shape (N,); None for one that recommends nothing."""
        return None

    def record(self) -> Mapping[str, FloatArray]:
        """Numbers worth a curve in the report, name to shape (N,); read at every snapshot."""
        return {}

    def torch_twin(self) -> Policy | None:
        """A policy of the same law for the `torch` engine, a `bandits.torch_engine.TorchPolicy`; None without one."""
        return None

    def __repr__(self) -> str:
        return repr_of(self)


def repr_of(thing: object) -> str:
    """The constructor call that makes `thing`, from the attributes named like the constructor's parameters."""
    names = inspect.signature(type(thing)).parameters
    return f"{type(thing).__name__}({', '.join(f'{name}={getattr(thing, name)!r}' for name in names)})"
