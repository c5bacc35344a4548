"""The refitted model with LoRA against fits by hand, planted clicks, and itself played in other company."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from bandits import Problem, PropensityTable, RandomStreams, simulate
from bandits.core import Context
from bandits.reward_models import FitConfig
from envs import BernoulliBandit, SimulatedUsers
from policies import FixedSplit, RefittedModel
from policies.refitted.lora import FIELDS, lora_config

pytestmark = pytest.mark.model

USERS = tuple(f"an {mood} reader of {what}" for mood in ("eager", "weary") for what in ("books", "papers", "mails"))
ITEMS = tuple(f"{topic} {what}" for topic in ("sport", "money") for what in ("news", "today", "tips"))
CLICKS = np.array([[0.3 * ("eager" in u) + (0.6 if "money" in i else 0.1) for i in ITEMS] for u in USERS])
TINY = {"weights": "tiny", "epochs": 2, "learning_rate": 0.03, "batch_size": 4, "rank": 4}
TINY |= {"device": "cpu", "precision": "float32"}


def lora(every: int, **settings: Any) -> RefittedModel:
    return RefittedModel(every, **{"model": "lora", "lora": TINY} | settings)


def world(num_envs: int, users: tuple[str, ...] = USERS) -> SimulatedUsers:
    table = PropensityTable.single_world(CLICKS, user_texts=users, item_texts=ITEMS)
    return SimulatedUsers(table, num_envs=num_envs)


def everybody(num_users: int = 6) -> Context:
    """A visit of each user, one in each replication."""
    return Context(
        round=np.zeros(num_users, np.int64),
        user_id=np.arange(num_users),
        time=np.zeros(num_users),
        user=np.zeros((num_users, 0)),
        arms=np.zeros((num_users, 6, 0)),
        available=np.ones((num_users, 6), dtype=bool),
    )


def rates_of(policy: RefittedModel, n: int) -> np.ndarray:
    """What the deployed model of a replication predicts, shape (U, K)."""
    models = np.repeat(policy._deployed[n : n + 1], len(USERS), axis=0)
    return expit(policy._learner.scores(models, everybody())).mean(axis=1)


@pytest.mark.parametrize(("weighting", "architecture"), [("ipw", "cross"), ("uniform", "bi")])
def test_a_refit_is_the_usual_fit_of_the_visits_added_up_by_hand(
    weighting: str, architecture: str, tmp_path: Path
) -> None:
    import torch

    from bandits.reward_models.network import Network
    from bandits.reward_models.training import train
    from bandits.reward_models.weights import resolve_weights

    settings = TINY | {"architecture": architecture}
    policy = lora(
        60, memory="window", memory_size=40, weighting=weighting, largest_weight=6.0, epsilon=0.3, lora=settings
    )
    log: list[tuple[Any, ...]] = []

    def listen(feedback: Any, chances: np.ndarray) -> None:
        for n in range(2):
            user, arm = int(feedback.context.user_id[n]), int(feedback.chosen[n])
            log.append((n, user, arm, float(chances[n, arm]), float(feedback.reward[n])))

    simulate(world(2), policy, horizon=120, seed=4, events=listen)
    for n in range(2):
        window = [row[1:] for row in log if row[0] == n][-40:]
        inverse = [min(1 / p, 6.0) if weighting == "ipw" else 1.0 for _, _, p, _ in window]
        assert (len(set(inverse)) > 1) == (weighting == "ipw")
        sums: dict[tuple[int, int], list[float]] = {}
        for (user, arm, _, reward), weight in zip(window, inverse, strict=True):
            pair = sums.setdefault((user, arm), [0.0, 0.0])
            pair[0] += weight * 40 / sum(inverse)
            pair[1] += weight * 40 / sum(inverse) * reward
        rows = pd.DataFrame(
            {
                "user_text": [USERS[user] for user, _ in sorted(sums)],
                "item_text": [ITEMS[arm] for _, arm in sorted(sums)],
                "impressions": [sums[pair][0] for pair in sorted(sums)],
                "clicks": [sums[pair][1] for pair in sorted(sums)],
                "contrast": range(len(sums)),
            }
        )
        seed = int(np.random.SeedSequence((int(policy._salts[n] * 2**53), 1)).generate_state(1)[0])
        config = FitConfig(**settings, tuning="lora", seed=seed)
        network = Network.from_weights(
            resolve_weights("tiny", texts=sorted({*USERS, *ITEMS})),
            max_length=32,
            device=torch.device("cpu"),
            seed=seed,
            architecture=config.architecture,
        )
        train(network, rows, rows, config, tmp_path / str(n), show=False)
        texts = [(user, item) for user in USERS for item in ITEMS]
        logits = network.logits(network.pair_tokenizer.rows(*zip(*texts, strict=True)))
        np.testing.assert_allclose(rates_of(policy, n).ravel(), expit(logits), atol=1e-5)
        assert logits.std() > 0.02  # or it would be no test


def test_texts_that_say_who_clicks_are_learned() -> None:
    policy = lora(150, refits=2, epsilon=0.1, lora=TINY | {"epochs": 4})
    learned = simulate(world(2), policy, horizon=450, seed=1)
    blind = simulate(world(2), FixedSplit(), horizon=450, seed=1)
    assert (learned.regret[-1] < 0.6 * blind.regret[-1]).all()
    assert len(policy.refit_seconds) == 2
    found = [rates_of(policy, n) for n in range(2)]
    assert all(np.corrcoef(rates.ravel(), CLICKS.ravel())[0, 1] > 0.6 for rates in found)
    assert all(rates[:3].mean() > rates[3:].mean() for rates in found)  # eager readers click more


@pytest.mark.parametrize(("exploration", "times"), [("epsilon", 2), ("ensemble", 1)])
def test_a_replication_is_the_same_alone_in_company_and_again(exploration: str, times: int) -> None:
    settings = TINY | {"epochs": 1}
    policy = lora(50, exploration=exploration, ensemble=2, memory="replay", memory_size=20, guard=0.2, lora=settings)
    whole = simulate(world(2), policy, horizon=100, seed=3)
    models, under_test = policy._deployed[1].copy(), policy._candidate[1].copy()
    assert np.ptp(models) > 0
    assert not np.array_equal(models, under_test)  # each fit has luck of its own
    for _ in range(times):
        alone = simulate(world(1), policy, horizon=100, seed=3, first_replication=1)
        np.testing.assert_array_equal(alone.pulls[0], whole.pulls[1])
        np.testing.assert_array_equal(policy._deployed[0], models)
        np.testing.assert_array_equal(policy._candidate[0], under_test)
    assert (exploration == "ensemble") == (len(models) == 2)
    if exploration == "ensemble":
        assert not np.array_equal(*models)


def test_visitors_without_texts_are_one() -> None:
    policy = lora(60)
    trace = simulate(world(1, ("",) * 6), policy, horizon=60, seed=1)
    assert policy._deployed.shape == (1, 1, 6)
    rates = rates_of(policy, 0)
    np.testing.assert_array_equal(rates, np.repeat(rates[:1], 6, axis=0))
    assert np.ptp(rates[0]) > 0
    assert trace.reward[-1, 0] > 0
    problem = Problem(2, 6, arm_texts=ITEMS)
    policy.reset(problem, RandomStreams(1, 2))
    anonymous = everybody(2)
    anonymous.user_id[:] = -1
    assert policy.select(anonymous).shape == (2,)


def test_settings_are_those_of_a_fit_and_few_are_left_out() -> None:
    assert set(FIELDS) < set(FitConfig.model_fields)
    config = lora_config({"rank": 3, "device": "cpu"})
    assert config == FitConfig(tuning="lora", rank=3, device="cpu", learning_rate=1e-3)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"model": "bert"}, ValueError, "`model` must be head or lora. Got 'bert'."),
        ({"model": "head", "lora": {}}, ValueError, "`lora` must be None where `model` is 'head'. Got {}."),
        ({"lora": {"members": 2}}, ValueError, "`lora` must hold weights, sha256, .* only. Got 'members'."),
        ({"lora": {"rank": 0}}, ValueError, "`lora.rank` must be greater than or equal to 1. Got 0."),
        ({"lora": {"targets": "query"}}, ValueError, "`lora.targets` must be a valid list. Got 'query'."),
        ({"lora": "tiny"}, TypeError, "`lora` must be fields of FitConfig by name. Got 'tiny'."),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        lora(10, **settings)


@pytest.mark.faults
def test_a_problem_without_texts_is_refused() -> None:
    tables = {name: PropensityTable.single_world(CLICKS, item_texts=tuple(name + i for i in ITEMS)) for name in "ab"}
    other = PropensityTable(
        **{**vars(PropensityTable.interleaved({"a": tables["a"], "b": tables["a"]}))}
        | {"item_texts": np.concatenate([table.item_texts for table in tables.values()])}
    )
    for env in (BernoulliBandit([0.1, 0.2]), SimulatedUsers(other)):
        with pytest.raises(ValueError, match="needs arms with texts, the same ones in all replications"):
            simulate(env, lora(10), horizon=5, seed=1)
    with pytest.raises(ValueError, match=r"texts of \(2, 6\) users and arms. Got \(1, 6\)."):
        lora(10).reset(Problem(1, 6, num_users=2, user_texts=("a",), arm_texts=ITEMS), RandomStreams(1, 1))


@pytest.mark.faults
def test_what_is_not_installed_is_said_before_the_first_visitor(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = "/nowhere/weights"
    with pytest.raises(FileNotFoundError, match=gone):
        lora(10, lora={"weights": gone}).reset(world(1).problem(), RandomStreams(1, 1))
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "peft" else found(name, *rest))
    with pytest.raises(ModuleNotFoundError, match=r"`model` must be 'head' .* 'click-bandits\[adapters\]'"):
        lora(10).reset(world(1).problem(), RandomStreams(1, 1))
