"""Several policies side by side, each with visitors of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from bandits.core import FloatArray, Problem
from bandits.kernel import ComposedKernel, Kernel, Layout, ScalarContext, ScalarFeedback, State, Wrap
from bandits.kernel_policy import KernelPolicy
from bandits.machine_code import jit
from bandits.random import hashed_uniform, uniform
from policies.checks import checked_weights

# `params`: number of branches M, whether users are sticky, cumulative weights (M,), where the parts of branch i's state
# begin and end (M, 8), then the branches' own parameters. `shared`: a salt, visits (M,), rewards (M,), then the
# branches'.
_BRANCHES, _BY_USER, _HEADER = 0, 1, 2
_SALT, _TOTALS = 0, 1


@jit
def _branch_of(state: State, context: ScalarContext) -> int:
    """The branch of a visit, from a hash of the user or of the visit.

    It is found again when feedback comes, however late, without being stored. Anonymous visitors are split per visit.
    """
    identity = context.user_id if state.params[_BY_USER] > 0.0 and context.user_id >= 0 else context.round
    draw = hashed_uniform(state.shared[_SALT], identity)
    branches = int(state.params[_BRANCHES])
    for i in range(branches - 1):
        if draw < state.params[_HEADER + i]:
            return i
    return branches - 1


@jit
def _part(state: State, branch: int) -> State:
    """The state of one branch, as a view into the whole."""
    first = _HEADER + int(state.params[_BRANCHES]) + 8 * branch
    edges = state.params[first : first + 8]
    return State(
        state.params[int(edges[0]) : int(edges[1])],
        state.arm[int(edges[2]) : int(edges[3])],
        state.shared[int(edges[4]) : int(edges[5])],
        state.work[int(edges[6]) : int(edges[7])],
    )


def _compose(children: Sequence[Kernel], wrap: Wrap) -> Kernel:
    """Hooks that find the branch and call its own hook."""
    select_in = _chain_select([child.select for child in children], wrap)
    update_in = _chain_update([child.update for child in children], wrap)
    start_in = _chain_start([child.start or wrap(_nothing_to_start) for child in children], wrap)

    def start(state: State, random: Any) -> None:
        state.shared[_SALT] = uniform(random)
        for i in range(int(state.params[_BRANCHES])):
            start_in(i, _part(state, i), random)

    def select(state: State, context: ScalarContext, random: Any) -> int:
        branch = _branch_of(state, context)
        return int(select_in(branch, _part(state, branch), context, random))

    def update(state: State, feedback: ScalarFeedback, random: Any) -> None:
        branch = _branch_of(state, feedback.context)
        branches = int(state.params[_BRANCHES])
        state.shared[_TOTALS + branch] += 1.0
        state.shared[_TOTALS + branches + branch] += feedback.reward
        update_in(branch, _part(state, branch), feedback, random)

    return Kernel(select=wrap(select), update=wrap(update), start=wrap(start), record=wrap(_record))


def _nothing_to_start(state: State, random: Any) -> None:
    pass


def _record(state: State, out: FloatArray) -> None:
    for i in range(out.shape[0]):
        out[i] = state.shared[_TOTALS + i]


# A compiled function cannot pick among functions by number, so each chain asks "is it the first? else go on".


def _chain_select(hooks: Sequence[Callable[..., Any]], wrap: Wrap) -> Callable[..., Any]:
    first, rest = hooks[0], _chain_select(hooks[1:], wrap) if len(hooks) > 1 else None
    if rest is None:

        def last(branch: int, state: State, context: ScalarContext, random: Any) -> int:
            return int(first(state, context, random))

        return wrap(last)

    def either(branch: int, state: State, context: ScalarContext, random: Any) -> int:
        if branch == 0:
            return int(first(state, context, random))
        return int(rest(branch - 1, state, context, random))

    return wrap(either)


def _chain_update(hooks: Sequence[Callable[..., Any]], wrap: Wrap) -> Callable[..., Any]:
    first, rest = hooks[0], _chain_update(hooks[1:], wrap) if len(hooks) > 1 else None
    if rest is None:

        def last(branch: int, state: State, feedback: ScalarFeedback, random: Any) -> None:
            first(state, feedback, random)

        return wrap(last)

    def either(branch: int, state: State, feedback: ScalarFeedback, random: Any) -> None:
        if branch == 0:
            first(state, feedback, random)
        else:
            rest(branch - 1, state, feedback, random)

    return wrap(either)


def _chain_start(hooks: Sequence[Callable[..., Any]], wrap: Wrap) -> Callable[..., Any]:
    first, rest = hooks[0], _chain_start(hooks[1:], wrap) if len(hooks) > 1 else None
    if rest is None:

        def last(branch: int, state: State, random: Any) -> None:
            first(state, random)

        return wrap(last)

    def either(branch: int, state: State, random: Any) -> None:
        if branch == 0:
            first(state, random)
        else:
            rest(branch - 1, state, random)

    return wrap(either)


class PolicySplit(KernelPolicy):
    """Sends each visitor to one of several kernel policies, which learn from their own visitors only.

    The experiment that decides between two policies: the traffic is split between them, and each branch keeps score.

    Args:
        branches: The policies by label, at least one; all kernel policies.
        weights: Share of each branch, at least 0, summing to 1; equal shares by default.
        by: `user` sends a user to the same branch whenever she comes (by a hash of her id, salted anew in every
            replication); `visit` decides anew at each visit. Anonymous visitors are always split by visit.

    Records:
        visits[LABEL] and reward[LABEL]: visits and total reward of each branch.
    """

    def __init__(
        self,
        branches: Mapping[str, KernelPolicy],
        weights: Sequence[float] | None = None,
        by: Literal["user", "visit"] = "user",
    ) -> None:
        if not branches:
            raise ValueError("`branches` must hold at least one policy. Got none.")
        for label, branch in branches.items():
            if not isinstance(branch, KernelPolicy):
                raise TypeError(f"`branches[{label!r}]` must be a kernel policy. Got {branch!r}.")
        if by not in ("user", "visit"):
            raise ValueError(f"`by` must be user or visit. Got {by!r}.")
        if weights is not None and len(weights) != len(branches):
            raise ValueError(f"`weights` must have one entry for each of {len(branches)} branches. Got {len(weights)}.")
        self.branches, self.by = dict(branches), by
        self.weights = None if weights is None else checked_weights(tuple(weights))
        self.kernel = ComposedKernel(tuple(branch.kernel for branch in branches.values()), _compose)

    def layout(self, problem: Problem) -> Layout:
        count = len(self.branches)
        weights = self.weights or (1.0 / count,) * count
        layouts = [branch.layout(problem) for branch in self.branches.values()]
        # Where the next branch's part begins in params, arm, shared and work.
        at = [_HEADER + count + 8 * count, 0, _TOTALS + 2 * count, 0]
        edges: list[float] = []
        for layout in layouts:
            for field, size in enumerate((len(layout.params), layout.arm, layout.shared, layout.work)):
                edges += [at[field], at[field] + size]
                at[field] += size
        header = (float(count), float(self.by == "user"), *np.cumsum(weights).tolist())
        params = (*header, *edges, *(value for layout in layouts for value in layout.params))
        return Layout(arm=at[1], shared=at[2], work=at[3], params=params)

    def record_names(self, problem: Problem) -> tuple[str, ...]:
        return tuple(f"{what}[{label}]" for what in ("visits", "reward") for label in self.branches)
