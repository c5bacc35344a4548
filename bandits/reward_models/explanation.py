"""Why this click: how much each word moved a click probability, by integrated gradients.

References:
    Sundararajan, Taly and Yan (2017), "Axiomatic attribution for deep networks".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logit

from bandits.reward_models.reward_model import RewardModel

FloatArray = NDArray[np.float64]

_STEPS = (32, 128, 512)
_AT_ONCE = 32  # steps; the gradients of 512 steps of a long text at once take gigabytes
_CLOSE_ENOUGH = 0.01  # of all that is to be explained, what the approximated integral may miss


@dataclass(frozen=True)
class Word:
    """A word and what it did.

    Attributes:
        text: The word, with the punctuation that is written to it.
        of: The text that it stands in.
        effect: Change of the log-odds of a click that is put down to it.
    """

    text: str
    of: Literal["user", "item"]
    effect: float


@dataclass(frozen=True)
class Explanation:
    """A click probability taken apart.

    Attributes:
        probability: Of a click, as the model predicts it.
        without_words: The same where a mask stands in place of every word.
        words: In their order, the user's first; their effects add up to the difference of both log-odds, but for
            `missed`.
        missed: Share of that difference that the integral, a sum over finitely many steps, does not account for.
    """

    probability: float
    without_words: float
    words: tuple[Word, ...]
    missed: float

    def to_text(self) -> str:
        """One line a word, the strongest first."""
        lines = [
            f"Click probability {self.probability:.4f}; {self.without_words:.4f} with a mask in place of every word.",
            "Change of the log-odds that is put down to each word:",
        ]
        if self.missed >= _CLOSE_ENOUGH:
            lines.append(f"  (the effects miss {self.missed:.0%} of the difference: take them as rough)")
        ordered = sorted(self.words, key=lambda word: -abs(word.effect))
        lines += [f"  {word.effect:+8.3f}  {word.text}  ({word.of})" for word in ordered]
        return "\n".join(lines)


def explain_click(model: RewardModel, user_text: str, item_text: str) -> Explanation:
    """How much each word of two texts moved the click probability.

    Integrated gradients of the network's logit along the straight line from a row in which every word is masked, in
    the space of word embeddings. A calibrator that is no straight line stretches the effects: they are scaled so that
    their sum is the difference in calibrated log-odds.

    Args:
        model: A model fitted on a log of pairs, or of tests (there, effects are on the score that compares headlines,
            times the calibrator's slope).
        user_text: The user, "" if nothing is known.
        item_text: The item.

    Raises:
        ImportError: When captum is missing (extra `explain`).
        ValueError: When `item_text` is empty, or the model is a bi-encoder.
    """
    if not item_text.strip():
        raise ValueError("`item_text` must not be empty. Got an empty text.")
    if model.network.model.kind != "cross":
        raise ValueError("`model` must be a cross-encoder, which reads user and item together. Got a bi-encoder.")
    try:
        from captum.attr import LayerIntegratedGradients
    except ImportError as error:
        raise ImportError(
            "Explanations need captum, which is not installed: pip install 'click-bandits[explain]'."
        ) from error
    network = model.network
    pairs = network.pair_tokenizer.rows([user_text], [item_text])
    row = pairs.batch(np.array([0]), network.device)
    user, item = pairs.places(0)
    masked = row["input_ids"].clone()
    masked[0, [*user, *item]] = _mask(network.tokenizer)
    network.model.eval()

    def forward(ids: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
        same = np.zeros(len(ids), dtype=np.int64)
        soft = network.model.soft(pairs, same, network.device)
        logits = network.model(input_ids=ids, token_type_ids=segments.expand(len(ids), -1), soft=soft)
        return network.model.with_columns(logits, pairs, same)

    gradients = LayerIntegratedGradients(forward, network.model.encoder.get_input_embeddings())
    with torch.no_grad():
        ends = [float(forward(ids, row["token_type_ids"])[0]) for ids in (row["input_ids"], masked)]
    for steps in _STEPS:
        found = gradients.attribute(
            row["input_ids"],
            masked,
            additional_forward_args=(row["token_type_ids"],),
            n_steps=steps,
            internal_batch_size=_AT_ONCE,
        )
        effects: FloatArray = found[0].sum(-1).detach().double().cpu().numpy()
        difference = ends[0] - ends[1]
        missed = abs(effects.sum() - difference) / max(abs(difference), np.finfo(float).tiny)
        if missed < _CLOSE_ENOUGH:
            break
    probability, without, stretch = _calibrated(model, *ends)
    words = [
        *_words(user_text, effects[list(user)] * stretch, network.tokenizer, "user"),
        *_words(item_text, effects[list(item)] * stretch, network.tokenizer, "item"),
    ]
    return Explanation(probability, without, tuple(words), float(missed))


def _mask(tokenizer: Any) -> int:
    """A token that says nothing: the mask of encoders; decoders have only an end or a padding."""
    tokens = tokenizer.mask_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id
    return int(next(token for token in tokens if token is not None))


def _calibrated(model: RewardModel, score: float, masked: float) -> tuple[float, float, float]:
    """Both probabilities, and change of calibrated log-odds per change of the logit."""
    if model.kind == "tests":
        # Alone in its test an item has no score of its own: the row of masks is what it is compared with.
        slope, level = model.calibrator.slope, model.calibrator.intercept
        odds = level + slope * (score - masked)
        return float(1 / (1 + np.exp(-odds))), float(1 / (1 + np.exp(-level))), slope
    probability, without = (float(p) for p in model.calibrator(np.array([score, masked])))
    change = float(logit(probability) - logit(without))
    return probability, without, change / (score - masked) if score != masked else 0.0


def _words(text: str, effects: FloatArray, tokenizer: Any, of: Literal["user", "item"]) -> list[Word]:
    """Effects of tokens added up over the words, which white space separates; words that were cut off have none."""
    offsets = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).offsets[: len(effects)]
    # Some tokenizers count the space before a word as part of its first token.
    starts = np.array([end - len(text[start:end].lstrip()) for start, end in offsets], dtype=np.int64)
    words, place = [], 0
    for piece in text.split():
        begin = text.index(piece, place)
        place = begin + len(piece)
        inside = (starts >= begin) & (starts < place)
        if inside.any():
            words.append(Word(piece, of, float(effects[inside].sum())))
    return words
