"""Checks that every policy and every environment should pass, yours included.

>>> from bandits.testing import check_policy
>>> from policies import UCB1
>>> check_policy(UCB1)
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from bandits.core import Context, Feedback, FloatArray, IntArray, Policy, Problem
from bandits.environment import Environment, context_of
from bandits.random_streams import RandomStreams
from bandits.scalar_policy import PerReplication, ScalarPolicy

MakePolicy = Callable[[], Policy | ScalarPolicy]
MakeEnv = Callable[[int], Environment]


class PracticeWorld:
    """A small environment in plain NumPy: users with features, indicator features of the arms, arms that come and go.

    Its predictions (`Context.prior`) have the arms in the right order, and are all too near the mean.

    Args:
        num_envs: Number of replications `N`.
        rates: Click rate of each arm, shape (K,).
        absent: Whether every arm but the first two is missing in every third round.
    """

    def __init__(self, num_envs: int, rates: tuple[float, ...] = (0.2, 0.8, 0.3, 0.1), *, absent: bool = False) -> None:
        self.num_envs = num_envs
        self.rates = np.array(rates)
        self.absent = absent

    def problem(self, horizon: int | None) -> Problem:
        """What a policy may know beforehand."""
        return Problem(
            self.num_envs,
            len(self.rates),
            user_dim=3,
            arm_dim=len(self.rates),
            horizon=horizon,
            num_users=5,
            has_prior=True,
        )

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin anew."""
        self._generator = np.random.default_rng(seed)
        self._round = 0
        return self._observe(), {}

    def step(self, actions: IntArray) -> tuple[Any, FloatArray, Any, Any, dict[str, Any]]:
        """Play an arm in each replication."""
        mean = self.rates[actions]
        reward = (self._generator.random(self.num_envs) < mean).astype(np.float64)
        best = np.where(self._available, self.rates, 0.0).max(axis=1)
        fixed = np.full(self.num_envs, self.rates[:2].max() if self.absent else self.rates.max())
        self._round += 1
        never = np.zeros(self.num_envs, dtype=np.bool_)
        return self._observe(), reward, never, never, {"mean": mean, "best_mean": best, "fixed_mean": fixed}

    def _observe(self) -> dict[str, Any]:
        size, arms = self.num_envs, len(self.rates)
        self._available = np.ones((size, arms), dtype=np.bool_)
        if self.absent and self._round % 3 == 2:
            self._available[:, 2:] = False
        return {
            "user_id": self._generator.integers(0, 5, size),
            "time": np.full(size, self._round / 100),
            "user": self._generator.normal(size=(size, 3)),
            "arms": np.broadcast_to(np.eye(arms), (size, arms, arms)),
            "available": self._available,
            "prior": np.broadcast_to((self.rates + self.rates.mean()) / 2, (size, arms)),
        }


def _batched(make: MakePolicy) -> Policy:
    policy = make()
    return PerReplication(policy) if isinstance(policy, ScalarPolicy) else policy


def _play(
    policy: Policy, world: PracticeWorld, rounds: int, seed: int = 1, flip_row: int | None = None
) -> tuple[IntArray, RandomStreams]:
    """The arms that a policy plays, shape (T, N), and its stream; `flip_row` swaps clicks and misses of one row."""
    problem = world.problem(rounds)
    random = RandomStreams(seed, world.num_envs)
    policy.reset(problem, random)
    observation, _ = world.reset(seed=7)
    played = np.empty((rounds, world.num_envs), dtype=np.int64)
    rows = np.arange(world.num_envs)
    for t in range(rounds):
        context = context_of(observation, problem, t)
        played[t] = policy.select(context)
        observation, reward, *_ = world.step(played[t])
        if flip_row is not None:
            reward[flip_row] = 1.0 - reward[flip_row]
        policy.update(Feedback(rows, context, played[t], reward[:, np.newaxis], reward))
    return played, random


def check_arms_are_available(make: MakePolicy) -> None:
    """`select` gives integers of shape (N,), each an arm that is available."""
    policy, world = _batched(make), PracticeWorld(5, absent=True)
    problem = world.problem(30)
    policy.reset(problem, RandomStreams(1, 5))
    observation, _ = world.reset(seed=7)
    for t in range(30):
        context = context_of(observation, problem, t)
        arms = np.asarray(policy.select(context))
        assert arms.shape == (5,), f"`select` must give shape (5,). Got {arms.shape}."
        assert arms.dtype.kind in "iu", f"`select` must give integers. Got {arms.dtype}."
        assert np.all((arms >= 0) & (arms < 4)), f"`select` must give arms 0..3. Got {arms}."
        assert context.available[np.arange(5), arms].all(), f"`select` must give available arms. Got {arms}, round {t}."
        observation, reward, *_ = world.step(arms)
        policy.update(Feedback(np.arange(5), context, arms, reward[:, np.newaxis], reward))


def check_same_seed_same_arms(make: MakePolicy) -> None:
    """Two copies with the same seed behave alike: the stream is the only source of chance."""
    first, _ = _play(_batched(make), PracticeWorld(4), 40)
    second, _ = _play(_batched(make), PracticeWorld(4), 40)
    assert np.array_equal(first, second), "The same seed must give the same arms: draw from `random` alone."


def check_other_seed_other_arms(make: MakePolicy) -> None:
    """A policy that draws numbers behaves otherwise with another seed."""
    first, random = _play(_batched(make), PracticeWorld(8), 60, seed=1)
    second, _ = _play(_batched(make), PracticeWorld(8), 60, seed=2)
    draws = bool(np.any(random.state[:, 1] > 0))
    assert not draws or not np.array_equal(first, second), "Another seed must give other arms: is `random` used?"


def check_reset_forgets(make: MakePolicy) -> None:
    """`reset` makes a used policy as good as new."""
    policy = _batched(make)
    first, _ = _play(policy, PracticeWorld(4), 40)
    again, _ = _play(policy, PracticeWorld(4), 40)
    assert np.array_equal(first, again), "`reset` must forget everything that was learned."


def check_inputs_unchanged(make: MakePolicy) -> None:
    """`select` and `update` do not write into what they are given."""
    policy, world = _batched(make), PracticeWorld(3)
    problem = world.problem(10)
    policy.reset(problem, RandomStreams(1, 3))
    context = context_of(world.reset(seed=7)[0], problem, 0)
    before = copy.deepcopy(context)
    arms = policy.select(context)
    reward = np.array([0.0, 1.0, 1.0])
    feedback = Feedback(np.arange(3), context, arms, reward[:, np.newaxis], reward)
    kept = copy.deepcopy(feedback)
    policy.update(feedback)
    for name in ("user_id", "time", "user", "arms", "available"):
        assert np.array_equal(getattr(context, name), getattr(before, name)), f"`context.{name}` must not be changed."
    for name in ("rows", "chosen", "outcomes", "reward"):
        assert np.array_equal(getattr(feedback, name), getattr(kept, name)), f"`feedback.{name}` must not be changed."


def check_rows_are_independent(make: MakePolicy) -> None:
    """What one replication learns does not touch the others."""
    first, _ = _play(_batched(make), PracticeWorld(4), 60)
    flipped, _ = _play(_batched(make), PracticeWorld(4), 60, flip_row=0)
    assert np.array_equal(first[:, 1:], flipped[:, 1:]), "Rewards of row 0 must not change the arms of other rows."


def check_copy_continues(make: MakePolicy) -> None:
    """A deep copy goes on exactly as the original does."""
    policy, world = _batched(make), PracticeWorld(3)
    _play(policy, world, 20)
    problem = world.problem(20)
    context = context_of(world.reset(seed=9)[0], problem, 20)
    twin = copy.deepcopy(policy)
    assert np.array_equal(policy.select(context), twin.select(context)), "A deep copy must choose as the original does."


def check_one_replication_one_arm(make: MakePolicy) -> None:
    """N = 1 and K = 1 work."""
    played, _ = _play(_batched(make), PracticeWorld(1, (0.5,)), 20)
    assert np.all(played == 0), f"With one arm, arm 0 must be played. Got {np.unique(played)}."


def check_late_feedback(make: MakePolicy) -> None:
    """Feedback of earlier rounds, several rows for one replication and none for another, is taken."""
    policy, world = _batched(make), PracticeWorld(3)
    problem = world.problem(10)
    policy.reset(problem, RandomStreams(1, 3))
    observation, _ = world.reset(seed=7)
    contexts: list[Context] = []
    arms: list[IntArray] = []
    for t in range(4):
        contexts.append(context_of(observation, problem, t))
        arms.append(policy.select(contexts[-1]))
        observation, *_ = world.step(arms[-1])
    rows = np.array([2, 0])
    for t in (1, 0):
        reward = np.array([1.0, 0.0])
        policy.update(Feedback(rows, contexts[t].take(rows), arms[t][rows], reward[:, np.newaxis], reward))
    twice = np.array([1, 1, 2])
    reward = np.array([1.0, 0.0, 1.0])
    policy.update(Feedback(twice, contexts[3].take(twice), arms[3][twice], reward[:, np.newaxis], reward))
    policy.select(context_of(observation, problem, 4))


def check_propensities(make: MakePolicy) -> None:
    """Where `propensities` are known, they sum to 1, keep to available arms, and draw no numbers."""
    policy, world = _batched(make), PracticeWorld(6, absent=True)
    _, random = _play(policy, world, 23)
    problem = world.problem(23)
    for t in range(3):
        observation = world.reset(seed=3)[0]
        for _ in range(t):
            observation, *_ = world.step(np.zeros(6, dtype=np.int64))
        context = context_of(observation, problem, 23 + t)
        before = random.state.copy()
        chances = policy.propensities(context)
        if chances is None:
            return
        assert np.array_equal(before, random.state), "`propensities` must not draw numbers."
        assert np.allclose(chances.sum(axis=1), 1), f"`propensities` must sum to 1. Got {chances.sum(axis=1)}."
        assert np.all(chances[~context.available] == 0), "`propensities` of arms that are not available must be 0."


def check_score_parts(make: MakePolicy) -> None:
    """Where a score has parts, available arms have them all, others none, and asking changes no choice."""
    policy, world = _batched(make), PracticeWorld(6, absent=True)
    _play(policy, world, 23)
    observation, silent = world.reset(seed=3)[0], copy.deepcopy(policy)
    for t in range(3):  # arms are missing in one of them
        context = context_of(observation, world.problem(23), 23 + t)
        for name, part in (policy.score_parts(context) or {}).items():
            assert part.shape == context.available.shape, f"Part `{name}` must have shape (N, K). Got {part.shape}."
            missing = np.isnan(part)
            assert np.array_equal(missing, ~context.available), f"Part `{name}` must be NaN just where no arm is there."
        arms = policy.select(context)
        assert np.array_equal(arms, silent.select(context)), "`score_parts` must change no choice."
        observation, *_ = world.step(arms)


def check_adaptive_is_said(make: MakePolicy) -> None:
    """A policy that says it is not adaptive chooses the same whatever comes of it."""
    if _batched(make).adaptive:
        return
    first, _ = _play(_batched(make), PracticeWorld(4), 60)
    flipped, _ = _play(_batched(make), PracticeWorld(4), 60, flip_row=0)
    assert np.array_equal(first, flipped), "`adaptive` must be True where outcomes change what is chosen."


def check_defaults_are_immutable(make: MakePolicy) -> None:
    """No default of the constructor can be changed by one user for the next."""
    for parameter in inspect.signature(type(make())).parameters.values():
        mutable = isinstance(parameter.default, list | dict | set | np.ndarray)
        assert not mutable, f"The default of `{parameter.name}` must be immutable. Got {parameter.default!r}."


def check_repr_shows_parameters(make: MakePolicy) -> None:
    """`repr` names every parameter of the constructor, each kept under its own name."""
    policy = make()
    for name in inspect.signature(type(policy)).parameters:
        assert hasattr(policy, name), f"The parameter `{name}` must be kept as an attribute."
        assert f"{name}=" in repr(policy), f"`repr` must show `{name}`. Got {policy!r}."


def check_learns(make: MakePolicy) -> None:
    """On an easy problem the policy earns clearly more than uniform choice. Not for policies that do not learn."""
    played, _ = _play(_batched(make), PracticeWorld(20), 600)
    share = float(np.mean(played[300:] == 1))
    assert share > 0.5, f"The best arm must get over half of the later visits (uniform: 0.25). Got {share:.2f}."


POLICY_CHECKS: tuple[Callable[[MakePolicy], None], ...] = (
    check_arms_are_available,
    check_same_seed_same_arms,
    check_other_seed_other_arms,
    check_reset_forgets,
    check_inputs_unchanged,
    check_rows_are_independent,
    check_copy_continues,
    check_one_replication_one_arm,
    check_late_feedback,
    check_propensities,
    check_score_parts,
    check_adaptive_is_said,
    check_defaults_are_immutable,
    check_repr_shows_parameters,
)


def check_policy(make: MakePolicy, *, learns: bool = True) -> None:
    """Run all checks on a policy.

    Args:
        make: Makes a fresh policy: its class, or a function without arguments.
        learns: Whether it should find the best of four very different arms in 300 visits.

    Raises:
        AssertionError: At the first promise that it breaks, saying which.
    """
    for check in POLICY_CHECKS + ((check_learns,) if learns else ()):
        check(make)


def check_interface(make: MakeEnv) -> None:
    """Observations make a context, truth and rewards have shape (N,), and nothing ends."""
    env = make(3)
    problem = env.problem(10)
    assert problem.num_envs == env.num_envs == 3, f"`make(3)` must give 3 replications. Got {env.num_envs}."
    observation, _ = env.reset(seed=1)
    for t in range(10):
        context = context_of(observation, problem, t)
        assert context.available.any(axis=1).all(), "At least one arm must be available in every round."
        observation, reward, terminated, truncated, info = env.step(np.argmax(context.available, axis=1))
        assert np.shape(reward) == (3,), f"Rewards must have shape (3,). Got {np.shape(reward)}."
        ended = np.any(terminated) or np.any(truncated)
        assert not ended, "A bandit environment must never end by itself."
        for name in ("mean", "best_mean", "fixed_mean"):
            truth = np.asarray(info.get(name))
            assert truth.shape == (3,), f"`info[{name!r}]` must have shape (3,). Got {truth!r}."
        assert np.all(info["best_mean"] >= info["mean"] - 1e-12), "`best_mean` must be at least the mean of any arm."


def check_luck_is_keyed(make: MakeEnv) -> None:
    """The same seed gives the same luck, whatever is played; another seed gives other luck."""
    first, other_arms, other_seed = (_visits(make(4), seed, play) for seed, play in ((1, 0), (1, 1), (2, 0)))
    assert np.array_equal(first[0], _visits(make(4), 1, 0)[0]), "The same seed must give the same rewards."
    assert all(np.array_equal(a, b) for a, b in zip(first[1:], other_arms[1:], strict=True)), (
        "Who comes must not depend on what was played before."
    )
    assert not np.array_equal(first[0], other_seed[0]), "Another seed must give other rewards."


def check_rows_are_replications(make: MakeEnv) -> None:
    """Row i after `first_replication=n` is replication n + i, in any chunk."""
    whole, part = _visits(make(5), 1, 0), _visits(make(2), 1, 0, first=3)
    assert np.array_equal(whole[0][:, 3:], part[0]), "Replications must be the same in every chunk."


def check_rewards_match_truth(make: MakeEnv) -> None:
    """The mean reward is that of the truth in `info`, within five standard errors."""
    env = make(400)
    problem = env.problem(50)
    observation, _ = env.reset(seed=5)
    differences = []
    for t in range(50):
        available = context_of(observation, problem, t).available
        arms = (np.arange(400) + t) % problem.num_arms
        arms = np.where(available[np.arange(400), arms], arms, np.argmax(available, axis=1))
        observation, reward, _, _, info = env.step(arms)
        differences.append(np.asarray(reward) - info["mean"])
    gap = np.concatenate(differences)
    error = gap.std() / np.sqrt(gap.size)
    assert abs(gap.mean()) <= 5 * error, f"Rewards must match `info['mean']`. Off by {gap.mean():.4g} +- {error:.2g}."


def _visits(env: Environment, seed: int, play: int, first: int = 0) -> tuple[Any, Any, Any]:
    """Rewards, user ids and features of 30 rounds; `play` shifts which of the available arms is played."""
    problem = env.problem(30)
    observation, _ = env.reset(seed=seed, options={"first_replication": first})
    rewards, users, features = [], [], []
    for t in range(30):
        context = context_of(observation, problem, t)
        users.append(context.user_id)
        features.append(context.user)
        order = np.cumsum(context.available, axis=1) * context.available
        wanted = (t + play) % context.available.sum(axis=1) + 1
        observation, reward, *_ = env.step(np.argmax(order == wanted[:, np.newaxis], axis=1))
        rewards.append(reward)
    return np.array(rewards), np.array(users), np.array(features)


ENV_CHECKS: tuple[Callable[[MakeEnv], None], ...] = (
    check_interface,
    check_luck_is_keyed,
    check_rows_are_replications,
    check_rewards_match_truth,
)


def check_environment(make: MakeEnv) -> None:
    """Run all checks on an environment.

    Args:
        make: Makes an environment with a given number of replications.

    Raises:
        AssertionError: At the first promise that it breaks, saying which.
    """
    for check in ENV_CHECKS:
        check(make)
