"""A policy with a click model of its own, refitted on the log that the policy made."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
from scipy.special import expit

from bandits.choice import choose_at
from bandits.core import BoolArray, Context, Feedback, FloatArray, IntArray, Policy, Problem
from bandits.machine_code import jit
from bandits.memory import array_bytes, require_memory
from bandits.random_streams import RandomStreams
from policies.checks import checked_prior, require_integer, require_linear_features, require_number
from policies.refitted.guard import SHARE, Guard
from policies.refitted.head import HeadLearner
from policies.refitted.learner import Learner
from policies.refitted.lora import LoraLearner, lora_config
from policies.refitted.pairs import Pairs
from policies.refitted.visit_log import VisitLog, Visits, inverse_propensity_weights, remembered

Memory = Literal["all", "window", "replay"]
Weighting = Literal["uniform", "ipw"]
Exploration = Literal["epsilon", "ensemble"]
Model = Literal["head", "lora"]
IfNone = Literal["ship", "keep"]


class RefittedModel(Policy):
    """Shows what its own click model favours, and every so many visits refits that model on the log it made itself.

    The model is not the world's reward model. It is either a logistic head on the features that contexts carry (frozen
    embeddings of texts, say), or a language model that reads the texts of user and arm, with LoRA refitted inside it.
    Before the first fit all arms are chosen at random. A log that a policy made itself shows mostly what the policy
    believed in, and the next model learns from that: exploration and inverse propensity weights are what can be done
    against it. The propensities of all choices are known.

    Either way a fit depends on what is remembered alone. LoRA begins each time with the pretrained weights: going on
    from the last adapter would be cheaper, but what the memory has dropped would live on in it, and networks that are
    warm-started generalise worse (Ash and Adams, 2020). Each fit's luck is keyed by replication, number of the fit and
    head: it is the same whatever else is played beside it (on a CPU with as many threads; not checked on a GPU).

    With a `guard`, each new model first serves half of the visitors, drawn at random, and the last model the others.
    The test is always valid: the new model is shipped when it wins and dropped when it loses. When the next fit comes
    before either, `if_none` says what happens.

    Args:
        every: Visits between two fits, at least 1.
        refits: How many fits there are in all, at least 1; None for no end. 1 is a model that is never refitted.
        memory: What a fit sees: `all` past visits, a `window` of the last `memory_size`, or by `replay` all visits
            since the last fit and `memory_size` drawn at random from all before, against forgetting.
        memory_size: See `memory`; at least 1.
        weighting: `uniform`, or `ipw`: inverse propensities, scaled to a mean of 1.
        largest_weight: Where inverse propensities are clipped, before they are scaled; at least 1.
        exploration: `epsilon`: with probability epsilon an arm at random. `ensemble`: several heads, each fitted with
            its own Poisson weights (a bootstrap), of which every visitor meets one at random.
        epsilon: In [0, 1].
        ensemble: Number of heads, at least 2.
        model: `head` or `lora`, which needs a problem with texts (`Problem.arm_texts`) and the library peft.
        features: `head` only: `disjoint` or `product`, as in `LinUCB`; `disjoint` has a common level beside what each
            arm adds.
        user_components: `head` only: how many of the first user features the product uses; at most all.
        arm_components: `head` only: how many of the first arm features the product uses; at most all.
        ridge: `head` only: penalty on squared coefficients, in visits, above 0; the constant's is 0.01.
        lora: `lora` only: fields of `bandits.reward_models.FitConfig` such as `weights`, `rank`, `epochs` and `device`,
            by name; see `policies.refitted.lora.lora_config`.
        guard: Two-sided level of the test of each new model against the last, in (0, 1); None deploys without a test.
        guard_prior: Beta prior of a click rate in that test, two numbers above 0; a mean near the true rates finds
            differences sooner.
        if_none: `ship` or `keep` the last model after a test without a result.

    Attributes:
        refit_seconds: How long each fit took, in order, over all replications.

    References:
        Bootstrap heads: Eckles and Kaptein (2014), "Thompson sampling with the online bootstrap", with the Poisson
        weights of Oza and Russell (2001), "Online bagging and boosting". LoRA: Hu and others (2022), "LoRA: low-rank
        adaptation of large language models", and Ash and Adams (2020), "On warm-starting neural network training".
        Weights: Horvitz and Thompson (1952), "A generalization of sampling without replacement from a finite universe".
    """

    def __init__(
        self,
        every: int = 1000,
        refits: int | None = None,
        memory: Memory = "all",
        memory_size: int = 5000,
        weighting: Weighting = "uniform",
        largest_weight: float = 50.0,
        exploration: Exploration = "epsilon",
        epsilon: float = 0.05,
        ensemble: int = 10,
        model: Model = "head",
        features: Literal["disjoint", "product"] = "disjoint",
        user_components: int = 5,
        arm_components: int = 5,
        ridge: float = 1.0,
        lora: Mapping[str, Any] | None = None,
        guard: float | None = None,
        guard_prior: Sequence[float] = (1.0, 1.0),
        if_none: IfNone = "ship",
    ) -> None:
        require_integer("every", every, 1)
        if refits is not None:
            require_integer("refits", refits, 1)
        require_integer("memory_size", memory_size, 1)
        require_integer("ensemble", ensemble, 2)
        require_number("largest_weight", largest_weight, 1.0)
        require_number("epsilon", epsilon, 0.0, 1.0)
        require_linear_features(features, user_components, arm_components)
        require_number("ridge", ridge, 0.0, strict=True)
        if guard is not None:
            require_number("guard", guard, 0.0, 1.0, strict=True)
        for name, value, known in (
            ("memory", memory, Memory),
            ("weighting", weighting, Weighting),
            ("exploration", exploration, Exploration),
            ("model", model, Model),
            ("if_none", if_none, IfNone),
        ):
            if value not in get_args(known):
                raise ValueError(f"`{name}` must be {' or '.join(get_args(known))}. Got {value!r}.")
        if model == "lora":
            lora_config(lora or {})
        elif lora is not None:
            raise ValueError(f"`lora` must be None where `model` is {model!r}. Got {lora!r}.")
        self.every, self.refits, self.memory, self.memory_size = every, refits, memory, memory_size
        self.weighting, self.largest_weight = weighting, largest_weight
        self.exploration, self.epsilon, self.ensemble = exploration, epsilon, ensemble
        self.model, self.lora = model, lora
        self.features, self.user_components, self.arm_components = features, user_components, arm_components
        self.ridge, self.guard, self.if_none = ridge, guard, if_none
        self.guard_prior = checked_prior(guard_prior, "guard_prior")
        self.refit_seconds: list[float] = []

    def reset(self, problem: Problem, random: RandomStreams) -> None:
        problem.require_rewards_in_unit_interval("RefittedModel")
        envs, heads = problem.num_envs, self.ensemble if self.exploration == "ensemble" else 1
        self._learner: Learner
        if self.model == "lora":
            self._learner = LoraLearner(problem, lora_config(self.lora or {}))
        else:
            pairs = Pairs.of(problem, self.features, self.user_components, self.arm_components)
            self._learner = HeadLearner(pairs, self.ridge)
        self._require_memory(problem, heads)
        self._random = random
        self._deployed = np.zeros((envs, heads, self._learner.size))
        self._candidate = np.zeros_like(self._deployed)  # under test
        self._log = VisitLog(envs, self._learner.user_dim, self._learner.arm_dim)
        self._visits = np.zeros(envs, dtype=np.int64)
        self._fits = np.zeros(envs, dtype=np.int64)
        self._fresh_from = np.zeros(envs, dtype=np.int64)  # first round since the last fit
        self._salts = random.uniform()
        self._guard = Guard(envs, self.guard or 1.0, self.guard_prior, random.uniform())
        self._won, self._lost = np.zeros(envs), np.zeros(envs)
        self.refit_seconds = []

    def select(self, context: Context) -> IntArray:
        everyone = np.arange(len(self._visits))
        by_model = self._by_model(context)
        propensities = self._mixed(by_model)
        chances = by_model[0]
        if len(by_model) > 1:
            chances = np.where(self._new_serves(context)[:, np.newaxis], by_model[1], by_model[0])
        chosen = np.empty(len(everyone), dtype=np.int64)
        _draw(chances, context.available, self._random.uniform(), chosen)
        self._visits += 1
        if self._fits_left().any():
            seen = self._learner.seen(context, chosen)
            self._log.add(context.round, chosen, propensities[everyone, chosen], *seen)
        return chosen

    def update(self, feedback: Feedback) -> None:
        self._log.answer(feedback.rows, feedback.rounds, feedback.reward)
        for n, won in self._guard.watch(feedback.rows, feedback.rounds, feedback.reward):
            self._decide(n, ship=won)
            (self._won if won else self._lost)[n] += 1.0
        due = np.flatnonzero(self._fits_left() & (self._visits // self.every > self._fits))
        if len(due):
            began = time.perf_counter()
            for n in due.tolist():
                self._refit(n)
            self.refit_seconds.append(time.perf_counter() - began)

    def propensities(self, context: Context) -> FloatArray:
        """Probability of each arm before it is known which model serves the visitor, shape (N, K)."""
        return self._mixed(self._by_model(context))

    def rates(self, context: Context) -> FloatArray:
        """Click rates of all arms as predicted by the model that serves each visitor, shape (N, K).

        The mean over the heads of an ensemble; 1/2 before the first fit.
        """
        rates = self._predicted(self._deployed, context)
        if not self._guard.testing.any():
            return rates
        return np.where(self._new_serves(context)[:, np.newaxis], self._predicted(self._candidate, context), rates)

    def record(self) -> Mapping[str, FloatArray]:
        """How many new models won and lost their test so far; the others' tests ended without a result."""
        return {"won": self._won, "lost": self._lost}

    def _predicted(self, models: FloatArray, context: Context) -> FloatArray:
        """Click rates of all arms by models (N, H, P), shape (N, K)."""
        rates: FloatArray = expit(self._learner.scores(models, context)).mean(axis=1)
        return rates

    def _new_serves(self, context: Context) -> BoolArray:
        """Whether the new model serves each visitor, shape (N,)."""
        return self._guard.testing & self._guard.new_serves(context.round)

    def _by_model(self, context: Context) -> list[FloatArray]:
        """Probability of each arm under the deployed model and, while any test goes on, the new one; (N, K) each."""
        models = [self._deployed, self._candidate] if self._guard.testing.any() else [self._deployed]
        return [self._chances(heads, context) for heads in models]

    def _mixed(self, by_model: list[FloatArray]) -> FloatArray:
        """Probability of each arm before it is known which model serves, from `_by_model`, shape (N, K)."""
        if len(by_model) == 1:
            return by_model[0]
        deployed, new = by_model
        return np.where(self._guard.testing[:, np.newaxis], SHARE * new + (1 - SHARE) * deployed, deployed)

    def _chances(self, heads: FloatArray, context: Context) -> FloatArray:
        """Probability of each arm under a model: the best arms of each head share its visitors, shape (N, K)."""
        available = context.available[:, np.newaxis]
        scores = np.where(available, self._learner.scores(heads, context), -np.inf)
        best = scores == scores.max(axis=2, keepdims=True)
        greedy: FloatArray = (best / best.sum(axis=2, keepdims=True)).mean(axis=1)
        if self.exploration == "ensemble":
            return greedy
        anything = context.available / context.available.sum(axis=1, keepdims=True)
        chances: FloatArray = (1 - self.epsilon) * greedy + self.epsilon * anything
        return chances

    def _fits_left(self) -> BoolArray:
        return np.ones(len(self._fits), np.bool_) if self.refits is None else self._fits < self.refits

    def _decide(self, n: int, *, ship: bool) -> None:
        """End the test of a new model."""
        self._guard.end(n)
        if ship:
            self._deployed[n] = self._candidate[n]

    def _refit(self, n: int) -> None:
        """Fit a model on what replication `n` remembers, and deploy it or begin its test."""
        rounds = self._log.visits(n).round
        self._log.keep(n, remembered(rounds, self.memory, self.memory_size, int(self._fresh_from[n]), self._salts[n]))
        visits = self._log.visits(n).answered()
        if not len(visits.round):
            return  # nothing has come back: the fit waits for the first result
        if self._guard.testing[n]:
            self._decide(n, ship=self.if_none == "ship")
        weight = np.ones(len(visits.round))
        if self.weighting == "ipw":
            weight = inverse_propensity_weights(visits.propensity, self.largest_weight)
        model = self._fitted(n, visits, weight)
        self._fresh_from[n] = rounds[-1] + 1
        if self.guard is None or self._fits[n] == 0:
            self._deployed[n] = model
        else:
            self._candidate[n] = model
            self._guard.begin(n, int(self._fresh_from[n]))
        self._fits[n] += 1

    def _fitted(self, n: int, visits: Visits, weight: FloatArray) -> FloatArray:
        """Heads for visits with weights (B,), shape (H, P)."""
        weights = [weight]
        if self.exploration == "ensemble":
            random = self._random.generator(n)
            weights = [weight * random.poisson(1.0, len(weight)) for _ in range(self.ensemble)]
        key = int(self._salts[n] * 2**53), int(self._fits[n])
        seeds = np.random.SeedSequence(key).generate_state(len(weights)).tolist()
        starts = self._deployed[n]
        return np.stack([self._learner.fit(visits, *of) for of in zip(weights, starts, seeds, strict=True)])

    def _require_memory(self, problem: Problem, heads: int) -> None:
        most = self.memory_size + self.every
        visits = (problem.horizon or most) if self.memory == "all" else most
        learner, size = self._learner, self._learner.size
        log = (2 * problem.num_envs, visits, 4 + learner.user_dim + learner.arm_dim)
        models = (problem.num_envs, heads, 3 * size + 2 * problem.num_arms)
        what = f"The logs and models of RefittedModel, {visits:,} visits and {size:,} parameters of a model,"
        require_memory(what, array_bytes([log, models]) + learner.bytes_of_fit(visits))


@jit
def _draw(chances: Any, available: Any, uniform: Any, out: Any) -> None:
    for n in range(out.shape[0]):
        out[n] = choose_at(chances[n], available[n], uniform[n])
