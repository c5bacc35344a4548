"""Policies written as scalar code, compiled and spread over replications by the engine."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

from bandits.compiled.specialize import as_python, specialized
from bandits.core import BoolArray, Context, Feedback, FloatArray, IntArray, Policy, Problem
from bandits.kernel import ComposedKernel, Kernel, Layout, ScalarContext, ScalarFeedback, State
from bandits.memory import require_memory
from bandits.random_streams import RandomStreams


class KernelPolicy(Policy):
    """A policy whose `kernel` is scalar code, as in the paper, for one user at a time.

    A subclass sets `kernel`, keeps its hyperparameters in the constructor, and says in `layout` how much state it
    needs. It is a `Policy` like any other: the fused engine takes the kernel, everything else calls `reset`, `select`
    and `update`, which run the same compiled hooks row by row.

    Attributes:
        kernel: The hooks.
        part_names: Names of the parts of a score that the `parts` hook tells, length M.
    """

    kernel: Kernel | ComposedKernel
    part_names: tuple[str, ...] = ()

    @abstractmethod
    def layout(self, problem: Problem) -> Layout:
        """How much state the kernel needs, and its hyperparameters as numbers.

        Raises:
            ValueError: When the policy cannot play this problem.
        """

    def record_names(self, problem: Problem) -> tuple[str, ...]:
        """Names of what the `record` hook reports, length M."""
        return ()

    def reset(self, problem: Problem, random: RandomStreams) -> None:
        """Forget everything and get ready for a problem.

        Raises:
            ValueError: When the policy cannot play it, or its state does not fit into memory.
        """
        layout = self.layout(problem)
        num_envs = problem.num_envs
        require_memory(
            f"The state of {self!r} in {num_envs:,} replications with {problem.num_arms:,} arms",
            num_envs * layout.bytes(problem.num_arms),
        )
        self._problem = problem
        self._random = random
        self._hooks = self.kernel.link(lambda hook: hook)
        self._state = (
            np.array(layout.params, dtype=np.float64),
            np.zeros((num_envs, layout.arm, problem.num_arms)),
            np.zeros((num_envs, layout.shared)),
            np.zeros((num_envs, layout.work)),
        )
        self._rows.start_rows(*self._state, random.state)

    def resume(self, problem: Problem, state: State, random: RandomStreams) -> None:
        """Go on where one replication stands that was played elsewhere.

        Args:
            problem: What it plays, with one replication.
            state: What its kernel remembers; kept, not copied.
            random: Its stream, as far as it has been drawn from.
        """
        self._problem, self._random = problem, random
        self._hooks = self.kernel.link(lambda hook: hook)
        self._state = (state.params, state.arm[np.newaxis], state.shared[np.newaxis], state.work[np.newaxis])

    def select(self, context: Context) -> IntArray:
        """Choose an available arm in every replication, shape (N,)."""
        out = np.empty(self._problem.num_envs, dtype=np.int64)
        self._rows.select_rows(*self._state, self._random.state, _scalar_rows(context), out)
        return out

    def update(self, feedback: Feedback) -> None:
        """Learn from `B` rows of feedback, in order."""
        propensity = np.full(len(feedback.rows), np.nan) if feedback.propensity is None else feedback.propensity
        fields: Any = (
            _scalar_rows(feedback.context),
            np.asarray(feedback.chosen, dtype=np.int64),
            np.asarray(feedback.outcomes, dtype=np.float64),
            np.asarray(feedback.reward, dtype=np.float64),
            propensity,
        )
        rows = np.asarray(feedback.rows, dtype=np.int64)
        self._rows.update_rows(*self._state, self._random.state, rows, ScalarFeedback(*fields))

    def propensities(self, context: Context) -> FloatArray | None:
        """Probability of each arm being chosen, shape (N, K); None when the kernel does not say."""
        if self._hooks.propensities is None:
            return None
        out = np.zeros((self._problem.num_envs, self._problem.num_arms))
        self._rows.propensities_rows(*self._state, _scalar_rows(context), out)
        return out

    def score_parts(self, context: Context) -> dict[str, FloatArray] | None:
        """Parts of the score by which `select` would choose, name to shape (N, K); None when the kernel has none."""
        if self._hooks.parts is None:
            return None
        out = np.zeros((self._problem.num_envs, len(self.part_names), self._problem.num_arms))
        rows = as_python(self.kernel, None)  # asked for now and then: compiling takes longer than interpreting
        with np.errstate(all="ignore"):
            rows.parts_rows(*self._state, self._random.state.copy(), _scalar_rows(context), out)
        return {name: np.where(context.available, out[:, m], np.nan) for m, name in enumerate(self.part_names)}

    def stop(self) -> BoolArray | None:
        """Whether the policy has seen enough in each replication, shape (N,); None when the kernel never stops."""
        return self._report()[0] if self._hooks.stop else None

    def recommend(self) -> IntArray | None:
        """The arm that the policy would ship now, -1 for none, shape (N,); None when the kernel does not say."""
        return self._report()[1] if self._hooks.recommend else None

    def record(self) -> Mapping[str, FloatArray]:
        """What the `record` hook reports, name to shape (N,)."""
        names = self.record_names(self._problem)
        return dict(zip(names, self._report()[2].T, strict=True))

    @property
    def _rows(self) -> ModuleType:
        return specialized(
            self.kernel, None
        )  # kept by its own cache; a module among the attributes could not be copied

    def _report(self) -> tuple[BoolArray, IntArray, FloatArray]:
        num_envs = self._problem.num_envs
        stop, recommended = np.zeros(num_envs, dtype=np.bool_), np.full(num_envs, -1, dtype=np.int64)
        records = np.zeros((num_envs, len(self.record_names(self._problem))))
        self._rows.report_rows(*self._state, stop, recommended, records)
        return stop, recommended, records


def _scalar_rows(context: Context) -> ScalarContext:
    """A context in the form that the `_rows` functions take: each field with the rows as its first axis."""
    prior = np.zeros((len(context.round), 0)) if context.prior is None else context.prior
    fields: Any = (context.round, context.user_id, context.time, context.user, context.arms, context.available, prior)
    return ScalarContext(*fields)
