"""Size, speed and click rates of the newsroom's reward model when it is made smaller.

`python -m benchmarks.compression [--pairs N] [--set KEY=VALUE]`; fits are cached, so that a second run only measures.
"""

from __future__ import annotations

import argparse
import copy
import io
import statistics
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bandits.compiled.specialize import cache_folder
from bandits.reward_models import ClickLog, RewardModel, Split, drop_layers, prune_weights, split_log
from bandits.reward_models.baselines import counts
from bandits.reward_models.comparison import lead_in_log_loss
from bandits.reward_models.inference import Precision, has_bfloat16
from bandits.reward_models.metrics import log_loss
from bandits.reward_models.network import Network
from bandits.reward_models.pair_tokens import PairTokens
from bandits.reward_models.verdict import lead_in_words
from benchmarks.measure import Settings
from benchmarks.report import conditions, table
from experiments.config import load_config
from experiments.learned_worlds import read_source

FloatArray = NDArray[np.float64]

REPETITIONS = 3
KEPT = 1 / 3  # of the layers
PRUNED = (0.3, 0.6)
HEADERS = ("model", "MB", "pairs a second", "log loss", "above the first", "mean change", "largest change")


class Way(NamedTuple):
    """A model and how it computes."""

    name: str
    model: RewardModel
    precision: Precision = "float32"

    def rates(self, pairs: PairTokens) -> FloatArray:
        """Click rates of rows, shape (n,)."""
        return self.model.calibrator(self.model.network.logits(pairs, self.precision))

    def megabytes(self) -> float:
        """What its weights take when they are stored as it computes with them."""
        model = self.model.network.model
        if self.precision == "bfloat16":
            model = copy.deepcopy(model)
            model.encoder.to(torch.bfloat16)
        file = io.BytesIO()
        torch.save(model.state_dict(), file)
        return file.tell() / 1e6


def ways(log: ClickLog, split: Split, overrides: Sequence[str]) -> list[Way]:
    """The fitted model, then all that is made of it."""
    fit = load_config("newsroom", overrides).config.reward_model
    assert fit is not None
    cache = cache_folder()
    whole = RewardModel.fit(log, split, fit, cache=cache)
    depth = len(whole.network.model.layers)
    few = max(1, round(KEPT * depth))
    dropped = drop_layers(whole, range(few), log, split)
    with tempfile.TemporaryDirectory() as folder:
        teacher, start = Path(folder) / "teacher", Path(folder) / "start"
        whole.save(teacher)
        dropped.save(start)
        again = fit.model_copy(update={"weights": str(start), "sha256": None})
        alone = RewardModel.fit(log, split, again, cache=cache)
        distilled = RewardModel.fit(log, split, again.model_copy(update={"teacher": str(teacher)}), cache=cache)
    found = [Way("float32", whole)]
    if has_bfloat16(whole.network.device):
        found.append(Way("bfloat16", whole, "bfloat16"))
    if whole.network.device.type == "cpu":
        found.append(Way("int8, dynamic", in_int8(whole)))
    found += [
        Way(f"lowest {few} of {depth} layers", dropped),
        Way(f"lowest {few} of {depth} layers, fitted again", alone),
        Way(f"lowest {few} of {depth} layers, distilled", distilled),
    ]
    return found + [Way(f"pruned by {share:.0%}", prune_weights(whole, share, log, split)) for share in PRUNED]


def in_int8(model: RewardModel) -> RewardModel:
    """The model whose encoder's linear maps compute in int8, scales found batch by batch; its calibrator stays."""
    network = model.network
    smaller = copy.deepcopy(network.model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's, that all of this is deprecated
        quantize: Any = torch.ao.quantization.quantize_dynamic
        smaller.encoder = quantize(smaller.encoder, {nn.Linear}, dtype=torch.qint8)
        copied = Network(smaller, network.tokenizer, network.max_length, network.device)
    return RewardModel(copied, model.calibrator, model.kind, model.info)


def seconds(found: Sequence[Way], pairs: PairTokens) -> list[float]:
    """Seconds that each takes for the rows, the median over turns after one warm-up."""
    taken = []
    for _ in range(REPETITIONS + 1):
        turn = []
        for way in found:
            began = perf_counter()
            way.rates(pairs)
            turn.append(perf_counter() - began)
        taken.append(turn)
    return [statistics.median(each) for each in zip(*taken[1:], strict=True)]


def compared(found: Sequence[Way], split: Split, pairs: PairTokens) -> str:
    """The table; changes are of click rates of `pairs`, as shares of those of the first."""
    rows, first = [], found[0]
    impressions, clicks = counts(split.test)
    texts = split.test["user_text"].tolist(), split.test["item_text"].tolist()
    held_out = first.model.network.pair_tokenizer.rows(*texts)
    expected, predicted = first.rates(pairs), first.rates(held_out)
    for way, taken in zip(found, seconds(found, pairs), strict=True):
        rates = way.rates(held_out)
        lead = lead_in_log_loss(predicted, rates, impressions, clicks, split.test[split.by].tolist())
        change = np.abs(way.rates(pairs) / expected - 1)
        differs = [
            lead_in_words(asdict(lead)),
            f"{change.mean():.2%}",
            f"{change.max():.1%}",
        ]
        measured = [f"{way.megabytes():.1f}", f"{len(expected) / taken:,.0f}"]
        loss = f"{log_loss(rates, impressions, clicks):.5f}"
        rows.append([way.name, *measured, loss, *(["–"] * len(differs) if way is first else differs)])
    return table(HEADERS, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=4096, help="about how many are timed (default: 4096)")
    parser.add_argument(
        "--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE", help="a value of the config"
    )
    options = parser.parse_args(arguments)
    config = load_config("newsroom", options.overrides).config
    source = read_source(config)
    assert config.reward_model is not None
    assert source.newsroom is not None
    split = split_log(source.log, seed=config.reward_model.seed)
    found = ways(source.log, split, options.overrides)
    true = source.newsroom.true_table()
    items = [str(text) for text in true.item_texts[0]]
    users = [str(text) for text in true.user_texts[: max(1, options.pairs // len(items))]]
    pairs = found[0].model.network.pair_tokenizer.product(users, items)
    where = conditions(Settings(runs=REPETITIONS, seconds=0.0, images=None)).partition(" Medians")[0]
    print(f"{where} {torch.get_num_threads()} threads, {len(pairs.item):,} pairs, median of {REPETITIONS} turns.\n")
    print(compared(found, split, pairs))


if __name__ == "__main__":
    main()
