"""The policies as a data scientist writes them in NumPy: one replication, a loop over rounds, arrays over the arms.

Each function plays one replication and returns its pseudo-regret. They are straightforward, not slow on purpose; where
the obvious script does needless work, a second one with the better algorithm stands below it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def ucb1(horizon: int, seed: int, means: FloatArray) -> float:
    """UCB1 (Auer, Cesa-Bianchi and Fischer 2002, figure 1)."""
    rng = np.random.default_rng(seed)
    arms = len(means)
    pulls, rewards, regret = np.zeros(arms), np.zeros(arms), 0.0
    for t in range(horizon):
        arm = t if t < arms else int(np.argmax(rewards / pulls + np.sqrt(2 * np.log(t + 1) / pulls)))
        pulls[arm] += 1
        rewards[arm] += rng.random() < means[arm]
        regret += means.max() - means[arm]
    return regret


def epsilon_greedy(horizon: int, seed: int, means: FloatArray, epsilon: float = 0.1) -> float:
    """Epsilon-greedy with a constant epsilon; an arm that was never shown counts as the best."""
    rng = np.random.default_rng(seed)
    arms = len(means)
    pulls, rewards, estimates, regret = np.zeros(arms), np.zeros(arms), np.full(arms, np.inf), 0.0
    for _ in range(horizon):
        arm = int(rng.integers(arms)) if rng.random() < epsilon else int(np.argmax(estimates))
        pulls[arm] += 1
        rewards[arm] += rng.random() < means[arm]
        estimates[arm] = rewards[arm] / pulls[arm]
        regret += means.max() - means[arm]
    return regret


def beta_thompson(horizon: int, seed: int, means: FloatArray) -> float:
    """Thompson sampling with Beta(1, 1) priors (Chapelle and Li 2011, algorithm 2)."""
    rng = np.random.default_rng(seed)
    a, b, regret = np.ones(len(means)), np.ones(len(means)), 0.0
    for _ in range(horizon):
        arm = int(np.argmax(rng.beta(a, b)))
        if rng.random() < means[arm]:
            a[arm] += 1
        else:
            b[arm] += 1
        regret += means.max() - means[arm]
    return regret


def exp3(horizon: int, seed: int, means: FloatArray, exploration: float = 0.1) -> float:
    """EXP3 (Auer, Cesa-Bianchi, Freund and Schapire 2002, figure 1), with logarithms of the weights."""
    rng = np.random.default_rng(seed)
    arms = len(means)
    logs, regret = np.zeros(arms), 0.0
    for _ in range(horizon):
        weights = np.exp(logs - logs.max())
        probabilities = (1 - exploration) * weights / weights.sum() + exploration / arms
        arm = int(rng.choice(arms, p=probabilities))
        if rng.random() < means[arm]:
            logs[arm] += exploration / (arms * probabilities[arm])
        regret += means.max() - means[arm]
    return regret


def linucb(horizon: int, seed: int, p: FloatArray, features: FloatArray, alpha: float = 0.5) -> float:
    """Disjoint LinUCB, literally (Li, Chu, Langford and Schapire 2010, algorithm 1).

    Args:
        horizon: Number of rounds.
        seed: Seed.
        p: Click probabilities, shape (U, K).
        features: What is seen of the users, shape (U, P).
        alpha: Number of standard errors.
    """
    rng = np.random.default_rng(seed)
    (users, arms), size = p.shape, features.shape[1]
    gram, moment, regret = np.array([np.eye(size)] * arms), np.zeros((arms, size)), 0.0
    for _ in range(horizon):
        user = rng.integers(users)
        x = features[user]
        scores = np.empty(arms)
        for k in range(arms):
            inverse = np.linalg.inv(gram[k])
            scores[k] = inverse @ moment[k] @ x + alpha * np.sqrt(x @ inverse @ x)
        arm = int(np.argmax(scores))
        gram[arm] += np.outer(x, x)
        moment[arm] += (rng.random() < p[user, arm]) * x
        regret += p[user].max() - p[user, arm]
    return regret


def linucb_with_inverses(horizon: int, seed: int, p: FloatArray, features: FloatArray, alpha: float = 0.5) -> float:
    """The same policy with the inverses kept (Sherman and Morrison), and all arms in one matrix product."""
    rng = np.random.default_rng(seed)
    (users, arms), size = p.shape, features.shape[1]
    inverse, coefficients, regret = np.array([np.eye(size)] * arms), np.zeros((arms, size)), 0.0
    for _ in range(horizon):
        user = rng.integers(users)
        x = features[user]
        products = inverse @ x
        arm = int(np.argmax(coefficients @ x + alpha * np.sqrt(products @ x)))
        _learn(inverse[arm], coefficients[arm], products[arm], x, rng.random() < p[user, arm])
        regret += p[user].max() - p[user, arm]
    return regret


def linear_thompson(horizon: int, seed: int, p: FloatArray, features: FloatArray, scale: float = 0.5) -> float:
    """Linear Thompson sampling with one model per arm, literally (Agrawal and Goyal 2013, algorithm 1)."""
    rng = np.random.default_rng(seed)
    (users, arms), size = p.shape, features.shape[1]
    gram, moment, regret = np.array([np.eye(size)] * arms), np.zeros((arms, size)), 0.0
    for _ in range(horizon):
        user = rng.integers(users)
        x = features[user]
        scores = np.empty(arms)
        for k in range(arms):
            inverse = np.linalg.inv(gram[k])
            scores[k] = rng.multivariate_normal(inverse @ moment[k], scale**2 * inverse) @ x
        arm = int(np.argmax(scores))
        gram[arm] += np.outer(x, x)
        moment[arm] += (rng.random() < p[user, arm]) * x
        regret += p[user].max() - p[user, arm]
    return regret


def linear_thompson_by_projection(
    horizon: int, seed: int, p: FloatArray, features: FloatArray, scale: float = 0.5
) -> float:
    """The same policy with the inverses kept, and one normal number per arm for x' theta: the same law."""
    rng = np.random.default_rng(seed)
    (users, arms), size = p.shape, features.shape[1]
    inverse, coefficients, regret = np.array([np.eye(size)] * arms), np.zeros((arms, size)), 0.0
    for _ in range(horizon):
        user = rng.integers(users)
        x = features[user]
        products = inverse @ x
        deviations = scale * np.sqrt(products @ x)
        arm = int(np.argmax(coefficients @ x + deviations * rng.standard_normal(arms)))
        _learn(inverse[arm], coefficients[arm], products[arm], x, rng.random() < p[user, arm])
        regret += p[user].max() - p[user, arm]
    return regret


def _learn(inverse: FloatArray, coefficients: FloatArray, product: FloatArray, x: FloatArray, reward: float) -> None:
    """One more row x for one arm: `inverse` (P, P) and `coefficients` (P,) in place; `product` is inverse times x."""
    scale = 1.0 / (1.0 + product @ x)
    coefficients += scale * (reward - coefficients @ x) * product
    inverse -= np.outer(scale * product, product)
