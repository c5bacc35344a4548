"""Two processes that make the same fit: one fits, the other waits; an interruption leaves no lock behind."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from filelock import FileLock

from bandits.reward_models import FitConfig, RewardModel, click_log_from_frame, reward_model, split_log

pytestmark = pytest.mark.model

CONFIG = FitConfig(weights="tiny", tuning="head", epochs=1, device="cpu")


def fit(frame: pd.DataFrame, cache: Path) -> RewardModel:
    log = click_log_from_frame(frame.iloc[:100])
    return RewardModel.fit(log, split_log(log, fractions=(0.4, 0.2, 0.2, 0.2)), CONFIG, cache=cache)


@pytest.mark.faults
def test_the_second_waits_says_so_and_takes_what_the_first_fitted(
    pairs_frame: pd.DataFrame, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fit(pairs_frame, tmp_path)
    (folder,) = tmp_path.glob("fit-*")
    (folder / "model").rename(tmp_path / "not yet done")
    monkeypatch.setattr(reward_model, "train", lambda *_, **__: pytest.fail("fitted again"))
    with caplog.at_level(logging.WARNING), ThreadPoolExecutor(1) as pool:
        with FileLock(folder / "fit.lock", thread_local=False):
            second = pool.submit(fit, pairs_frame, tmp_path)
            until = time.monotonic() + 30
            while not caplog.messages and not second.done() and time.monotonic() < until:
                time.sleep(0.01)
            assert not second.done()
            (told,) = caplog.messages
            assert told.startswith("Another process makes the same fit: waiting until it is done")
            (tmp_path / "not yet done").rename(folder / "model")
        assert second.result().fingerprint() == first.fingerprint()


@pytest.mark.faults
def test_an_interrupted_fit_leaves_no_lock(
    pairs_frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(reward_model, "train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(pairs_frame, tmp_path)
    (folder,) = tmp_path.glob("fit-*")
    with FileLock(folder / "fit.lock", timeout=0):
        pass
    fit(pairs_frame, tmp_path)
