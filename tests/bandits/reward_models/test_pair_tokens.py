"""Pairs put together from texts that are tokenized once, against the tokenizer's own encoding of pairs."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from bandits.reward_models.pair_tokens import PairTokens

pytestmark = pytest.mark.model

WORDS = (
    *("a", "the", "news", "don't", "naïve", "体育", "🙂", "antidisestablishmentarianism", "1,234.5", "ﬁ", "İ", "ß"),
    *("[SEP]", "[CLS]", "[PAD]", "\u200b", "\x00", "\n", "x" * 150),
)
EDGES = ["", " ", "a", "a b", "a b c", "a b c d", "[SEP]", "体育", "long " * 600, "\u200b"]


def random_texts(count: int, most: int, seed: int) -> list[str]:
    source = random.Random(seed)
    return [" ".join(source.choices(WORDS, k=source.randint(0, most))) for _ in range(count)]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    from bandits.reward_models.network import load_tokenizer
    from bandits.reward_models.weights import resolve_weights

    return load_tokenizer(resolve_weights("tiny", texts=WORDS))


def pairs_of(tokenizer: PreTrainedTokenizerBase, users: list[str], items: list[str], max_length: int) -> PairTokens:
    from bandits.reward_models.pair_tokens import PairTokenizer

    padding = tokenizer.pad_token_id
    assert isinstance(padding, int)
    return PairTokenizer(tokenizer.backend_tokenizer, max_length, padding).rows(users, items)


def own_encoding(
    tokenizer: PreTrainedTokenizerBase, users: list[str], items: list[str], max_length: int
) -> list[dict[str, list[int]]]:
    """What the tokenizer makes of each row, asked for in batches as its users do."""
    encoded: dict[int, dict[str, list[int]]] = {}
    for with_user in (True, False):
        rows = [row for row, user in enumerate(users) if bool(user) == with_user]
        arguments: list[Any] = [[items[row] for row in rows]]
        if with_user:
            arguments.insert(0, [users[row] for row in rows])
        if rows:
            batch = tokenizer(*arguments, truncation=True, max_length=max_length, return_token_type_ids=True)
            for number, row in enumerate(rows):
                encoded[row] = {name: batch[name][number] for name in ("input_ids", "token_type_ids", "attention_mask")}
    return [encoded[row] for row in range(len(users))]


@pytest.mark.parametrize("max_length", [8, 9, 16, 33, 128])
def test_pairs_equal_the_tokenizers_own(tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
    import torch

    users = random_texts(300, 30, seed=1) + [user for user in EDGES for _ in EDGES]
    items = random_texts(300, 30, seed=2) + EDGES * len(EDGES)
    pairs = pairs_of(tokenizer, users, items, max_length)
    expected = own_encoding(tokenizer, users, items, max_length)
    assert pairs.lengths.tolist() == [len(row["input_ids"]) for row in expected]
    assert [pairs.ids(row) for row in range(len(users))] == [row["input_ids"] for row in expected]
    rows = np.random.default_rng(0).permutation(len(users))[:50]
    batch = pairs.batch(rows, torch.device("cpu"))
    padded = tokenizer.pad({name: [expected[row][name] for row in rows] for name in expected[0]}, return_tensors="pt")
    assert batch.keys() == padded.keys()
    for name, tensor in batch.items():
        assert torch.equal(tensor, padded[name]), name


def test_rows_of_one_length_need_no_mask(tokenizer: PreTrainedTokenizerBase) -> None:
    import torch

    pairs = pairs_of(tokenizer, ["a", "", "the news"], ["news", "a the a", "a"], 16)
    assert pairs.lengths.tolist() == [5, 5, 6]
    assert "attention_mask" not in pairs.batch(np.array([0, 1]), torch.device("cpu"))
    assert pairs.batch(np.array([1, 2]), torch.device("cpu"))["attention_mask"].tolist() == [[1] * 5 + [0], [1] * 6]


def test_product_is_every_user_with_every_item(tokenizer: PreTrainedTokenizerBase) -> None:
    from bandits.reward_models.pair_tokens import PairTokenizer

    users, items = ["the news", "", "naïve a"], ["a", "news 体育"]
    product = PairTokenizer(tokenizer.backend_tokenizer, 12, 0).product(users, items)
    rows = pairs_of(tokenizer, [user for user in users for _ in items], items * len(users), 12)
    assert [product.ids(row) for row in range(6)] == [rows.ids(row) for row in range(6)]
    part = product.take(np.array([4, 1]))
    assert [part.ids(0), part.ids(1)] == [rows.ids(4), rows.ids(1)]
    assert part.lengths.tolist() == rows.lengths[[4, 1]].tolist()


def test_templates_of_other_tokenizers_are_read_off_them() -> None:
    """`<s> user </s></s> item </s>` with segments of its own, checked against the tokenizer that cuts by itself."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    from bandits.reward_models.pair_tokens import PairTokenizer

    rules = Tokenizer(WordLevel({"<s>": 0, "</s>": 1, "?": 2} | {f"w{n}": n + 3 for n in range(9)}, unk_token="?"))
    rules.pre_tokenizer = Whitespace()
    rules.post_processor = TemplateProcessing(
        single="<s>:1 $A:1 </s>:1",
        pair="<s>:0 $A:0 </s>:1 </s>:1 $B:1 </s>:0",
        special_tokens=[("<s>", 0), ("</s>", 1)],
    )
    source = random.Random(3)
    texts = [" ".join(source.choices([f"w{n}" for n in range(9)], k=source.randint(1, 12))) for _ in range(80)]
    users, items = [*texts[:30], *[""] * 10], texts[30:70]
    pairs = PairTokenizer(rules, 11, 1).rows(users, items)
    rules.enable_truncation(11)
    for row, (user, item) in enumerate(zip(users, items, strict=True)):
        expected = rules.encode(user, item) if user else rules.encode(item)
        batch = pairs.batch(np.array([row]), torch.device("cpu"))
        assert (batch["input_ids"].tolist(), batch["token_type_ids"].tolist()) == ([expected.ids], [expected.type_ids])
    rules.post_processor = TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s>:0 </s>:1 $B:1", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    with pytest.raises(ValueError, match="must have one segment"):
        PairTokenizer(rules, 11, 1)


def test_hash_tells_apart_what_the_network_sees(tokenizer: PreTrainedTokenizerBase) -> None:
    base = pairs_of(tokenizer, ["a", "the"], ["news", "news"], 16)
    same = pairs_of(tokenizer, ["a", "the"], ["news", "news"], 16)
    others = [
        pairs_of(tokenizer, ["the", "a"], ["news", "news"], 16),
        pairs_of(tokenizer, ["a", ""], ["news", "news"], 16),
        pairs_of(tokenizer, ["a", "the"], ["news", "a"], 16),
        pairs_of(tokenizer, ["a", "the"], ["news", "news"], 17),
        base.take(np.array([0])),
    ]
    assert base.content_hash == same.content_hash
    assert len({pairs.content_hash for pairs in [base, *others]}) == 6
