"""Parts of scores: in play they add up to what decides, by hand they are the textbook's, and asking changes nothing."""

import numpy as np
import pytest

from bandits import Context, Feedback, Problem, PropensityTable, RandomStreams, simulate
from bandits.engine import replay
from bandits.testing import check_score_parts
from envs import SimulatedUsers
from policies import (
    POLICIES,
    UCB1,
    ABTest,
    BetaThompson,
    BranchTest,
    EpsilonGreedy,
    Exp3,
    FixedSplit,
    LinearThompson,
    LinUCB,
    MatrixFactorization,
    PriorGreedy,
    PriorThompson,
    PriorUCB,
)

RNG = np.random.default_rng(21)
TABLE = PropensityTable.single_world(RNG.uniform(0.1, 0.7, (6, 4)))
USERS, ARMS = RNG.normal(size=(6, 3)), RNG.normal(size=(4, 3))
PRIOR = np.clip(TABLE.p + RNG.normal(0, 0.1, TABLE.p.shape), 0.05, 0.95)
SCORED = {
    "UCB1": lambda: UCB1(0.3),
    "EpsilonGreedy": lambda: EpsilonGreedy(0.0),
    "BetaThompson": lambda: BetaThompson(1.0, 3.0),
    "LinUCB": lambda: LinUCB(0.4),
    "LinUCB product": lambda: LinUCB(0.4, features="product", user_components=2, arm_components=3),
    "LinearThompson": lambda: LinearThompson(0.3),
    "LinearThompson product": lambda: LinearThompson(0.3, features="product", user_components=2, arm_components=3),
    "PriorGreedy": lambda: PriorGreedy(),
    "PriorUCB": lambda: PriorUCB(width=0.3),
    "PriorUCB fixed": lambda: PriorUCB(20.0, 0.3),
    "PriorThompson": lambda: PriorThompson(),
    "PriorThompson fixed": lambda: PriorThompson(20.0),
    "MatrixFactorization": lambda: MatrixFactorization(epsilon=0.0),
}


def world(num_envs):
    return SimulatedUsers(
        TABLE, num_envs=num_envs, user_features=USERS, arm_features=ARMS, prior=PRIOR, available_from=[0, 0, 5, 30]
    )


def contexts(rounds):
    """Visits of two users at a time, in which an arm is missing at first, with fractional rewards of every arm."""
    rng = np.random.default_rng(4)
    for t in range(rounds):
        user = rng.integers(6, size=2)
        available = np.ones((2, 4), dtype=bool)
        available[:, 3] = t >= 20
        yield Context(
            np.full(2, t), user, np.full(2, t / 100), USERS[user], np.broadcast_to(ARMS, (2, 4, 3)), available,
            PRIOR[0, user],
        ), rng.random((2, 4))  # fmt: skip


def play(policy, rounds=60):
    """Yield (context, parts, arms) before the policy learns of the visit."""
    policy.reset(Problem(2, 4, 3, 3, horizon=rounds, num_users=6, has_prior=True), RandomStreams(9, 2))
    for context, rewards in contexts(rounds):
        parts = policy.score_parts(context)
        arms = policy.select(context)
        yield context, parts, arms
        reward = np.take_along_axis(rewards, arms[:, None], 1)[:, 0]
        policy.update(Feedback(np.arange(2), context, arms, reward[:, None], reward))


@pytest.mark.parametrize("name", SCORED)
def test_the_parts_add_up_to_what_decides(name):
    policy = SCORED[name]()
    for context, parts, arms in play(policy):
        assert tuple(parts) == policy.part_names
        score = sum(parts.values())
        assert np.array_equal(np.isnan(score), ~context.available)
        best = np.nanmax(score, axis=1)
        chosen = np.take_along_axis(score, arms[:, None], 1)[:, 0]
        ties = np.isclose(score, best[:, None], rtol=1e-12, atol=1e-13).sum(axis=1) > 1
        # Where arms tie, for example unseen ones, chance decides among them.
        np.testing.assert_array_equal(np.nanargmax(score, axis=1)[~ties], arms[~ties])
        np.testing.assert_allclose(chosen[ties], best[ties], rtol=1e-12)


@pytest.mark.parametrize("name", SCORED)
def test_asking_changes_nothing(name):
    asked = [arms for _, _, arms in play(SCORED[name]())]
    silent = SCORED[name]()
    silent.score_parts = lambda context: None
    np.testing.assert_array_equal(asked, [arms for _, _, arms in play(silent)])


def play_and_remember(policy):
    """Yield (round, context, parts, history) of the first replication; history holds (context, arm, reward)."""
    history = []
    for t, (context, parts, arms) in enumerate(play(policy)):
        yield t, context, {name: part[0] for name, part in parts.items()}, history
        _, rewards = list(contexts(t + 1))[-1]
        history.append((context, arms[0], rewards[0, arms[0]]))


def counts(history):
    arms, rewards = np.array([h[1] for h in history], dtype=int), np.array([h[2] for h in history])
    return np.bincount(arms, minlength=4), np.bincount(arms, rewards, minlength=4)


def test_ucb1_by_hand():
    for t, context, parts, history in play_and_remember(UCB1(0.3)):
        pulls, total = counts(history)
        seen = context.available[0] & (pulls > 0)
        np.testing.assert_allclose(parts["estimate"][seen], total[seen] / pulls[seen])
        np.testing.assert_allclose(parts["bonus"][seen], np.sqrt(0.3 * np.log(t + 1) / pulls[seen]))
        assert np.all(np.isinf(parts["estimate"][context.available[0] & (pulls == 0)]))


def test_posterior_means_by_hand():
    for _, context, parts, history in play_and_remember(BetaThompson(1.0, 3.0)):
        pulls, total = counts(history)
        expected = np.where(context.available[0], (1 + total) / (4 + pulls), np.nan)
        np.testing.assert_allclose(parts["posterior mean"], expected)


@pytest.mark.parametrize(("policy", "third"), [(PriorUCB(20.0, 0.3), "bonus"), (PriorThompson(20.0), "draw")])
def test_prior_and_evidence_by_hand(policy, third, monkeypatch):
    """Where all visitors have the same prediction q, m of n + m visits are the prior's, of which q clicked."""
    same = np.broadcast_to([0.2, 0.5, 0.4, 0.3], PRIOR.shape)
    monkeypatch.setitem(globals(), "PRIOR", same)
    for t, context, parts, history in play_and_remember(policy):
        pulls, total = counts(history)
        here = context.available[0]
        np.testing.assert_allclose(parts["prior"][here], (20 * same[0, 0] / (20 + pulls))[here])
        np.testing.assert_allclose(parts["evidence"][here], (total / (20 + pulls))[here], atol=1e-12)
        if third == "bonus":
            np.testing.assert_allclose(parts["bonus"][here], np.sqrt(0.3 * np.log(t + 1) / (20 + pulls))[here])


def features(context, arm, kind):
    """What a linear model multiplies with its coefficients."""
    user = np.append(1.0, context.user[0])
    return user if kind == "disjoint" else np.outer(user[:3], np.append(1.0, context.arms[0, arm])).ravel()


@pytest.mark.parametrize("kind", ["disjoint", "product"])
@pytest.mark.parametrize("maker", [LinUCB, LinearThompson])
def test_linear_policies_by_hand(maker, kind):
    """Estimates are those of ridge regression; bonuses are standard errors."""
    policy = maker(0.4, 2.0, features=kind, user_components=2, arm_components=3)
    for t, context, parts, history in play_and_remember(policy):
        if t % 10 != 9:
            continue
        for arm in np.flatnonzero(context.available[0]):
            x = features(context, arm, kind)
            rows = [(features(c, k, kind), r) for c, k, r in history if kind == "product" or k == arm]
            gram = 2.0 * np.eye(len(x)) + sum(np.outer(f, f) for f, _ in rows)
            moments = sum((f * r for f, r in rows), np.zeros(len(x)))
            assert parts["estimate"][arm] == pytest.approx(x @ np.linalg.solve(gram, moments), abs=1e-9)
            if maker is LinUCB:
                assert parts["bonus"][arm] == pytest.approx(0.4 * np.sqrt(x @ np.linalg.solve(gram, x)), abs=1e-9)


def test_matrix_factorization_by_hand():
    """With vectors of next to no length, all is in the biases."""
    policy = MatrixFactorization(factors=2, learning_rate=0.5, regularization=0.1, epsilon=0.0, spread=1e-9)
    common, users, items = 0.0, np.zeros(6), np.zeros(4)
    for _, context, parts, history in play_and_remember(policy):
        for seen, arm, reward in history[-1:]:
            user = seen.user_id[0]
            error = reward - 1 / (1 + np.exp(-(common + users[user] + items[arm])))
            common += 0.5 * error
            items[arm] += 0.5 * (error - 0.1 * items[arm])
            users[user] += 0.5 * (error - 0.1 * users[user])
        here = context.available[0]
        np.testing.assert_allclose(parts["log-odds of all"][here], common)
        np.testing.assert_allclose(parts["of the user"][here], users[context.user_id[0]])
        np.testing.assert_allclose(parts["of the item"][here], items[here])
        np.testing.assert_allclose(parts["of the match"][here], 0.0, atol=1e-9)


def test_policies_without_a_score_say_so():
    scored = {type(make()).__name__ for make in SCORED.values()}
    problem = Problem(1, 4, 3, 3, horizon=60, num_users=6, has_prior=True)
    context, _ = next(contexts(1))
    for policy in (FixedSplit(), Exp3(0.1), BranchTest({"ucb": UCB1(), "greedy": EpsilonGreedy()}, ABTest(30))):
        policy.reset(problem, RandomStreams(1, 1))
        assert policy.score_parts(context.take(np.array([0]))) is None
    designs = {name for name in POLICIES if name.endswith("Test")}
    assert set(POLICIES) - scored == designs | {
        "FixedSplit",
        "Exp3",
        "NoRecommendation",
        "NeuralGreedy",
        "RefittedModel",
    }


@pytest.mark.parametrize("name", ["PriorThompson", "MatrixFactorization"])
def test_a_replayed_policy_stands_where_the_simulation_left_it(name):
    """Lockstep plays through Gymnasium and leaves its policy behind; its arms tell where the stream of draws is."""
    played, replayed = SCORED[name](), SCORED[name]()
    env = world(1)
    simulate(env, played, horizon=50, seed=5, first_replication=3, engine="lockstep")
    replay(world(1), replayed, horizon=50, seed=5, replication=3)
    for context, _ in contexts(30):
        one = context.take(np.array([0]))
        for left, right in zip(played.score_parts(one).values(), replayed.score_parts(one).values(), strict=True):
            np.testing.assert_array_equal(left, right)
        assert played.select(one) == replayed.select(one)


class Talkative(BetaThompson):
    """Draws from the stream itself, not from a copy."""

    def score_parts(self, context):
        self._random.uniform()
        return super().score_parts(context)


class Forgetful(UCB1):
    """Gives parts of arms that are not there."""

    def score_parts(self, context):
        return {name: np.nan_to_num(part) for name, part in super().score_parts(context).items()}


@pytest.mark.parametrize(("policy", "message"), [(Talkative, "must change no choice"), (Forgetful, "must be NaN")])
def test_parts_that_break_the_contract_are_caught(policy, message):
    with pytest.raises(AssertionError, match=message):
        check_score_parts(policy)


@pytest.mark.faults
def test_replaying_several_replications_is_refused():
    with pytest.raises(ValueError, match=r"`env` must have 1 replication\. Got 2"):
        replay(world(2), UCB1(), horizon=5, seed=1)
