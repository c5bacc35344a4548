"""What an A/B design remembers, how it divides its visitors, and what a decision does.

All designs share this state: `params` hold the rule of division, `arm` the counts of each arm, `shared` the rest. A
visit's arm is a function of the visit, the salt and the past of the division alone, so that it can be found again when
a result comes, however late, without being stored.
"""

from __future__ import annotations

from typing import Any

from bandits.choice import choose_at, normalized
from bandits.core import FloatArray
from bandits.kernel import ScalarContext, ScalarFeedback, State
from bandits.machine_code import jit
from bandits.random import hashed_uniform, uniform
from bandits.variates import hashed_exponential

# `params`: the control, whether users are sticky, what a winner and what no winner leads to, the number of buckets of
# users, the number of stages S, then the share of every arm in every stage (S, K), then what the design adds.
CONTROL, BY_USER, IF_WINNER, IF_NONE, BUCKETS, STAGES, SHARES = range(7)
SHIP, SPLIT = 0.0, 1.0  # what a winner leads to
KEEP_CONTROL, KEEP_SPLIT, SHIP_BEST = 0.0, 1.0, 2.0  # what no winner leads to

# `shared`: a salt; the round of the visit at hand; number of arms at the start (0 before it); whether the test is over,
# its pick, the arm that gets everybody (or -1) and from which round; results counted; the stage and the round in which
# each stage began (S,); then what the design adds.
SALT, NOW, TAKING_PART, DECIDED, PICK, SHIPPED, SHIPPED_FROM, RESULTS, STAGE, STARTS = range(10)

# `arm`: visitors and clicks whose results are in, whether the arm took part from the start, the round from which it no
# longer does (0: it still does), a number for whoever computes; sums over units of visits^2, visits x clicks and
# clicks^2, and how many units there are; then what the design adds; then visits and clicks of each bucket.
VISITORS, CLICKS, TOOK_PART, LEFT, SCORE, VISITS_SQUARED, VISITS_CLICKS, CLICKS_SQUARED, UNITS, ARM_FIELDS = range(10)


@jit
def own_params(state: State) -> int:
    """Where the parameters that the design adds begin."""
    return int(SHARES + int(state.params[STAGES]) * state.arm.shape[1])


def start(state: State, random: Any) -> None:
    """Hook `start`: draw the salt of the division."""
    state.shared[SALT] = uniform(random)
    state.shared[PICK] = -1.0
    state.shared[SHIPPED] = -1.0


@jit
def begin(state: State, context: ScalarContext) -> bool:
    """At the first visit, let the arms take part that are there and have a share; True then."""
    if state.shared[TAKING_PART] > 0.0:
        return False
    for k in range(state.arm.shape[1]):
        if context.available[k] and state.params[SHARES + k] > 0.0:
            state.arm[TOOK_PART, k] = 1.0
            state.shared[TAKING_PART] += 1.0
    return True


@jit
def set_shares(state: State, round: int) -> None:
    """Into `work` (K,), each arm's share of the visit `round`; arms that came late or have left have none."""
    arms = state.arm.shape[1]
    stage = 0
    while stage < int(state.shared[STAGE]) and state.shared[STARTS + stage + 1] <= round:
        stage += 1
    for k in range(arms):
        left = 0.0 < state.arm[LEFT, k] <= round
        share = state.params[SHARES + stage * arms + k]
        state.work[k] = share * state.arm[TOOK_PART, k] if not left else 0.0


@jit
def assigned(state: State, context: ScalarContext) -> int:
    """The arm of a visit.

    Users keep their arm while shares stay, and move only to arms whose share grew, or away from one that left: each
    takes the arm with the smallest exponential draw of her own over its share (weighted rendezvous hashing).
    """
    if state.shared[SHIPPED] >= 0.0 and context.round >= state.shared[SHIPPED_FROM]:
        return int(state.shared[SHIPPED])
    set_shares(state, context.round)
    if state.params[BY_USER] == 0.0 or context.user_id < 0:
        return choose_at(state.work, context.available, hashed_uniform(state.shared[SALT], context.round))
    arm = -1
    smallest = 0.0
    for k in range(state.work.shape[0]):
        if context.available[k] and state.work[k] > 0.0:
            time = hashed_exponential(state.shared[SALT], context.user_id, k) / state.work[k]
            if arm < 0 or time < smallest:
                arm = k
                smallest = time
    return arm


def select(state: State, context: ScalarContext, random: Any) -> int:
    """Hook `select`."""
    begin(state, context)
    state.shared[NOW] = context.round
    return assigned(state, context)


def propensities(state: State, context: ScalarContext, out: FloatArray) -> None:
    """Hook `propensities`: over the salt, also where users are sticky."""
    begin(state, context)
    if state.shared[SHIPPED] >= 0.0 and context.round >= state.shared[SHIPPED_FROM]:
        for k in range(out.shape[0]):
            out[k] = 1.0 if k == int(state.shared[SHIPPED]) else 0.0
    else:
        set_shares(state, context.round)
        normalized(state.work, context.available, out)


@jit
def count(state: State, feedback: ScalarFeedback) -> bool:
    """Count a result, and say so; results that come after the decision, or of an earlier stage, do not count."""
    if state.shared[DECIDED] > 0.0 or feedback.context.round < state.shared[STARTS + int(state.shared[STAGE])]:
        return False
    k = feedback.chosen
    y = feedback.reward
    state.shared[RESULTS] += 1.0
    state.arm[VISITORS, k] += 1.0
    state.arm[CLICKS, k] += y
    buckets = int(state.params[BUCKETS])
    if buckets > 0:
        visits = clicks = 0.0
        if feedback.context.user_id >= 0:
            at = state.arm.shape[0] - 2 * buckets + 2 * (feedback.context.user_id % buckets)
            visits = state.arm[at, k]
            clicks = state.arm[at + 1, k]
            state.arm[at, k] = visits + 1.0
            state.arm[at + 1, k] = clicks + y
        state.arm[UNITS, k] += 1.0 if visits == 0.0 else 0.0
        state.arm[VISITS_SQUARED, k] += 2.0 * visits + 1.0
        state.arm[VISITS_CLICKS, k] += (visits + 1.0) * (clicks + y) - visits * clicks
        state.arm[CLICKS_SQUARED, k] += (clicks + y) * (clicks + y) - clicks * clicks
    return True


@jit
def next_stage(state: State) -> None:
    """Begin the next stage with the next visit, and its counts with nothing."""
    state.shared[STAGE] += 1.0
    state.shared[STARTS + int(state.shared[STAGE])] = state.shared[NOW] + 1.0
    state.shared[RESULTS] = 0.0
    for k in range(state.arm.shape[1]):
        for field in (VISITORS, CLICKS, VISITS_SQUARED, VISITS_CLICKS, CLICKS_SQUARED, UNITS):
            state.arm[field, k] = 0.0
        for field in range(state.arm.shape[0] - 2 * int(state.params[BUCKETS]), state.arm.shape[0]):
            state.arm[field, k] = 0.0


@jit
def competes(state: State, k: int) -> bool:
    """Whether the arm is in the test, and not as its control."""
    return bool(k != int(state.params[CONTROL]) and state.arm[TOOK_PART, k] > 0.0 and state.arm[LEFT, k] == 0.0)


@jit
def drop(state: State, k: int) -> None:
    """Let an arm leave the test with the next visit."""
    state.arm[LEFT, k] = state.shared[NOW] + 1.0


@jit
def decide(state: State, winner: int) -> None:
    """End the test with a winner, which may be the control, or without one (-1)."""
    control = int(state.params[CONTROL])
    state.shared[DECIDED] = 1.0
    state.shared[PICK] = control if winner < 0 else winner
    ships = state.params[IF_WINNER] == SHIP
    if winner < 0:
        ships = state.params[IF_NONE] != KEEP_SPLIT
        if state.params[IF_NONE] == SHIP_BEST:
            state.shared[PICK] = highest_rate(state)
    if ships:
        state.shared[SHIPPED] = state.shared[PICK]
        state.shared[SHIPPED_FROM] = state.shared[NOW] + 1.0


@jit
def rate(state: State, k: int) -> float:
    """Clicks per visitor; 0 without visitors."""
    return float(state.arm[CLICKS, k] / max(state.arm[VISITORS, k], 1.0))


@jit
def highest_rate(state: State) -> int:
    """The arm in the test with the highest observed rate; the control where it is as high."""
    best = int(state.params[CONTROL])
    for k in range(state.arm.shape[1]):
        if competes(state, k) and rate(state, k) > rate(state, best):
            best = k
    return best


def recommend(state: State) -> int:
    """Hook `recommend`: the pick of a test that is over."""
    return int(state.shared[PICK])


def record(state: State, out: FloatArray) -> None:
    """Hook `record`: whether the test runs, what is shipped, visitors and clicks of each arm."""
    arms = state.arm.shape[1]
    out[0] = 1.0 - state.shared[DECIDED]
    out[1] = state.shared[SHIPPED]
    for k in range(arms):
        out[2 + k] = state.arm[VISITORS, k]
        out[2 + arms + k] = state.arm[CLICKS, k]
