"""The model card: what a saved reward model is, how it was made, how good it is, and what it is not for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bandits.reward_models.verdict import MEASURES, lead_in_words, verdict

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
    reads = {"cross": "together", "bi": "apart"}[config["architecture"]]
    lines = [
        "---",
        "library_name: transformers",
        f"base_model: {weights['name']}",
        f"tags: [click-through-rate, {config['architecture']}-encoder, calibrated]",
        "---",
        f"# Click model fitted on {log['name']}",
        "",
        f"A network that reads user and item {reads} (the item alone without a user) and returns one logit: an encoder",
        "(`model.safetensors`) and a head of its own (`head.safetensors`). `calibrator.json` turns logits into click",
        "probabilities. Load it with `load_reward_model(folder)`.",
        "",
        "## Made from",
        f"- weights: {weights['name']} ({weights['source']}), SHA-256 `{weights['sha256']}`",
        f"- log: {log['name']} (kind `{kind}`), SHA-256 of its rows `{log['content_hash']}`",
        f"- rows: {rows}; split by `{info['split_by']}`",
        f"- settings: {settings}",
        f"- weights that were trained: {info['parameters']['trained']:,} of {info['parameters']['all']:,}",
        *_columns(info),
        *_choice(info),
        *_members(info),
        *_compression(info),
        "",
        "## Training",
        "",
        "| epoch | training loss | validation loss | seconds |",
        "|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {_epoch(e)} | {e['train_loss']:.5f} | {e['validation_loss']:.5f} | {e['seconds']:.0f} |"
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
        lines += _leads(evaluation)
        lines += _calibration(evaluation["calibration"], evaluation["split_by"])
        lines += _classification(evaluation["classification"])
        lines += _outcomes(evaluation.get("outcomes", {}))
    return "\n".join([*lines, "", "## Limits", _LIMITS[kind], ""])


def _members(info: Mapping[str, Any]) -> list[str]:
    """What an ensemble is, beside one network."""
    count = info.get("members")
    if count is None:
        return []
    return [
        f"- an ensemble of {count} such models, whose fits differ in their seed: `member-0` to `member-{count - 1}`. "
        "Its logit is the mean of theirs, and `calibrator.json` is for that mean; each member has its own too"
    ]


def _compression(info: Mapping[str, Any]) -> list[str]:
    """What was taken out of the fitted model."""
    found = info.get("compression")
    if found is None:
        return []
    if "layers" in found:
        how = f"only layers {', '.join(map(str, found['layers']))} (from 0) of {found['of_layers']} were kept"
    else:
        how = f"the smallest {found['pruned']:.0%} of each matrix in the layers were set to 0"
    return [
        f"- made smaller after the fit: {how}, and it was calibrated again. {found['parameters']:,} weights are left, "
        f"{found['not_0']:,} of them not 0"
    ]


def _epoch(entry: Mapping[str, Any]) -> str:
    return f"{entry['epoch']}" + (f" of member {entry['member']}" if "member" in entry else "")


def _columns(info: Mapping[str, Any]) -> list[str]:
    """What the model knows of users and items beside their texts, and which numbers go with clicks."""
    lines = []
    for side, columns in (info.get("columns") or {}).items():
        names = [f"`{name}`" for name in columns["numbers"]]
        names += [f"`{name}` (an embedding of {width} numbers)" for name, width in columns["embeddings"].items()]
        lines.append(f"- columns beside the {side}'s text (`columns.npz`): {', '.join(names)}")
    return lines + [f"- {words}" for words in selections_in_words(info)]


def selections_in_words(info: Mapping[str, Any]) -> list[str]:
    """What `stability_selection` found of users' and of items' numbers, one clause each."""
    clauses = []
    for side, found in (info.get("selection") or {}).items():
        if found is not None:
            chosen = ", ".join(f"`{name}` {share:.2f}" for name, share in found["chosen"].items())
            clauses.append(
                f"share of {found['subsamples']} random halves of the {found['texts']:,} {side}s in which an "
                f"L1-penalised logistic regression took each number: {chosen}"
            )
    return clauses


def _choice(info: Mapping[str, Any]) -> list[str]:
    """How the calibrator was chosen, where the config left it open."""
    losses = info["calibration"]["cross_validated"]
    if not losses:
        return []
    listed = ", ".join(f"{name} {loss:.6f}" for name, loss in losses.items())
    return [
        f"- calibrator: {info['calibration']['method']}, of the lowest log loss in a cross-validation over whole "
        f"groups of the calibration rows ({listed})"
    ]


def _leads(evaluation: Mapping[str, Any]) -> list[str]:
    """Whether the model beats its baselines."""
    name, leads = next(iter(evaluation["models"])), evaluation["leads"]
    measures = list(next(iter(leads.values())))
    lines = [
        "",
        verdict(name, leads, evaluation["unbeaten"]),
        "",
        f"| lead over | {' | '.join(MEASURES[key] for key in measures)} |",
        "|---" + "|--:" * len(measures) + "|",
    ]
    for baseline, found in leads.items():
        lines.append(f"| {baseline} | " + " | ".join(lead_in_words(found[key]) for key in measures) + " |")
    fitted = f"Baselines were fitted on {evaluation['rows']['baselines']:,} rows"
    left_out = [f"{baseline} ({why})" for baseline, why in evaluation["left_out"].items()]
    return [
        *lines,
        "",
        f"{fitted}. Intervals cover 95 percent; their units are values of `{evaluation['split_by']}`."
        + (f" Left out: {'; '.join(left_out)}." if left_out else ""),
    ]


def _calibration(found: Mapping[str, Any], unit: str) -> list[str]:
    error, overall, top = found["ece"], found["overall"], found["top_pick"]
    chance = (
        ""
        if error["by_chance"] is None
        else f"; calibrated rates would stay below {error['by_chance']:.4f} in 95 of 100 such samples"
    )
    lines = [
        "",
        "## Calibration on held-out rows",
        "",
        f"Expected calibration error with equal-mass bins: {error['ece']:.4f}"
        f"{_interval(error['low'], error['high'], 4)}{chance}. Intervals cover 95 percent "
        f"and have {found['units']:,} values of `{unit}` as units.",
        "",
        "| rows | predicted | observed | observed / predicted |",
        "|---|--:|--:|--:|",
        f"| all | | | {_ratio(overall)} |",
        f"| top pick | | | {_ratio(top)} |",
    ]
    count = len(found["deciles"])
    for number, row in enumerate(found["deciles"], start=1):
        rates = f"{row['predicted']:.4f} | {row['observed']:.4f}"
        lines.append(f"| part {number} of {count}, by prediction | {rates} | {_ratio(row)} |")
    for row in found["parts"]:
        rates = f"{row['predicted']:.4f} | {row['observed']:.4f}"
        lines.append(f"| {row['by']}: {row['name']} | {rates} | {_ratio(row)} |")
    return lines


def _classification(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    if not found:
        return []
    threshold = next(iter(found.values()))["threshold"]
    names = ("flagged", "precision", "recall", "f1")
    lines = [
        "",
        f"Where a predicted rate of at least {threshold:g} is called a click (flagged: share of impressions):",
        "",
        "| model | " + " | ".join(names) + " |",
        "|---" + "|--:" * len(names) + "|",
    ]
    for model, values in found.items():
        lines.append(f"| {model} | " + " | ".join(_number(values[name]) for name in names) + " |")
    return lines


def _outcomes(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    if not found:
        return []
    lines = ["", "What follows a click (`outcomes.json`), on held-out rows:", ""]
    lines += ["| outcome | loss | loss of a constant | observed / predicted |", "|---|--:|--:|--:|"]
    for name, row in found.items():
        lines.append(f"| {name} | {_number(row['loss'])} | {_number(row['constant'])} | {_ratio(row['overall'])} |")
    return lines


def _ratio(found: Mapping[str, Any]) -> str:
    return "–" if found["ratio"] is None else f"{found['ratio']:.3f}{_interval(found['low'], found['high'], 3)}"


def _interval(low: float | None, high: float | None, digits: int) -> str:
    return "" if low is None or high is None else f" ({low:.{digits}f} to {high:.{digits}f})"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
