from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments.studies.config import EffectsStudy, load_study
from experiments.studies.headline import NAIVE, headline, headline_effect
from experiments.studies.results import COLUMNS, TARGET


def row(policy: str, effect: float, measure: str, value: float, error: float, **more: str) -> dict[str, Any]:
    known = {"policy": policy, "effect": effect, "measure": measure, "value": value, "mc_error": error}
    known |= {"mc_low": value - 2 * error, "mc_high": value + 2 * error, "replications": 1000, "method": "known"}
    return {"estimator": "", "of": ""} | known | more


@pytest.fixture
def study(tmp_path: Path) -> EffectsStudy:
    (tmp_path / "s.yaml").write_text(
        "study: effects\nname: s\nbaseline: your A/B test\n"
        "world: {base_rate: 0.02, visitors: 20000, effects: [0, 0.002, 0.005, 0.01]}\n"
        "policies: {your A/B test: {policy: ABTest, visitors: 10000}, Thompson: {policy: BetaThompson}, UCB1: {}}\n"
    )
    config: EffectsStudy = load_study(tmp_path / "s.yaml").config
    return config


@pytest.fixture
def table() -> pd.DataFrame:
    rows = [
        row("your A/B test", 0, "rejects", 0.05, 0.002),
        row("your A/B test", 0.002, "rejects", 0.3, 0.01),
        row("your A/B test", 0.005, "rejects", 0.85, 0.01),
        row("Thompson", 0, "rejects", 0.12, 0.004),
        row("Thompson", 0.005, "saving", 0.4, 0.01),
        row("Thompson", 0.005, "coverage", 0.88, 0.003, estimator=NAIVE, of=TARGET),
        row("UCB1", 0.005, "saving", -0.2, 0.01),
        row("UCB1", 0.005, "coverage", 0.93, 0.002, estimator=NAIVE, of=TARGET),
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def test_the_sentence_of_known_numbers(study: EffectsStudy, table: pd.DataFrame) -> None:
    assert headline(study, table) == (
        "With 20,000 visitors and a base rate of 2 percent, Thompson loses 40.0 percent fewer clicks (Monte Carlo "
        "interval 38.0 to 42.0) than your A/B test at an effect of +0.5 percentage points; its naive interval (Wald) "
        "covers the true difference in 88.0 percent of the runs (Monte Carlo error 0.3) instead of 95. Thompson is the "
        "one of 2 that saves the most there, by these numbers. Where there is no effect, your A/B test finds one in "
        "5.0 percent (Monte Carlo error 0.2) of the runs, Thompson in 12.0 percent (Monte Carlo error 0.4)."
    )


def test_a_chosen_policy_may_lose_more(study: EffectsStudy, table: pd.DataFrame) -> None:
    chosen = study.model_copy(update={"headline": study.headline.model_copy(update={"policy": "UCB1"})})
    words = headline(chosen, table)
    assert "UCB1 loses 20.0 percent more clicks (Monte Carlo interval 18.0 to 22.0) than your A/B test" in words
    assert "saves the most" not in words


def test_a_saving_that_may_be_zero_is_not_sold_as_one(study: EffectsStudy, table: pd.DataFrame) -> None:
    table.loc[table["measure"] == "saving", ["value", "mc_low", "mc_high"]] = [0.01, -0.02, 0.04]
    words = headline(study, table)
    assert "loses as many clicks, as far as 1,000 replications can tell (from -4.0 to +2.0 percent), as your" in words


def test_the_effect_is_the_least_with_enough_power(study: EffectsStudy, table: pd.DataFrame) -> None:
    assert headline_effect(study, table) == 0.005
    weak = table[table["value"] != 0.85]
    assert headline_effect(study, weak) == 0.01
    chosen = study.model_copy(update={"headline": study.headline.model_copy(update={"effect": 0.002})})
    assert headline_effect(chosen, table) == 0.002
    assert "cannot be compared" not in headline(study, table)


def test_a_study_of_the_baseline_alone(study: EffectsStudy, table: pd.DataFrame) -> None:
    alone = study.model_copy(update={"policies": {"your A/B test": study.policies["your A/B test"]}})
    rows = pd.DataFrame([row("your A/B test", 0.01, "lost", 33.3, 0.1)], columns=list(COLUMNS))
    assert headline(alone, rows) == (
        "With 20,000 visitors and a base rate of 2 percent, your A/B test loses 33.3 clicks at an effect of +1 "
        "percentage points."
    )
