"""Tests at a few looks fixed beforehand: Lan-DeMets error spending, its boundaries, power and length."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from bandits.statistics.checks import require_fraction, require_power

FloatArray = NDArray[np.float64]
Spending = Literal["obrien-fleming", "pocock"]

_SMALLEST_GAP = 1e-4  # between looks; the grid grows as 1 / sqrt(gap)
_TAIL = 10.0  # the density of a path farther than this from its mean, in standard deviations, is below 1e-22
_LARGEST_BOUNDARY = 37.0  # log of a normal tail beyond this leaves the range of floats


class GroupSequentialDesign(NamedTuple):
    """Two-sided symmetric boundaries of a test with L looks; see `group_sequential_design`.

    At look l, stop and reject when |z| reaches `boundaries[l]`, z being the statistic of all data so far.
    `estimate ± boundaries[l] * standard error` is a repeated confidence interval: all L of them together cover the
    truth with probability at least `1 - alpha`.

    Attributes:
        information: Share of the planned data in at each look, increasing, in (0, 1], shape (L,).
        boundaries: Critical values of |z|, shape (L,); inf where the level left to spend is below 1e-298.
        nominal_levels: Two-sided p-value that reaches the boundary, shape (L,).
        spent: Type I error spent up to and including each look, shape (L,); the last is `alpha` if all data are in.
        alpha: Two-sided familywise level over the looks.
        spending: Type of spending function.
        method: The method in words.
    """

    information: FloatArray
    boundaries: FloatArray
    nominal_levels: FloatArray
    spent: FloatArray
    alpha: float
    spending: Spending
    method: str


def alpha_spent(information: ArrayLike, *, alpha: float = 0.05, spending: Spending = "obrien-fleming") -> FloatArray:
    """Two-sided type I error that may be spent once a share `information` of the planned data is in.

    Each side of the test spends `alpha / 2` by the one-sided function of Lan and DeMets: `2 - 2 Phi(z_{1-a/2} /
    sqrt(t))` (O'Brien-Fleming type) or `a log(1 + (e - 1) t)` (Pocock type) with `a = alpha / 2`, and the two sides
    are added. That is the convention of published tables and programs (5 looks at 5 percent: 4.877, 3.357, 2.680,
    2.290, 2.031); putting the two-sided `alpha` into the O'Brien-Fleming formula once would start at 4.383.

    Args:
        information: Shares in [0, 1], any shape.
        alpha: Two-sided level, in (0, 1).
        spending: `"obrien-fleming"` (little early, most at the end) or `"pocock"` (nearly even).

    Returns:
        Array of the shape of `information`; 0 at 0 and `alpha` at 1.

    References:
        Lan & DeMets, "Discrete sequential boundaries for clinical trials" (1983).

    >>> alpha_spent([0.5, 1.0], spending="pocock").round(4)
    array([0.031, 0.05 ])
    """
    share = np.asarray(information, dtype=np.float64)
    if not np.all((share >= 0) & (share <= 1)):
        raise ValueError(f"`information` must lie in [0, 1]. Got {information!r}.")
    require_fraction("alpha", alpha)
    if spending == "pocock":
        return np.asarray(alpha * np.log1p((math.e - 1) * share))
    if spending != "obrien-fleming":
        raise ValueError(f"`spending` must be one of {', '.join(get_args(Spending))}. Got {spending!r}.")
    with np.errstate(divide="ignore"):
        return np.asarray(4 * special.ndtr(special.ndtri(alpha / 4) / np.sqrt(share)))


def group_sequential_design(
    information: ArrayLike, *, alpha: float = 0.05, spending: Spending = "obrien-fleming"
) -> GroupSequentialDesign:
    """Boundaries of a two-sided test that looks at its data L times and keeps its level.

    Boundary l is the number that |z| reaches for the first time at look l with probability `spent[l] - spent[l - 1]`
    where there is no effect, found by recursive integration over the paths that went on. It depends on the looks up to
    l only, so the times of later looks may still change. For L = 1 it is the fixed test's quantile.

    Args:
        information: Share of the planned data at each look, shape (L,), increasing by at least 1e-4, in (0, 1];
            `np.arange(1, 6) / 5` are five equal looks. Where the last is below 1, part of `alpha` is left unspent.
        alpha: Two-sided familywise level, in (0, 1).
        spending: See `alpha_spent`.

    Raises:
        ValueError: When `information`, `alpha` or `spending` is out of range.

    References:
        Lan & DeMets (1983); Armitage, McPherson & Rowe, "Repeated significance tests on accumulating data" (1969);
        Jennison & Turnbull, "Group sequential methods" (2000), chapters 7 and 19.

    >>> group_sequential_design([0.2, 0.4, 0.6, 0.8, 1.0]).boundaries.round(3)
    array([4.877, 3.357, 2.68 , 2.29 , 2.031])
    """
    looks = _looks(information)
    spent = alpha_spent(looks, alpha=alpha, spending=spending)
    boundaries = np.empty_like(looks)
    path = _start(looks)
    for look, level in enumerate(np.diff(spent, prepend=0.0)):
        boundaries[look] = _boundary(path, level)
        path = path.stopped_at(boundaries[look])
    method = f"Lan-DeMets {spending} type spending over {len(looks)} looks, two-sided symmetric"
    nominal = 2 * special.ndtr(-boundaries)
    return GroupSequentialDesign(looks, boundaries, nominal, spent, alpha, spending, method)


def exit_probabilities(boundaries: ArrayLike, information: ArrayLike, drift: float = 0.0) -> FloatArray:
    """Probability that |z| reaches its boundary for the first time at each look, above and below.

    For any symmetric boundaries, so that also naive repeated tests (1.96 at every look) can be judged.

    Args:
        boundaries: Critical values of |z|, shape (L,), positive; inf where the look cannot stop.
        information: Share of the planned data at each look, shape (L,), as in `group_sequential_design`.
        drift: Expected z when all planned data are in: effect / standard error at information 1.

    Returns:
        Shape (L, 2): column 0 for z above, column 1 for z below. The sum of all is the power (at drift 0 the type I
        error), by column over looks that of each side. To about 1e-10 absolute.

    >>> float(exit_probabilities([1.96] * 5, [0.2, 0.4, 0.6, 0.8, 1.0]).sum().round(3))
    0.142
    """
    looks = _looks(information)
    critical = np.asarray(boundaries, dtype=np.float64)
    if critical.shape != looks.shape or not np.all(critical > 0):
        raise ValueError(f"`boundaries` must be {len(looks)} positive numbers, one for each look. Got {boundaries!r}.")
    if not math.isfinite(drift):
        raise ValueError(f"`drift` must be finite. Got {drift}.")
    result = np.empty((len(looks), 2))
    path = _start(looks, drift)
    for look, boundary in enumerate(critical):
        result[look] = path.exits(float(boundary))
        path = path.stopped_at(float(boundary))
    return result


def sequential_power(design: GroupSequentialDesign, drift: ArrayLike) -> FloatArray:
    """Probability that the design rejects, on either side and at any look.

    Args:
        design: From `group_sequential_design`.
        drift: Expected z when all planned data are in, any shape; for two rates over n visitors each,
            `(p_a - p_b) / sqrt((p_a q_a + p_b q_b) / n)`.

    Returns:
        Array of the shape of `drift`, in [0, 1].
    """
    return _for_each_drift(lambda value: exit_probabilities(design.boundaries, design.information, value).sum(), drift)


def expected_information(design: GroupSequentialDesign, drift: ArrayLike) -> FloatArray:
    """Expected share of the planned data at which the design stops: by rejecting, or else at its last look.

    Args:
        design: From `group_sequential_design`.
        drift: Expected z when all planned data are in, any shape.

    Returns:
        Array of the shape of `drift`, in (0, 1]; times `inflation_factor` it compares with a fixed test.
    """
    last = design.information[-1]

    def stops_at(value: float) -> float:
        exits = exit_probabilities(design.boundaries, design.information, value).sum(axis=1)
        return float(last - ((last - design.information) * exits).sum())

    return _for_each_drift(stops_at, drift)


def drift_for_power(design: GroupSequentialDesign, power: float = 0.8) -> float:
    """The expected z at information 1 at which the design rejects on the right side with probability `power`; positive.

    Rejections on the wrong side do not count, as in the usual formula for the size of a fixed test.

    Args:
        design: From `group_sequential_design`.
        power: In (0, 1), above `design.alpha`.

    Raises:
        ValueError: When `power` is out of range, or no look of the design can stop.
    """
    from scipy import optimize

    require_power(power, design.alpha)
    # One look alone has less power than all of them.
    enough = float(np.min((design.boundaries + max(special.ndtri(power), 0.0)) / np.sqrt(design.information)))
    if not math.isfinite(enough):
        raise ValueError("`design` must have a finite boundary at one look at least. Got a design that cannot reject.")

    def surplus(drift: float) -> float:
        return float(exit_probabilities(design.boundaries, design.information, drift)[:, 0].sum()) - power

    return float(optimize.brentq(surplus, 0.0, enough + 1e-6, xtol=1e-12))


def inflation_factor(design: GroupSequentialDesign, power: float = 0.8) -> float:
    """Largest sample size of the design over that of a fixed test with the same level and power; at least 1.

    A design's planned length is `inflation_factor * sample_size_two_proportions(...)` visitors per arm, rounded up.

    Args:
        design: From `group_sequential_design`.
        power: In (0, 1), above `design.alpha`.

    >>> round(inflation_factor(group_sequential_design([0.2, 0.4, 0.6, 0.8, 1.0]), power=0.9), 3)
    1.023
    """
    fixed = special.ndtri(1 - design.alpha / 2) + special.ndtri(power)
    return float((drift_for_power(design, power) / fixed) ** 2)


class _Path(NamedTuple):
    """Sub-density of the score process S(t) = sqrt(t) z(t), a Brownian motion with drift, on the paths not stopped.

    Attributes:
        looks: Times of all looks, (L,).
        drift: Drift of the process.
        look: Index of the coming look.
        nodes: Places at the look before, (G,); one place, 0, before the first.
        mass: Probability at each node, density times quadrature weight, (G,).
    """

    looks: FloatArray
    drift: float
    look: int
    nodes: FloatArray
    mass: FloatArray

    @property
    def _step(self) -> float:
        return float(self.looks[self.look] - (self.looks[self.look - 1] if self.look else 0.0))

    def log_exit(self, boundary: float) -> float:
        """Log probability that |z| reaches the boundary at the coming look."""
        edge, sd = boundary * math.sqrt(self.looks[self.look]), math.sqrt(self._step)
        centre = self.nodes + self.drift * self._step
        with np.errstate(divide="ignore"):
            log_mass = np.log(self.mass)
        tails = np.stack([special.log_ndtr((centre - edge) / sd), special.log_ndtr((-centre - edge) / sd)])
        return float(special.logsumexp(tails + log_mass))

    def exits(self, boundary: float) -> tuple[float, float]:
        """Probabilities that z is above and below the boundary at the coming look."""
        edge, sd = boundary * math.sqrt(self.looks[self.look]), math.sqrt(self._step)
        centre = self.nodes + self.drift * self._step
        above, below = special.ndtr((centre - edge) / sd), special.ndtr((-centre - edge) / sd)
        return float(self.mass @ above), float(self.mass @ below)

    def stopped_at(self, boundary: float) -> _Path:
        """The paths that stay inside the boundary at the coming look."""
        time, step = float(self.looks[self.look]), self._step
        ahead = self.looks[self.look + 1] - time if self.look + 1 < len(self.looks) else step
        low = math.sqrt(time) * max(-boundary, self.drift * math.sqrt(time) - _TAIL)
        high = math.sqrt(time) * min(boundary, self.drift * math.sqrt(time) + _TAIL)
        if low >= high:  # all but 1e-22 of the paths have stopped
            return self._replace(look=self.look + 1, nodes=np.zeros(1), mass=np.zeros(1))
        # Gauss-Legendre nodes dense enough for a normal kernel as narrow as the steps before and after.
        count = 40 + math.ceil(3 * (high - low) / math.sqrt(min(step, ahead)))
        places, weights = special.roots_legendre(count)
        nodes = (low + high) / 2 + (high - low) / 2 * places
        steps = nodes[:, None] - self.nodes - self.drift * step
        density = np.exp(-(steps**2) / (2 * step)) @ self.mass / math.sqrt(2 * math.pi * step)
        return self._replace(look=self.look + 1, nodes=nodes, mass=density * weights * (high - low) / 2)


def _start(looks: FloatArray, drift: float = 0.0) -> _Path:
    return _Path(looks, float(drift), 0, np.zeros(1), np.ones(1))


def _boundary(path: _Path, level: float) -> float:
    """The boundary that the coming look reaches with probability `level`."""
    from scipy import optimize

    if level <= 0 or math.log(level) < path.log_exit(_LARGEST_BOUNDARY):
        return math.inf
    wanted = math.log(level)
    return float(optimize.brentq(lambda z: path.log_exit(z) - wanted, 0.0, _LARGEST_BOUNDARY, xtol=1e-13))


def _for_each_drift(function: Callable[[float], float], drift: ArrayLike) -> FloatArray:
    values = np.asarray(drift, dtype=np.float64)
    return np.array([float(function(float(value))) for value in values.ravel()]).reshape(values.shape)


def _looks(information: ArrayLike) -> FloatArray:
    looks = np.asarray(information, dtype=np.float64)
    if looks.ndim != 1 or looks.size == 0 or not np.all((looks > 0) & (looks <= 1)):
        raise ValueError(f"`information` must be a vector of shares in (0, 1]. Got {information!r}.")
    if not np.all(np.diff(looks, prepend=0.0) >= _SMALLEST_GAP * (1 - 1e-9)):
        raise ValueError(f"`information` must increase by at least {_SMALLEST_GAP} from 0. Got {information!r}.")
    return looks
