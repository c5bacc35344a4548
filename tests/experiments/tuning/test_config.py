from pathlib import Path

import pytest

from experiments.problems import ConfigError
from experiments.tuning import config as tuning_config
from experiments.tuning.config import bundled_tunings, load_tuning


def test_defaults_come_from_the_experiment(tuning: Path) -> None:
    loaded = load_tuning(tuning)
    config = loaded.config
    assert (config.metric, config.search.replications, config.evaluation.replications) == ("regret", 6, 6)
    assert config.evaluation.seed == 3
    assert loaded.labels == ("UCB1", "EpsilonGreedy 0.1")
    small = load_tuning(tuning, ["search.trials=40", "search.replications=50"], quick=True)
    assert (small.config.name, small.config.search.trials, small.config.search.replications) == ("widths-quick", 5, 6)


def test_values_reach_the_experiment_by_path(tuning: Path) -> None:
    values = {"policies.EpsilonGreedy 0.1.epsilon": 0.3, "policies.UCB1.width": 1e-7}
    policies = load_tuning(tuning).with_values(values).config.policies
    assert policies["EpsilonGreedy 0.1"]["epsilon"] == 0.3
    assert policies["UCB1"]["width"] == 1e-7


@pytest.mark.parametrize("name", sorted(bundled_tunings()))
def test_bundled_searches_are_valid(name: str) -> None:
    assert load_tuning(name).config.name == name


@pytest.mark.faults
def test_all_mistakes_are_reported_at_once(tuning: Path) -> None:
    text = tuning.read_text(encoding="utf-8").replace(
        "  policies.UCB1.width: {low: 0.01, high: 4, log: true}\n",
        "  policies.UCB1.widht: [1, 2]\n"
        "  policies.UCB1.width: [0.5, wide, -1]\n"
        "  policies.UBC1.width: [1, 2]\n"
        "  policies.UCB1.stream: [1, 2]\n"
        "  policies.UCB1: [1, 2]\n"
        "  reward_model.epochs: [1, 2]\n"
        "  simulation.horizon: [10, 20]\n"
        "  policies.FixedSplit.weights: {low: 2, high: 1}\n",
    )
    tuning.write_text(text.replace("seed: 11", "sead: 11"), encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        load_tuning(tuning, ["search.trials=0"])
    for message in (
        "search.sead: unknown key. Did you mean `seed`?",
        "search.seed: required, but missing.",
        "search.trials: must be greater than or equal to 1. Got 0.",
        "policies.UCB1.widht: `UCB1` has no such parameter. Did you mean `width`?",
        "`width` must lie in [0.0, inf). Got -1",
        "wide",
        "space.policies.UBC1.width: must begin with the label of a policy. Did you mean `UCB1`?",
        "space.policies.UCB1.stream: cannot be searched: it is luck.",
        "space.policies.UCB1: must name a parameter",
        "space.reward_model.epochs: the experiment has no reward model with data source `bernoulli`.",
        "space.simulation.horizon: must begin with `policies.` or `reward_model.`",
        "space.policies.FixedSplit.weights: `low` must be less than `high`. Got 2 and 1.",
    ):
        assert message in str(refused.value)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["search.seed=3"], "search.seed: must differ from the seed of the evaluation"),
        (["search.seed=8", "evaluation.seed=8"], "Got 8, which is `evaluation.seed`."),
        (["search.method=grid"], "must be a list of choices where `search.method` is grid"),
        (["search.method=grid"], "search.trials: must be left out: a grid is tried whole. Got 6."),
        (["search.trials=null"], "search.trials: required where `search.method` is random"),
        (["search.method=baies"], "Did you mean `bayes`?"),
        (["metric=validation_loss"], "must be regret, regret_fixed or reward for policies"),
        (["experiment=smal.yaml"], "experiment: must be a config file or a bundled experiment. Got `smal.yaml`."),
        (["overrides=[seeed=3]"], "experiment: seeed: unknown key. Did you mean `seed`?"),
        (["space={}"], "space: must be"),
        (["space=3"], "space: must be a section (keys and values). Got 3."),
        (["search=bayes"], "search: must be a section (keys and values). Got 'bayes'."),
        (["overrides=3"], "overrides: must be a valid list. Got 3."),
        (["space.3=[1, 2]"], "space.3: must begin with `policies.` or `reward_model.`"),
        (["experiment=upworthy"], "experiment: data.path: must be the archive's CSV file"),
    ],
)
def test_what_cannot_be_searched_is_refused(tuning: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_tuning(tuning, overrides)
    assert message in str(refused.value)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["space={reward_model.seed: [1, 2]}"], "space.reward_model.seed: cannot be searched: it is luck"),
        (["space={reward_model.members: [1, 2]}"], "space.reward_model.members: cannot be searched: a search judges"),
        (["space={reward_model.calibration: [platt, beta]}"], "fitted after the network"),
        (["space={reward_model.epochs: [0, 2]}"], "reward_model.epochs: must be greater than or equal to 1. Got 0."),
        (
            ["space={policies.LinUCB.alpha: [0.1, 1], reward_model.epochs: [1, 2]}"],
            "not of both: they are judged by different numbers",
        ),
        (["search.replications=10"], "search.replications: must be left out: a reward model is fitted once. Got 10."),
        (["search.seed=0"], "Got 0, which is the reward model's own."),
        (["metric=regret"], "metric: must be validation_loss for a reward model. Got regret."),
    ],
)
def test_searches_over_the_reward_model_have_rules_of_their_own(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_tuning("newsroom-model", overrides)
    assert message in str(refused.value)


@pytest.mark.faults
def test_without_optuna_the_extra_is_named(tuning: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning_config.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"search.method: 'bayes' needs .* pip install click-bandits\[search\]"):
        load_tuning(tuning, ["search.method=bayes"])
    load_tuning(tuning)
