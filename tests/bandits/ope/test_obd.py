"""The Open Bandit Dataset: a tiny copy of its layout always, the published sample where it lies beside the checkout."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bandits.ope import evaluate_policy, read_obd, uniform

SAMPLE = Path(__file__).parents[4] / "shared" / "data" / "obd"


@pytest.fixture
def tiny(tmp_path):
    """Two rows of a campaign with two items, the later row first."""
    folder = tmp_path / "random" / "men"
    folder.mkdir(parents=True)
    rows = {
        "timestamp": ["2019-11-24 12:00:00+00:00", "2019-11-24 00:00:00.5+00:00"],
        "item_id": [1, 0],
        "position": [3, 1],
        "click": [0, 1],
        "propensity_score": [0.5, 0.5],
        "user_feature_0": ["b", "a"],
        **{f"user_feature_{i}": ["x", "x"] for i in (1, 2, 3)},
        **{f"user-item_affinity_{i}": [0.0, 2.0] for i in (0, 1)},
    }
    pd.DataFrame(rows).to_csv(folder / "men.csv")
    pd.DataFrame({"item_id": [0, 1]}).to_csv(folder / "item_context.csv")
    return folder


def test_layout_by_hand(tiny):
    log = read_obd(tiny)
    np.testing.assert_array_equal(log.chosen, [0, 1])
    np.testing.assert_array_equal(log.reward, [1.0, 0.0])
    np.testing.assert_array_equal(log.position, [1, 3])
    np.testing.assert_array_equal(log.features, [[1, 0, 1, 1, 1], [0, 1, 1, 1, 1]])
    np.testing.assert_allclose(log.time, [0.0, (43200 - 0.5) / 86400])
    np.testing.assert_array_equal(log.propensities, 0.5)
    assert not log.adaptive
    assert log.name == "obd/random/men"
    np.testing.assert_array_equal(read_obd(tiny, affinity=True).features[:, 5:], [[2, 2], [0, 0]])


def test_propensities_may_go_by_the_other_name(tiny):
    frame = pd.read_csv(tiny / "men.csv").rename(columns={"propensity_score": "action_prob"})
    frame.to_csv(tiny / "men.csv")
    np.testing.assert_array_equal(read_obd(tiny).propensity, [0.5, 0.5])
    frame.drop(columns="action_prob").to_csv(tiny / "men.csv")
    with pytest.raises(ValueError, match="Got no propensity_score"):
        read_obd(tiny)


@pytest.mark.faults
def test_what_is_not_the_dataset(tiny, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"women\.csv"):
        read_obd(tmp_path / "random" / "women")
    frame = pd.read_csv(tiny / "men.csv").drop(columns="click")
    frame.to_csv(tiny / "men.csv")
    with pytest.raises(ValueError, match="Got no click"):
        read_obd(tiny)
    (tmp_path / "random").rename(tmp_path / "other")
    with pytest.raises(ValueError, match=r"a folder named random or bts\. Got .other."):
        read_obd(tmp_path / "other" / "men")


@pytest.mark.skipif(not SAMPLE.is_dir(), reason=f"needs the Open Bandit Dataset's sample in {SAMPLE}")
@pytest.mark.parametrize(("campaign", "items", "clicks"), [("men", 34, (46, 69)), ("women", 46, (46, 46))])
def test_published_sample(campaign, items, clicks):
    random, thompson = (read_obd(SAMPLE / policy / campaign) for policy in ("random", "bts"))
    for log, expected in zip((random, thompson), clicks, strict=True):
        assert (len(log), log.num_arms, log.reward.sum()) == (10_000, items, expected)
    assert thompson.adaptive
    np.testing.assert_array_equal(random.propensities, 1 / items)
    on_policy = evaluate_policy(random, uniform(random), predictions=np.zeros((10_000, items)))
    assert on_policy.values["IPS"].estimate == pytest.approx(0.0046, abs=1e-12)
    # What the random policy earned lies in the interval of its value from the other policy's log.
    found = evaluate_policy(thompson, uniform(thompson)).values["adaptively weighted DR"]
    assert found.low < random.reward.mean() < found.high
