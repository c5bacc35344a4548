"""Two things to do with a log's texts before a fit: go on with filling in masked words, and say the same otherwise."""

from __future__ import annotations

import csv
import hashlib
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import AutoModelForMaskedLM, DataCollatorForLanguageModeling

from bandits.reward_models import Split, resolve_weights
from bandits.reward_models.network import Network, load_tokenizer, quiet
from bandits.torch_device import choose_device

_BATCH, _RATE, _EPOCHS, _MASKED = 32, 5e-5, 1, 0.15
_AGAIN = "\x1fsaid otherwise"


def read_synonyms(file: Path) -> dict[str, str]:
    """A table of words in lower case and what may stand in their place, from a CSV with the columns `word,synonym`.

    Raises:
        ValueError: When the file has other columns.
    """
    with file.open(encoding="utf-8", newline="") as lines:
        table = csv.DictReader(lines)
        if table.fieldnames != ["word", "synonym"]:
            raise ValueError(f"`{file}` must have the columns word,synonym. Got {table.fieldnames}.")
        return {row["word"]: row["synonym"] for row in table}


def with_synonyms(text: str, synonyms: Mapping[str, str]) -> str:
    """The text with every known word replaced; capitals stay where they were.

    >>> with_synonyms("Amazing KIDS, kidding", {"amazing": "astonishing", "kids": "children"})
    'Astonishing CHILDREN, kidding'
    """

    def other(match: re.Match[str]) -> str:
        word = match[0]
        synonym = synonyms.get(word.lower(), word)
        if word.isupper() and len(word) > 1:
            return synonym.upper()
        return synonym[:1].upper() + synonym[1:] if word[0].isupper() else synonym

    return re.sub(r"[^\W\d_]+", other, text)


def reads_capitals(weights: str, texts: Sequence[str]) -> bool:
    """Whether the tokenizer of these weights tells capitals from small letters."""
    tokenizer = load_tokenizer(resolve_weights(weights, texts=texts))
    return bool(tokenizer("A")["input_ids"] != tokenizer("a")["input_ids"])


def said_otherwise(split: Split, change: Callable[[str], str]) -> Split:
    """The split with a copy of its training rows behind them, their item texts changed.

    Rows whose text stays as it is are not copied; in tests the contrasts in which all texts do.
    """
    rows = split.train
    copies = rows.assign(item_text=rows["item_text"].map(change))
    differs = copies["item_text"] != rows["item_text"]
    in_tests = rows["contrast"] != ""
    copies["contrast"] = np.where(in_tests, rows["contrast"] + _AGAIN, "")
    changed_contrast = rows["contrast"].isin(rows.loc[differs, "contrast"]) & in_tests
    return replace(split, train=pd.concat([rows, copies[differs | changed_contrast]], ignore_index=True))


def continued(weights: str, texts: Sequence[str], cache: Path, *, max_length: int, device: str, seed: int) -> Path:
    """A folder of weights that have gone on filling in masked words, in these texts; made once.

    15 percent of the tokens are to be found, one pass over the texts, AdamW at a constant 5e-5, 32 texts in a step.

    Args:
        weights: As in `FitConfig`; of an encoder.
        texts: Distinct texts.
        cache: Where the folder is made.
        max_length: Tokens after which texts are cut.
        device: To compute on.
        seed: Of the masks, dropout and the order of texts.

    References:
        Gururangan and others (2020), "Don't stop pretraining: adapt language models to domains and tasks".
    """
    found = resolve_weights(weights, texts=texts)
    named = "\n".join([found.sha256, str(max_length), str(seed), f"{_BATCH} {_RATE} {_EPOCHS} {_MASKED}", *texts])
    folder = cache / f"continued-{hashlib.sha256(named.encode()).hexdigest()[:20]}"
    if folder.is_dir():
        return folder
    place = choose_device(device)
    start = Network.from_weights(found, max_length=max_length, device=place, seed=seed)
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []), quiet():
        torch.manual_seed(seed)
        make: Any = AutoModelForMaskedLM.from_config
        model = make(start.model.encoder.config).to(place)
        encoder = getattr(model, model.base_model_prefix)
        encoder.load_state_dict(start.model.encoder.state_dict())
        _fill_in(model, start, texts, seed)
        unfinished = folder.with_name(folder.name + ".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        encoder.save_pretrained(unfinished)
        start.tokenizer.save_pretrained(unfinished)
    unfinished.rename(folder)
    return folder


def _fill_in(model: torch.nn.Module, network: Network, texts: Sequence[str], seed: int) -> None:
    mask = DataCollatorForLanguageModeling(network.tokenizer, mlm_probability=_MASKED, seed=seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE)
    model.train()
    for epoch in range(_EPOCHS):
        order = np.random.default_rng([seed, epoch]).permutation(len(texts))
        for first in range(0, len(order), _BATCH):
            chosen = [texts[row] for row in order[first : first + _BATCH]]
            batch = mask(
                [network.tokenizer(text, truncation=True, max_length=network.max_length) for text in chosen]
            ).to(network.device)
            if not (batch["labels"] >= 0).any():
                continue  # the mean over no token is not a number
            optimizer.zero_grad(set_to_none=True)
            model(**batch).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
