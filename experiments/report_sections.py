"""The report's sections about trust: the reward model, agreement, caveats, and what the run was made with."""

from __future__ import annotations

from typing import Any

from bandits.reward_models.model_card import selections_in_words
from bandits.reward_models.verdict import MEASURES as LED
from bandits.reward_models.verdict import lead_in_words, verdict
from experiments.run_data import WORLDS, RunData
from experiments.verdict import counted

_MEASURES = {
    "log_loss": ("Log loss", ".5f"),
    "normalized_entropy": ("Normalized entropy", ".5f"),
    "conditional_log_loss": ("Log loss per click inside tests", ".5f"),
    "auc": ("AUC ↑", ".4f"),
    "brier": ("Brier score", ".5f"),
    "ece": ("Expected calibration error", ".4f"),
    "observed_over_predicted": ("Observed / predicted (1 is right)", ".3f"),
    "observed_over_predicted_top_pick": ("The same for the top pick", ".3f"),
    "pairwise_accuracy": ("Pairs in the right order ↑", ".3f"),
    "pairs": ("Number of pairs", ",d"),
    "pairwise_accuracy_significant": ("The same, pairs with p < 0.05 ↑", ".3f"),
    "pairs_significant": ("Number of such pairs", ",d"),
}


def facts(data: RunData) -> str:
    """One line under the title."""
    simulation, policies = data.config.simulation, len(data.config.policies)
    listed = [
        "1 policy" if policies == 1 else f"{policies} policies",
        counted(simulation.horizon, "visitor"),
        counted(simulation.replications, "replication"),
        *([counted(data.num_worlds, "world")] if data.num_worlds > 1 else []),
        f"seed {data.config.seed}",
        data.manifest["finished"][:10],
    ]
    return " · ".join(listed)


def model_section(data: RunData) -> dict[str, Any] | None:
    """How good the reward model is beside its baselines."""
    if not data.model:
        return None
    models, leads = data.model["models"], data.model["leads"]
    bert = next(iter(models))
    measures = [key for key in _MEASURES if all(key in numbers for numbers in models.values())]
    led = list(next(iter(leads.values())))
    rows = [
        {
            "name": name,
            "values": ["–" if numbers[key] is None else format(numbers[key], _MEASURES[key][1]) for key in measures]
            + [lead_in_words(leads[name][key]) if name in leads else "" for key in led],
        }
        for name, numbers in models.items()
    ]
    info, counts = data.model["info"], data.model["rows"]
    comparison = verdict(bert, leads, data.model["unbeaten"])
    if data.model["unbeaten"]:
        comparison += " What follows from its worlds deserves little trust."
    ranked = {name: numbers.get("pairwise_accuracy_significant") for name, numbers in models.items()}
    if all(share is not None for share in ranked.values()):
        shares = ", ".join(f"{name} {share:.1%}" for name, share in ranked.items())
        comparison += f" Of the held-out pairs that differ with p < 0.05, it orders this share right: {shares}."
    grouped = {"user_text": "users", "item_text": "items", "group": "groups"}[data.model["split_by"]]
    words = (
        f"A BERT ({info['weights']['name']}) was fine-tuned on {info['rows']['trained_on']:,} rows of the click log, "
        f"stopped by {counts['validation']:,}, calibrated on {counts['calibration']:,} and judged on "
        f"{counts['test']:,} others; no {grouped[:-1]} is in two parts. {comparison}"
    )
    words += "".join(f" Of the columns beside the text, the {clause}." for clause in selections_in_words(info))
    left_out = [f"{name} ({why})" for name, why in data.model["left_out"].items()]
    fitted = (
        f"The simpler models were fitted on {counts['baselines']:,} of the training rows, tuned on the validation rows "
        f"and calibrated like {bert}. Intervals of leads cover 95 percent; their units are the held-out {grouped}."
    )
    return {
        "name": bert,
        "words": words,
        "fitted": fitted + (f" Left out: {'; '.join(left_out)}." if left_out else ""),
        "columns": [_MEASURES[key][0] for key in measures] + [f"Lead of {bert} in {LED[key]}" for key in led],
        "rows": rows,
        "calibration": _calibration(data.model, grouped),
        "classification": _classification(data.model),
    }


def _calibration(model: dict[str, Any], grouped: str) -> dict[str, Any] | None:
    """Observed over predicted by decile; None in the folder of an earlier version's run."""
    found = model.get("calibration")
    if found is None:
        return None
    error = found["ece"]
    words = f"The expected calibration error is {error['ece']:.4f}{_between(error['low'], error['high'], 4)}"
    if error["by_chance"] is not None:
        words += f"; calibrated rates would stay below {error['by_chance']:.4f} in 95 of 100 such samples"
    rows = [
        {"name": f"part {number} of {len(found['deciles'])}", **_rates(row), "ratio": ratio_words(row)}
        for number, row in enumerate(found["deciles"], start=1)
    ]
    parts = [(f"{row['by']}: {row['name']}", row) for row in found["parts"]]
    rows += [{"name": name, **_rates(row), "ratio": ratio_words(row)} for name, row in parts]
    ends = [("all", found["overall"]), ("top pick", found["top_pick"])]
    rows += [{"name": name, "predicted": "", "observed": "", "ratio": ratio_words(row)} for name, row in ends]
    unit = f"Intervals cover 95 percent; their units are the {found['units']:,} held-out {grouped}."
    return {"words": f"{words}. {unit}", "rows": rows}


def _classification(model: dict[str, Any]) -> dict[str, Any] | None:
    """Precision, recall and F1, where a threshold was asked for."""
    found = model.get("classification")
    if not found:
        return None
    names = ("flagged", "precision", "recall", "f1")
    rows = [
        {"name": name, "values": ["–" if v[key] is None else f"{v[key]:.4f}" for key in names]}
        for name, v in found.items()
    ]
    return {"threshold": f"{next(iter(found.values()))['threshold']:g}", "rows": rows}


def _rates(row: dict[str, float]) -> dict[str, str]:
    return {name: f"{row[name]:.2%}" for name in ("predicted", "observed")}


def ratio_words(row: dict[str, float | None]) -> str:
    """Observed over predicted clicks with its interval."""
    return "–" if row["ratio"] is None else f"{row['ratio']:.3f}{_between(row['low'], row['high'], 3)}"


def _between(low: float | None, high: float | None, digits: int) -> str:
    return "" if low is None or high is None else f" ({low:.{digits}f} to {high:.{digits}f})"


def agreement_section(data: RunData) -> dict[str, Any] | None:
    """Do both kinds of world order the policies alike?"""
    found = data.agreement
    if not found:
        return None
    model, other = WORLDS[found["model"]], WORLDS[found["true"]]
    if found["num_pairs"]:
        words = (
            f"Of {found['num_pairs']} pairs of policies whose paired 95 percent interval in {other} excludes zero, "
            f"{found['num_same']} ({found['share']:.0%}) are ordered the same way in {model}. (Each interval "
            "is of one pair, not corrected for their number.)"
        )
    else:
        words = f"No pair of policies differs for certain in {other}, so there is nothing to agree on."
    if found["tau_b"] is not None:
        words += f" Kendall's tau-b of all policies' mean clicks is {found['tau_b']:.2f}."
    sides = [data.summaries[data.summaries["kind"] == kind].to_dict("records") for kind in data.kinds]
    rows = [{"policy": rows[0]["policy"], "sides": rows} for rows in zip(*sides, strict=True)]
    return {"words": words, "rows": rows}


def caveats(data: RunData) -> list[str]:
    """What a reader must not conclude."""
    listed = [
        _interval_caveat(data),
        "Simulated users do not get tired, do not change their minds and do not talk to each other. "
        "A click is all they give.",
        "A policy whose parameters were chosen by looking at runs with this seed is flattered by it: "
        "confirm them on another.",
    ]
    if data.model:
        listed.append(
            f"The features that policies see come from the encoder {data.model['encoder']} as it was before "
            "fine-tuning, so no policy sees the reward model's own last layer."
        )
    if data.num_worlds > 1:
        units = "a world is the unit" if data.members == 1 or data.same_arms else "tests and members are the units"
        listed.append(f"Results are averaged within each world first; {units}, not a replication.")
    if not data.same_arms:
        listed.append("All visitors of a world are alike: the log knows nothing of single users.")
    if "observed" in data.kinds:
        listed.append("Observed rates are noisy: the highest of several observed rates overstates its true rate.")
    return listed


def _interval_caveat(data: RunData) -> str:
    units = f"Intervals are over {data.unit}s: "
    if data.members > 1:
        return units + (
            "they hold what the log leaves open between fits of the reward model that differ in their seed. What all "
            "of them have wrong is told by their calibration and their agreement with other evidence, not by the "
            "intervals."
        )
    if data.model:
        return units + (
            "they say how sure the simulation is, given one fitted reward model. How wrong that model may be is told "
            "by its calibration and its agreement with other evidence, not by the intervals."
        )
    return units + "they say how sure the simulation is of its own world, not how like the real one that world is."


def made_with(data: RunData) -> str:
    """Versions, commit, machine and time."""
    manifest = data.manifest
    versions = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items() if version)
    hardware = manifest["hardware"]
    commit = f"Commit {manifest['git_commit']}. " if manifest["git_commit"] else ""
    return (
        f"{commit}{versions}. {hardware['processor']}, {hardware['cores']} cores, {hardware['memory_gb']} GB. "
        f"Sources {manifest['sources_hash']}, config {manifest['config_hash']}. Finished {manifest['finished']}."
    )
