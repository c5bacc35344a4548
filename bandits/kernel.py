"""Kernels: a policy or a world written as scalar code, for one user at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Hook = Callable[..., Any]
Wrap = Callable[[Hook], Hook]


class ScalarContext(NamedTuple):
    """What a kernel or a scalar policy sees of one visit: a row of `Context`.

    Attributes:
        round: Number of the visit, from 0.
        user_id: Index of the user, -1 when anonymous.
        time: Days since the start.
        user: User features, shape (D,).
        arms: Arm features, shape (K, E).
        available: Whether each arm may be chosen, shape (K,).
        prior: Predicted mean reward of each arm, shape (K,); shape (0,) where there is none.
    """

    round: int
    user_id: int
    time: float
    user: FloatArray
    arms: FloatArray
    available: NDArray[np.bool_]
    prior: FloatArray


class ScalarFeedback(NamedTuple):
    """What came of one choice: a row of `Feedback`.

    Attributes:
        context: What was seen when the choice was made.
        chosen: The arm.
        outcomes: What happened, shape (J,).
        reward: The number to maximise.
        propensity: Probability with which the arm was chosen; NaN when unknown.
    """

    context: ScalarContext
    chosen: int
    outcomes: FloatArray
    reward: float
    propensity: float


class State(NamedTuple):
    """What a kernel policy remembers of one replication. All of it is 0 at the start, except `params`.

    Attributes:
        params: Hyperparameters from `Layout.params`, shape (P,); the same for all replications, not to be changed.
        arm: A number of fields for every arm, field first, shape (A, K).
        shared: Fields that belong to no arm, shape (S,).
        work: Scratch that need not survive the round, shape (Q,).
    """

    params: FloatArray
    arm: FloatArray
    shared: FloatArray
    work: FloatArray


class Layout(NamedTuple):
    """How much state a kernel policy needs.

    Attributes:
        arm: Number of fields per arm `A`.
        shared: Number of shared fields `S`.
        work: Number of scratch fields `Q`.
        params: Hyperparameters as numbers, in an order that the hooks know.
    """

    arm: int = 0
    shared: int = 0
    work: int = 0
    params: tuple[float, ...] = ()

    def bytes(self, num_arms: int) -> int:
        """Memory of one replication's state."""
        return 8 * (self.arm * num_arms + self.shared + self.work)


@dataclass(frozen=True)
class Kernel:
    """The hooks of a kernel policy: plain functions of numbers and arrays, which the engine compiles together.

    Hooks allocate nothing, raise nothing and use `bandits.random`, `bandits.special`, `math` and functions compiled
    with `bandits.jit`. Write products instead of `**`, whose last bit depends on who computes it.

    Attributes:
        select: `(state, context, random) -> arm`.
        update: `(state, feedback, random)`; feedback may be of an earlier round.
        start: `(state, random)`, once before the first round.
        propensities: `(state, context, out)` fills `out` (K,) with the probabilities that `select` would choose each
            arm; it must not draw.
        stop: `(state) -> bool`, whether enough has been seen.
        recommend: `(state) -> arm`, or -1.
        record: `(state, out)` fills `out` (M,) with the values that `KernelPolicy.record_names` names.
        parts: `(state, context, random, out)` fills `out` (M, K) with the parts, `KernelPolicy.part_names`, whose sum
            `select` would compare. It gets a copy of the stream, and draws from it what `select` would draw.
    """

    select: Hook
    update: Hook
    start: Hook | None = None
    propensities: Hook | None = None
    stop: Hook | None = None
    recommend: Hook | None = None
    record: Hook | None = None
    parts: Hook | None = None

    def link(self, wrap: Wrap) -> Kernel:
        """The same kernel with `wrap` (compile, or leave alone) applied to every hook."""
        return replace(self, **_wrapped(self, wrap))


@dataclass(frozen=True)
class ComposedKernel:
    """A kernel made of other kernels: a wrapper, or a split over several policies.

    Attributes:
        children: The kernels inside.
        compose: `(children, wrap) -> Kernel` builds hooks that call the (already wrapped) hooks of the children, and
            wraps each function that it defines. Hooks may be closures over the children's hooks and over constants.
    """

    children: tuple[Kernel | ComposedKernel, ...]
    compose: Callable[[Sequence[Kernel], Wrap], Kernel]

    def link(self, wrap: Wrap) -> Kernel:
        """The composed kernel, with `wrap` applied to every hook of it and of its children."""
        return self.compose([child.link(wrap) for child in self.children], wrap)


class World(NamedTuple):
    """One replication's world, as its kernel sees it.

    Attributes:
        tables: Whatever arrays the environment keeps, in a NamedTuple of its own; read only.
        number: Which of the `W` worlds this is.
        keys: Keys of the random streams by role, uint64, shape (NUM_ROLES,): `word(world.keys[CLICKS], round, 0)`.
        state: What changes during the replication, shape (Z,); 0 at the start.
    """

    tables: Any
    number: int
    keys: NDArray[np.uint64]
    state: FloatArray


@dataclass(frozen=True)
class WorldKernel:
    """The hooks of an environment that can be compiled into the loop. The same rules hold as for `Kernel`.

    Attributes:
        arrive: `(world, round, user, arms, available, prior) -> user_id`: who comes, and what is seen of her. It fills
            the buffers `user` (D,), `arms` (K, E), `available` (K,) and `prior` (K,), which keep what was written in
            earlier rounds.
        truth: `(world, round, user_id, available, arm) -> (mean, best, fixed)`: true mean reward of the arm, of the
            best available arm, and of the best single arm.
        respond: `(world, round, user_id, arm, outcomes) -> reward`: fills `outcomes` (J,).
        start: `(world, user, arms, available, prior)`, once before the first round; buffers begin as zeros, with every
            arm available.
    """

    arrive: Hook
    truth: Hook
    respond: Hook
    start: Hook | None = None

    def link(self, wrap: Wrap) -> WorldKernel:
        """The same kernel with `wrap` (compile, or leave alone) applied to every hook."""
        return replace(self, **_wrapped(self, wrap))


def _wrapped(kernel: Kernel | WorldKernel, wrap: Wrap) -> dict[str, Any]:
    return {field.name: wrap(hook) for field in fields(kernel) if (hook := getattr(kernel, field.name))}
