"""A/B tests between policies: each branch of the test is a policy, which chooses among the arms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np

from bandits.core import FloatArray, Problem
from bandits.kernel import ComposedKernel, Kernel, Layout, ScalarContext, ScalarFeedback, State, Wrap
from bandits.kernel_policy import KernelPolicy
from bandits.machine_code import jit
from policies.ab import state as ab
from policies.ab.design import ABDesign

Learn = Literal["own", "pooled"]

# `params`: number of branches M, whether they learn from everybody, number of segments G (at least 1), fields per arm
# of the design; where the parts of the design's and the branches' state begin and end (1 + M, 8); the segment of each
# user; then the parameters of the design and of the branches. `shared`: visitors and clicks by branch and segment (2,
# M, G); then the design's shared state, its fields per branch, the branches' shared states. `work`: whether each branch
# is available, as bytes; probabilities (K,); then the design's and the branches' scratch.
_BRANCHES, _POOLED, _SEGMENTS, _FIELDS, _EDGES = range(5)


@jit
def _part(state: State, number: int) -> State:
    """The state of a branch, from number 1 on, as a view into the whole."""
    first = _EDGES + 8 * number
    edges = state.params[first : first + 8]
    return State(
        state.params[int(edges[0]) : int(edges[1])],
        state.arm[int(edges[2]) : int(edges[3])],
        state.shared[int(edges[4]) : int(edges[5])],
        state.work[int(edges[6]) : int(edges[7])],
    )


@jit
def _design(state: State) -> State:
    """The state of the design, whose arms are the branches: its fields per arm lie behind its shared state."""
    edges = state.params[_EDGES : _EDGES + 8]
    branches, fields = int(state.params[_BRANCHES]), int(state.params[_FIELDS])
    end = int(edges[5])
    return State(
        state.params[int(edges[0]) : int(edges[1])],
        state.shared[end : end + fields * branches].reshape((fields, branches)),
        state.shared[int(edges[4]) : end],
        state.work[int(edges[6]) : int(edges[7])],
    )


@jit
def _for_design(state: State, context: ScalarContext) -> ScalarContext:
    """The context as the design sees it: every branch is available."""
    branches = int(state.params[_BRANCHES])
    available = state.work[: (branches + 7) // 8].view(np.bool_)[:branches]
    available[:] = True
    return ScalarContext(
        context.round, context.user_id, context.time, context.user, context.arms, available, context.prior
    )


@jit
def _count(state: State, branch: int, feedback: ScalarFeedback) -> None:
    """Count a visitor and a click of a branch in the visitor's segment."""
    branches, segments = int(state.params[_BRANCHES]), int(state.params[_SEGMENTS])
    first = _EDGES + 8 * (1 + branches)
    users = int(state.params[_EDGES]) - first
    segment = 0
    if segments > 1:
        if not 0 <= feedback.context.user_id < users:
            return
        segment = int(state.params[first + feedback.context.user_id])
    state.shared[branch * segments + segment] += 1.0
    state.shared[(branches + branch) * segments + segment] += feedback.reward


def _compose(children: Sequence[Kernel], wrap: Wrap) -> Kernel:
    """Hooks that ask the design for the branch and call the branch's own hook."""
    design, branches = children[0], children[1:]
    select_in = _chain([branch.select for branch in branches], wrap)
    update_in = _chain([branch.update for branch in branches], wrap)
    start_in = _chain([branch.start or wrap(_nothing) for branch in branches], wrap)
    known = [branch.propensities for branch in branches if branch.propensities]
    chances_in: Callable[..., Any] = _chain(known, wrap) if len(known) == len(branches) else _nothing
    design_start, design_select, design_update = design.start, design.select, design.update
    design_chances, design_record = design.propensities, design.record
    assert design_start is not None
    assert design_chances is not None
    assert design_record is not None

    def start(state: State, random: Any) -> None:
        design_start(_design(state), random)
        for i in range(int(state.params[_BRANCHES])):
            start_in(i, _part(state, i + 1), random)

    def select(state: State, context: ScalarContext, random: Any) -> int:
        branch = design_select(_design(state), _for_design(state, context), random)
        return int(select_in(branch, _part(state, branch + 1), context, random))

    def update(state: State, feedback: ScalarFeedback, random: Any) -> None:
        inner = _design(state)
        context = _for_design(state, feedback.context)
        branch = ab.assigned(inner, context)
        testing = inner.shared[ab.DECIDED] == 0.0
        design_update(
            inner,
            ScalarFeedback(context, branch, feedback.outcomes, feedback.reward, feedback.propensity),
            random,
        )
        if testing:
            _count(state, branch, feedback)
        if state.params[_POOLED] > 0.0:
            for i in range(int(state.params[_BRANCHES])):
                update_in(i, _part(state, i + 1), feedback, random)
        else:
            update_in(branch, _part(state, branch + 1), feedback, random)

    def propensities(state: State, context: ScalarContext, out: FloatArray) -> None:
        arms, branches = out.shape[0], int(state.params[_BRANCHES])
        at = (branches + 7) // 8
        one = state.work[at : at + arms]
        shares = state.work[at + arms : at + arms + branches]
        design_chances(_design(state), _for_design(state, context), shares)
        for k in range(arms):
            out[k] = 0.0
        for i in range(branches):
            chances_in(i, _part(state, i + 1), context, one)
            for k in range(arms):
                out[k] += shares[i] * one[k]

    def record(state: State, out: FloatArray) -> None:
        branches, segments = int(state.params[_BRANCHES]), int(state.params[_SEGMENTS])
        design_record(_design(state), out[: 2 + 2 * branches])
        for i in range(2 * branches * segments if segments > 1 else 0):
            out[2 + 2 * branches + i] = state.shared[i]

    return Kernel(
        select=wrap(select),
        update=wrap(update),
        start=wrap(start),
        propensities=wrap(propensities) if len(known) == len(branches) else None,
        record=wrap(record),
    )


def _nothing(state: State, random: Any) -> None:
    """What a hook does that a branch does not have."""


def _chain(hooks: Sequence[Callable[..., Any]], wrap: Wrap) -> Callable[..., Any]:
    """A function that calls hook number `branch`: compiled code cannot pick among functions by number.

    Each link asks "is it the first? else go on".
    """
    first = hooks[0]
    if len(hooks) == 1:

        def last(branch: int, *arguments: Any) -> Any:
            return first(*arguments)

        return wrap(last)
    rest = _chain(hooks[1:], wrap)

    def either(branch: int, *arguments: Any) -> Any:
        if branch == 0:
            return first(*arguments)
        return rest(branch - 1, *arguments)

    return wrap(either)


class BranchTest(KernelPolicy):
    """An A/B test whose branches are policies: popularity against matrix factorization against LinUCB, say.

    The design divides the visitors among the branches, as it would among arms, and ends, decides and ships as it would.
    Each branch chooses for its visitors. What it learns from is the question: from its own visitors, or, as many
    systems do, from a pooled log to which all branches contribute. Then each branch's data depend on what the others
    showed, and the test no longer estimates what each would earn alone (Si 2023).

    Args:
        branches: The policies by label, at least one; all kernel policies. The design's control is the branch at that
            place, 0 for the first.
        design: An A/B test, over as many arms as there are branches.
        learn: `own` lets a branch learn from its own visitors, `pooled` from all.

    Records:
        testing and shipped: As of the design, with branches for arms. visitors[LABEL] and clicks[LABEL]: results of
        each branch that the design counts. visitors[LABEL | SEGMENT] and clicks[LABEL | SEGMENT]: during the test, by
        segment of users, where the environment has segments.

    References:
        Si (2023), "Tackling interference induced by data training loops in A/B tests: a weighted training approach".
    """

    def __init__(self, branches: Mapping[str, KernelPolicy], design: ABDesign, learn: Learn = "own") -> None:
        if not branches:
            raise ValueError("`branches` must hold at least one policy. Got none.")
        for label, branch in branches.items():
            if not isinstance(branch, KernelPolicy):
                raise TypeError(f"`branches[{label!r}]` must be a kernel policy. Got {branch!r}.")
        if not isinstance(design, ABDesign):
            raise TypeError(f"`design` must be an A/B test. Got {design!r}.")
        if learn not in get_args(Learn):
            raise ValueError(f"`learn` must be own or pooled. Got {learn!r}.")
        self.branches, self.design, self.learn = dict(branches), design, learn
        self.kernel = ComposedKernel((design.kernel, *(branch.kernel for branch in branches.values())), _compose)

    def decision_rule(self) -> str:
        """How branches are divided, when the test ends and how it decides, in sentences for a report."""
        count = len(self.branches)
        labels = ", ".join(f"arm {i} is {label}" for i, label in enumerate(self.branches))
        log = {"own": "Each branch learns from its own visitors.", "pooled": "All branches learn from all visitors."}
        return (
            f"The arms of this test are policies: {labels}. {log[self.learn]} {self.design.division(count)} "
            f"{self.design.decision_rule(count)}"
        )

    def layout(self, problem: Problem) -> Layout:
        count, segments = len(self.branches), max(len(problem.segment_names), 1)
        inner = self.design.layout(_among_branches(problem, count))
        layouts = [branch.layout(problem) for branch in self.branches.values()]
        users = problem.user_segments if segments > 1 else ()
        # Where the next part begins in params, arm, shared and work.
        at = [
            _EDGES + 8 * (1 + count) + len(users),
            0,
            2 * count * segments,
            (count + 7) // 8 + problem.num_arms + count,
        ]
        edges: list[float] = []
        for layout in (inner, *layouts):
            sizes = [len(layout.params), layout.arm, layout.shared, layout.work]
            if layout is inner:
                sizes[1] = 0
            for field, size in enumerate(sizes):
                edges += [at[field], at[field] + size]
                at[field] += size
            if layout is inner:
                at[2] += inner.arm * count
        header = (float(count), float(self.learn == "pooled"), float(segments), float(inner.arm))
        own = (value for layout in (inner, *layouts) for value in layout.params)
        return Layout(arm=at[1], shared=at[2], work=at[3], params=(*header, *edges, *map(float, users), *own))

    def record_names(self, problem: Problem) -> tuple[str, ...]:
        cells = (
            [f"{label} | {segment}" for label in self.branches for segment in problem.segment_names]
            if len(problem.segment_names) > 1
            else []
        )
        return (
            "testing",
            "shipped",
            *(f"{what}[{label}]" for what in ("visitors", "clicks") for label in self.branches),
            *(f"{what}[{cell}]" for what in ("visitors", "clicks") for cell in cells),
        )


def _among_branches(problem: Problem, count: int) -> Problem:
    return replace(problem, num_arms=count, null_arm=None)
