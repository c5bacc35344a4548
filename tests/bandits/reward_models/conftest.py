"""Small planted logs for the tests of reward models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

SHARED = Path(__file__).parents[4] / "shared" / "data" / "upworthy"
TOPICS = ("sport", "music", "money", "travel", "science")


def planted_pairs(users: int = 60, impressions: int = 400, seed: int = 3) -> pd.DataFrame:
    """Readers who click on their topic with probability 0.3 and on others with 0.1."""
    random = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        likes = TOPICS[user % len(TOPICS)]
        for topic in TOPICS:
            rate = 0.3 if topic == likes else 0.1
            rows.append(
                {
                    "user_text": f"Reader {user} loves {likes}",
                    "item_text": f"News about {topic} today",
                    "impressions": impressions,
                    "clicks": random.binomial(impressions, rate),
                }
            )
    return pd.DataFrame(rows)


def planted_tests(tests: int = 60, impressions: int = 2000, seed: int = 4) -> pd.DataFrame:
    """Tests of three texts; those that say `amazing` get half as many clicks again as the others of their test."""
    random = np.random.default_rng(seed)
    rows = []
    for test in range(tests):
        level = random.uniform(0.05, 0.15)
        for arm, word in enumerate(random.permutation(["amazing", "plain", "other"])):
            rate = level * (1.5 if word == "amazing" else 1.0)
            rows.append(
                {
                    "test": f"test-{test}",
                    "item_text": f"{word} story {test} {arm}",
                    "impressions": impressions,
                    "clicks": random.binomial(impressions, rate),
                }
            )
    return pd.DataFrame(rows)


@pytest.fixture
def pairs_frame() -> pd.DataFrame:
    return planted_pairs()


@pytest.fixture
def tests_frame() -> pd.DataFrame:
    return planted_tests()


@pytest.fixture
def archive() -> Path:
    """The archive's CSV among the shared data; the test is skipped where there is none."""
    path = SHARED / "upworthy-archive-exploratory-packages-03.12.2020.train80.csv"
    if not path.is_file():
        pytest.skip("the shared Upworthy data are not on this machine")
    return path


ARCHITECTURES = ("bert", "roberta", "deberta-v2", "modernbert", "gpt2")


@pytest.fixture
def small_model(tmp_path: Path) -> Callable[[str], Path]:
    """Folders of two-layer models of an architecture of `ARCHITECTURES`, with tokenizers that read single letters."""

    def make(name: str) -> Path:
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model, tokenizer = _small_model(name)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter *= 5  # or all texts would look alike
        folder = tmp_path / f"small-{name}"
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make


def _small_model(name: str) -> tuple[Any, Any]:
    import transformers as hf

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    bert = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]
    size: dict[str, Any] = {
        "vocab_size": 60,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }

    def numbered(pieces: list[str]) -> dict[str, int]:
        return {piece: number for number, piece in enumerate(pieces)}

    pieces = hf.BertTokenizer(vocab=numbered([*bert, *(f"##{letter}" for letter in letters)]))
    if name == "bert":
        return hf.BertModel(hf.BertConfig(**size)), pieces
    if name == "roberta":
        config = hf.RobertaConfig(**size, max_position_embeddings=66, pad_token_id=1, type_vocab_size=1)
        vocabulary = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *letters, "Ġ"]
        return hf.RobertaModel(config), hf.RobertaTokenizer(vocab=numbered(vocabulary), merges=[])
    if name == "deberta-v2":
        relative: dict[str, Any] = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0}
        scored = [(piece, -1.0) for piece in [*bert, "▁"]]
        return hf.DebertaV2Model(
            hf.DebertaV2Config(**size, **relative, position_biased_input=False)
        ), hf.DebertaV2Tokenizer(vocab=scored)
    if name == "modernbert":
        special = {"pad_token_id": 0, "bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 3, "sep_token_id": 3}
        return hf.ModernBertModel(hf.ModernBertConfig(**size, **special, local_attention=8)), pieces
    config = hf.GPT2Config(
        vocab_size=60, n_embd=32, n_layer=2, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=0
    )
    vocabulary = ["<|endoftext|>", *letters, "Ġ"]
    return hf.GPT2Model(config), hf.GPT2Tokenizer(vocab=numbered(vocabulary), merges=[])
