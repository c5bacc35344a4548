"""The benchmarks of fits and of smaller models: their tables against `evaluate`, and what they do to texts."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bandits.reward_models import ClickLog, FitConfig, click_log_from_frame, evaluate, resolve_weights, split_log
from benchmarks import ablation, compression, text_variants

pytestmark = pytest.mark.model

SMALL = [
    "reward_model.weights=tiny",
    "reward_model.max_train_rows=100",
    "reward_model.epochs=1",
    "reward_model.device=cpu",
    "data.users=60",
    "data.headlines=6",
    "data.impressions=60000",
]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLICK_BANDITS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def setting_of(log: ClickLog, **changes: Any) -> ablation.Setting:
    config = FitConfig(weights="tiny", epochs=1, learning_rate=5e-3, device="cpu", **changes)
    return ablation.Setting(log, split_log(log, fractions=(0.4, 0.2, 0.2, 0.2)), config)


def cells(table: str) -> dict[str, list[str]]:
    """Cells of each row of a Markdown table, by the first."""
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in table.splitlines() if line[:2] == "| "]
    return {row[0]: row[1:] for row in rows}


def value(cell: str) -> float:
    return float(cell.partition(" ")[0])


def test_table_of_tests_says_what_evaluate_says(tests_frame: pd.DataFrame) -> None:
    setting = setting_of(click_log_from_frame(tests_frame), loss="within_test")
    known = ablation.variants(setting.log, Path("teacher"), {})
    assert {"both", "no-overdispersion"} < known.keys()
    assert not {"bi", "bi-distilled"} & known.keys(), "there are no users to read apart"
    models = {name: ablation.fitted(known[name](setting)) for name in ("full", "lora", "both")}
    held = {name: ablation.held(model, setting.split) for name, model in models.items()}
    rows = cells(ablation.held_out(held, setting.log, setting.split))
    expected = {name: evaluate(model, setting.split)["models"]["BERT"] for name, model in models.items()}
    names = ("conditional_log_loss", "pairwise_accuracy", "pairwise_accuracy_significant")
    for name, model in models.items():
        for place, (measure, sign) in enumerate(zip(names, (-1, 1, 1), strict=True)):
            found, lead = rows[name][4 + 2 * place : 6 + 2 * place]
            assert value(found) == pytest.approx(expected[name][measure], abs=1e-4)
            if name != "full":
                difference = sign * (expected[name][measure] - expected["full"][measure])
                assert value(lead) == pytest.approx(difference, abs=2e-5)
        assert rows[name][0] == f"{model.info['parameters']['trained']:,}"
        assert rows[name][3] == f"{model.info['history'][0]['validation_loss']:.5f}"


def test_command_fits_variants_and_writes_their_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    page = tmp_path / "fine-tuning.md"
    marks = "<!-- ablation on newsroom: written by the benchmarks -->", "<!-- end of ablation on newsroom -->"
    page.write_text(f"before\n\n{marks[0]}\nold\n{marks[1]}\n\nafter\n")
    overrides = [word for override in SMALL for word in ("--set", override)]
    names = ["head", "members", "bi-distilled", "continued", "synonyms", "case"]
    ablation.main([*overrides, "--write", str(tmp_path), "--rows", *names])
    printed, written = capsys.readouterr().out.strip(), page.read_text()
    assert written == f"before\n\n{marks[0]}\n\n{printed}\n\n{marks[1]}\n\nafter\n"
    rows = cells(printed)
    assert [name for name in rows if name not in ("variant", "---")] == ["full", *names[:-1]]
    assert "`case` was left out: tiny reads no capitals" in printed
    assert rows["head"][0] == "33"
    assert rows["members"][1] == "300.00%"
    assert len({rows[name][3] for name in rows}) >= len(names), "each was fitted in another way"
    fits = sorted(cache.glob("fit-*"))
    assert len(fits) == 7, "full, which is a member too; two more members; four others"
    before = [(fit / "model" / "reward_model.json").stat().st_mtime_ns for fit in fits]
    ablation.main([*overrides, "--rows", "head", "bi-distilled", "continued"])
    assert [(fit / "model" / "reward_model.json").stat().st_mtime_ns for fit in sorted(cache.glob("fit-*"))] == before


def test_a_recommender_is_stacked_under_the_network(pairs_frame: pd.DataFrame) -> None:
    setting = setting_of(click_log_from_frame(pairs_frame))
    known = ablation.variants(setting.log, Path("teacher"), {})
    train = setting.split.train
    for enter in ("logit", "tokens"):
        changed = known[f"stacked-{enter}"](setting)
        assert changed.config.embeddings_enter == enter
        assert changed.log.columns is not None
        users = changed.log.columns.sides[0]
        seen = np.isin(users.texts, train["user_text"])
        assert 0 < seen.sum() < len(seen)
        standard = changed.log.columns.standardised(train).sides
        np.testing.assert_allclose(standard[0].values[~seen], 0, atol=1e-9)
        assert not np.isclose(standard[0].values[seen], 0).all(axis=1).any()
        scores = ablation.held(ablation.fitted(changed), setting.split).scores
        assert np.isfinite(scores).all()
    # Clicks of users that are held out decide nothing.
    other = setting.split.test.assign(clicks=0)
    blind = ablation.stacked(setting._replace(split=replace(setting.split, test=other, calibration=other)), "logit")
    assert blind.log.columns is not None
    np.testing.assert_array_equal(blind.log.columns.sides[0].values, users.values)
    with pytest.raises(ValueError, match="has columns of its own"):
        ablation.stacked(changed, "logit")


@pytest.mark.faults
def test_unknown_variants_and_pages_without_a_place_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = [word for override in SMALL for word in ("--set", override)]
    with pytest.raises(SystemExit):
        ablation.main([*overrides, "--rows", "nothing"])
    assert "VARIANT must be one of full, head" in capsys.readouterr().err
    (tmp_path / "fine-tuning.md").write_text("nothing\n")
    with pytest.raises(ValueError, match=r"must have one section between .* Got 0"):
        ablation.main([*overrides, "--write", str(tmp_path)])
    (tmp_path / "words.csv").write_text("a,b\n")
    with pytest.raises(ValueError, match="must have the columns word,synonym"):
        text_variants.read_synonyms(tmp_path / "words.csv")


def test_smaller_models_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    compression.main(["--pairs", "60", *(word for override in SMALL for word in ("--set", override))])
    rows = cells(capsys.readouterr().out)
    dropped = {"lowest 1 of 2 layers", "lowest 1 of 2 layers, fitted again", "lowest 1 of 2 layers, distilled"}
    assert {"float32", "int8, dynamic", "pruned by 30%", "pruned by 60%"} | dropped < rows.keys()
    size = {name: value(row[0]) for name, row in rows.items() if name not in ("model", "---")}
    assert max(size["int8, dynamic"], *(size[name] for name in dropped)) <= size["float32"] == size["pruned by 30%"]


def test_int8_rounds_linear_maps_and_nothing_else(pairs_frame: pd.DataFrame) -> None:
    setting = setting_of(click_log_from_frame(pairs_frame.iloc[:100]))
    model: Any = ablation.fitted(setting)
    whole = compression.Way("float32", model)
    small = compression.Way("int8", compression.in_int8(model))
    exact, kinds = model.network.model.state_dict(), set()
    for name, module in small.model.network.model.named_modules():
        if "quantized" in type(module).__module__ and hasattr(module, "weight") and callable(module.weight):
            kinds.add(name.rpartition(".")[2])
            weight, old = module.weight().dequantize().numpy(), exact[f"{name}.weight"].numpy()
            np.testing.assert_allclose(weight, old, atol=np.abs(old).max() / 127 / 2 * 1.02)
            assert not np.array_equal(weight, old)
    assert kinds == {"query", "key", "value", "dense"}
    pairs = model.network.pair_tokenizer.rows(["Reader 1 loves sport"], ["News about money today"])
    np.testing.assert_allclose(small.rates(pairs), whole.rates(pairs), rtol=0.05)
    assert small.megabytes() < whole.megabytes()
    assert compression.Way("bfloat16", model, "bfloat16").megabytes() < 0.6 * whole.megabytes()


def test_training_rows_are_said_otherwise(tests_frame: pd.DataFrame, pairs_frame: pd.DataFrame) -> None:
    tests = setting_of(click_log_from_frame(tests_frame), loss="within_test").split
    changed = text_variants.said_otherwise(tests, lambda text: text.replace("amazing story 1", "great story 1"))
    own, more = tests.train, changed.train.iloc[len(tests.train) :]
    assert changed.train.iloc[: len(own)].equals(own)
    hit = own.loc[own["item_text"].str.startswith("amazing story 1"), "contrast"]
    assert 0 < len(hit) < own["contrast"].nunique()
    copied = own[own["contrast"].isin(hit)]
    assert more["item_text"].tolist() == [text.replace("amazing story 1", "great story 1") for text in copied.item_text]
    assert more[["clicks", "impressions", "group"]].to_numpy().tolist() == (
        copied[["clicks", "impressions", "group"]].to_numpy().tolist()
    )
    assert not set(more["contrast"]) & set(own["contrast"])
    assert more["contrast"].nunique() == len(hit), "copies of a test are a test of their own"
    assert changed.test.equals(tests.test)

    pairs = setting_of(click_log_from_frame(pairs_frame)).split
    more = text_variants.said_otherwise(pairs, lambda text: text.replace("money", "cash")).train.iloc[
        len(pairs.train) :
    ]
    assert len(more) == pairs.train["item_text"].str.contains("money").sum()
    assert set(more["item_text"]) == {"News about cash today"}


def test_synonyms_keep_capitals() -> None:
    words = {"amazing": "astonishing", "kids": "children", "a": "one"}
    said = text_variants.with_synonyms("AMAZING Kids, kidskin; amazing: A kid's kids", words)
    assert said == "ASTONISHING Children, kidskin; astonishing: One kid's children"
    table = text_variants.read_synonyms(ablation.SYNONYMS)
    assert all(word == word.lower() != synonym == synonym.lower() for word, synonym in table.items())


def test_weights_go_on_learning_words(tmp_path: Path) -> None:
    import torch

    from bandits.reward_models.network import Network

    texts = [f"news about {topic} {number}" for number in range(8) for topic in ("money", "sport", "music")]
    how: dict[str, Any] = {"max_length": 16, "device": "cpu", "seed": 3}
    (tmp_path / "cache").mkdir()
    folder = text_variants.continued("tiny", texts, tmp_path / "cache", **how)
    weights, cpu = resolve_weights("tiny", texts=texts), torch.device("cpu")
    start = Network.from_weights(weights, max_length=16, device=cpu, seed=3)
    after = Network.from_weights(resolve_weights(str(folder)), max_length=16, device=cpu, seed=3)
    assert after.tokenizer("news about money")["input_ids"] == start.tokenizer("news about money")["input_ids"]
    moved = []
    for name, old in start.model.encoder.state_dict().items():
        new = after.model.encoder.state_dict()[name]
        # AdamW's first step: each weight by its rate, decayed by a hundredth of that.
        assert (new - old).abs().max() <= 5e-5 * (1.001 + 0.01 * old.abs().max()) + 1e-7, name
        moved.append(float((new - old).abs().max()))
    assert np.mean(np.array(moved) > 4e-5) > 0.8
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert text_variants.continued("tiny", texts, tmp_path / "cache", **how) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    other = text_variants.continued("tiny", texts, tmp_path / "cache", **copy.copy(how) | {"seed": 4})
    assert resolve_weights(str(other)).sha256 != resolve_weights(str(folder)).sha256
