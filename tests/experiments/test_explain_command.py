"""`bandits explain`: what it prints, from a model's folder and from a run's, and what it refuses."""

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from bandits.reward_models import (
    FitConfig,
    RewardModel,
    click_log_from_frame,
    explain_click,
    fit_reward_model,
    split_log,
)
from experiments import explain_command
from experiments.cli import app
from experiments.explain_command import why_no_words


def call(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["explain", *arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.model
def test_it_prints_the_words_of_both_texts(tmp_path: Path) -> None:
    rows = [(f"reader {u}", f"story of {word}", 50, u % 5) for u in range(40) for word in ("rain", "sun")]
    log = click_log_from_frame(pd.DataFrame(rows, columns=["user_text", "item_text", "impressions", "clicks"]))
    config = FitConfig(weights="tiny", epochs=1, learning_rate=1e-3, max_length=16)
    model = RewardModel.fit(log, split_log(log), config, cache=tmp_path / "fits")
    model.save(tmp_path / "run" / "reward_model")
    expected = explain_click(model, "reader 7", "story of rain").to_text()
    for folder in (tmp_path / "run" / "reward_model", tmp_path / "run"):
        code, out, _ = call(str(folder), "--item", "story of rain", "--user", "reader 7")
        assert code == 0
        assert out.strip() == expected
    code, out, _ = call(str(tmp_path / "run"), "--item", "story of rain")
    assert code == 0
    assert "(user)" not in out
    code, _, err = call(str(tmp_path / "run"), "--item", " ")
    assert code == 2
    assert "`item_text` must not be empty" in err


@pytest.mark.model
@pytest.mark.faults
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "bi"}, "`model` must be a cross-encoder"),
        ({"members": 2}, "must hold a single model. Got an ensemble: try its member"),
    ],
)
def test_what_cannot_be_explained_is_refused(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    rows = [(f"reader {u}", f"story of {word}", 50, u % 5) for u in range(40) for word in ("rain", "sun")]
    log = click_log_from_frame(pd.DataFrame(rows, columns=["user_text", "item_text", "impressions", "clicks"]))
    settings = {"weights": "tiny", "epochs": 1, "learning_rate": 1e-3, "max_length": 16}
    config = FitConfig.model_validate(settings | changes)
    fit_reward_model(log, split_log(log), config, cache=tmp_path / "fits").save(tmp_path / "model")
    code, _, err = call(str(tmp_path / "model"), "--item", "story of rain")
    assert code == 2
    assert message in err
    assert why_no_words(config)
    assert not why_no_words(FitConfig())


@pytest.mark.faults
def test_a_folder_without_a_model_and_a_missing_library_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = call(str(tmp_path), "--item", "story")
    assert code == 2
    assert "`folder` must hold a saved reward model" in err
    monkeypatch.setattr(explain_command, "has_captum", lambda: False)
    code, _, err = call(str(tmp_path), "--item", "story")
    assert code == 2
    assert "pip install 'click-bandits[explain]'" in err
