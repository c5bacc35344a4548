"""The model card: what a saved reward model is, how it was made, how good it is, and what it is not for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LIMITS = {
    "pairs": "It predicts clicks of users and on items like those of its log, at the time of that log.",
    "tests": "Its scores compare texts inside one test. They have no level: click rates are anchored at the log's base "
    "rate. The log has no users, so every simulated visitor is alike.",
}


def model_card(kind: str, info: Mapping[str, Any], evaluation: Mapping[str, Any] | None) -> str:
    """Text of the card in Markdown, with the header that the Hugging Face Hub reads."""
    weights, log, config = info["weights"], info["log"], info["config"]
    rows = ", ".join(f"{name} {count:,}" for name, count in info["rows"].items())
    settings = ", ".join(f"{name} {value}" for name, value in config.items() if name != "weights")
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: text-classification",
        f"base_model: {weights['name']}",
        "tags: [click-through-rate, cross-encoder, calibrated]",
        "---",
        f"# Click model fitted on {log['name']}",
        "",
        "A BERT that reads `[CLS] user [SEP] item [SEP]` (the item alone without a user) and returns one logit;",
        "`calibrator.json` turns it into a click probability. Load it with `RewardModel.load(folder)`.",
        "",
        "## Made from",
        f"- weights: {weights['name']} ({weights['source']}), SHA-256 `{weights['sha256']}`",
        f"- log: {log['name']} (kind `{kind}`), SHA-256 of its rows `{log['content_hash']}`",
        f"- rows: {rows}; split by `{info['split_by']}`",
        f"- settings: {settings}",
        "",
        "## Training",
        "",
        "| epoch | training loss | validation loss | seconds |",
        "|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {e['epoch']} | {e['train_loss']:.5f} | {e['validation_loss']:.5f} | {e['seconds']:.0f} |"
        for e in info["history"]
    ]
    if evaluation is not None:
        names = list(next(iter(evaluation["models"].values())))
        lines += [
            "",
            "## Quality on held-out rows",
            "",
            "| model | " + " | ".join(names) + " |",
            "|---" + "|--:" * len(names) + "|",
        ]
        for model, values in evaluation["models"].items():
            lines.append(f"| {model} | " + " | ".join(_number(values[name]) for name in names) + " |")
    return "\n".join([*lines, "", "## Limits", _LIMITS[kind], ""])


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
