"""Pairs a second of filling a propensity table, beside the model's bare forward pass on perfectly packed batches.

`python -m benchmarks.scoring [--device cuda] [--pairs N] [--size mini|base]`; the model is built from a config, with
random weights: what it says does not matter here.
"""

from __future__ import annotations

import argparse
import copy
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch
from transformers import BertConfig, BertModel, BertTokenizer

from bandits.reward_models import Calibrator, RewardModel, score_users_by_items
from bandits.reward_models.cross_encoder import CrossEncoder
from bandits.reward_models.fit_config import ScoringConfig
from bandits.reward_models.inference import TOKENS_PER_BATCH, Precision, has_bfloat16
from bandits.reward_models.network import Network
from bandits.reward_models.tiny_bert import word_pieces
from bandits.torch_device import choose_device

REPETITIONS = 5
ITEMS = 64
SIZES: dict[str, dict[str, Any]] = {
    "mini": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
}
VOCABULARY = 30_522  # of BERT: the word embeddings are as large as in earnest


@dataclass(frozen=True)
class Measured:
    """Medians over the repetitions.

    Attributes:
        size: Name of the model's size.
        device: Kind of device.
        precision: What it computed in.
        pairs: Number of pairs.
        tokens: Mean number of real tokens of a pair.
        seconds: Filling the table, tokenizing included.
        pairs_per_second: Pairs over `seconds`.
        tokens_per_second: Real tokens over `seconds`.
        share: Tokens a second as a share of those of the bare forward pass, measured in turns.
    """

    size: str
    device: str
    precision: Precision
    pairs: int
    tokens: float
    seconds: float
    pairs_per_second: float
    tokens_per_second: float
    share: float

    def row(self) -> str:
        """A row of the Markdown table."""
        counts = f"{self.pairs:,} | {self.tokens:.1f} | {self.seconds:.1f}"
        rates = f"{self.pairs_per_second:,.0f} | {self.tokens_per_second:,.0f} | {self.share:.0%}"
        return f"| {self.size} | {self.device} | {self.precision} | {counts} | {rates} |"


HEADER = (
    "| model | device | precision | pairs | tokens a pair | seconds | pairs a second | tokens a second "
    "| share of the bare forward pass |\n|---|---|---|--:|--:|--:|--:|--:|--:|"
)


def texts(count: int, tokens: int, seed: int) -> list[str]:
    """Different texts of `tokens` words on average, between half and one and a half times as many."""
    random = np.random.default_rng(seed)
    words = [f"{first}{last}" for first in ("ba", "ko", "li", "mu", "ne") for last in ("r", "st", "n", "ld", "ck")]
    sizes = random.integers(max(1, tokens // 2), tokens + (tokens + 1) // 2, size=count, endpoint=True)
    return [" ".join(random.choice(words, size=size)) for size in sizes]


def random_network(size: str, device: torch.device, known: Sequence[str], seed: int = 0) -> Network:
    """A BERT of that size with random weights, whose tokenizer knows the words of some texts."""
    config = BertConfig(vocab_size=VOCABULARY, **SIZES[size])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CrossEncoder(BertModel(config))
    tokenizer = BertTokenizer(vocab={piece: number for number, piece in enumerate(word_pieces(known))})
    return Network(model, tokenizer, 512, device)


def measure(size: str, device: torch.device, precision: Precision, pairs: int, tokens: int) -> Measured:
    """Time both ways in turns, after one warm-up each.

    Args:
        size: Key of `SIZES`.
        device: Where to compute.
        precision: What to compute in.
        pairs: About how many; a multiple of `ITEMS` is taken.
        tokens: About how many a pair.
    """
    users, items = texts(max(1, pairs // ITEMS), (tokens - 3) // 2, seed=1), texts(ITEMS, (tokens - 3) // 2, seed=2)
    network = random_network(size, device, users + items)
    lengths = network.pair_tokenizer.product(users, items).lengths
    packed = _packed(len(lengths), round(float(lengths.mean())), device)
    seconds, shares = [], []
    for repetition in range(-1, REPETITIONS):
        scoring = _seconds_of_scoring(network, precision, users, items)
        bare = _seconds_of_forward(network, precision, packed)
        if repetition >= 0:
            rate = sum(batch.numel() for batch in packed) / bare
            seconds.append(scoring)
            shares.append(float(lengths.sum()) / scoring / rate)
    middle = statistics.median(seconds)
    return Measured(
        size=size,
        device=device.type,
        precision=precision,
        pairs=len(lengths),
        tokens=float(lengths.mean()),
        seconds=middle,
        pairs_per_second=len(lengths) / middle,
        tokens_per_second=float(lengths.sum()) / middle,
        share=statistics.median(shares),
    )


def _seconds_of_scoring(network: Network, precision: Precision, users: list[str], items: list[str]) -> float:
    info = {"weights": {"sha256": "none"}, "log": {"content_hash": "none"}}
    model = RewardModel(network, Calibrator("identity"), "pairs", info)
    started = perf_counter()
    score_users_by_items(model, users, items, scoring=ScoringConfig(precision=precision))
    return perf_counter() - started


def _packed(rows: int, length: int, device: torch.device) -> list[torch.Tensor]:
    size = TOKENS_PER_BATCH[device.type] // length
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, VOCABULARY, (rows, length), generator=generator)
    return [ids[first : first + size].to(device) for first in range(0, rows, size)]


def _seconds_of_forward(network: Network, precision: Precision, packed: list[torch.Tensor]) -> float:
    model = copy.deepcopy(network.model).to(dtype=getattr(torch, precision))
    model.eval()
    if network.device.type == "cuda":
        torch.cuda.synchronize(network.device)
    with torch.inference_mode():
        started = perf_counter()
        torch.cat([model(input_ids=batch) for batch in packed]).float().cpu()
        return perf_counter() - started


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--pairs", type=int, help="4,096 on a CPU and a million on a GPU, unless said")
    parser.add_argument("--size", choices=list(SIZES), default="mini")
    parser.add_argument("--tokens", type=int, default=48, help="tokens of a pair, about")
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    pairs = arguments.pairs or {"cpu": 4096, "cuda": 1_000_000}[device.type]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    print(f"{name}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}, median of {REPETITIONS} runs.\n")
    print(HEADER)
    precisions: list[Precision] = ["float32", "bfloat16"] if has_bfloat16(device) else ["float32"]
    for precision in precisions:
        print(measure(arguments.size, device, precision, pairs, arguments.tokens).row(), flush=True)


if __name__ == "__main__":
    main()
