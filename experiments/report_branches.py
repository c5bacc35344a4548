"""The report's part about tests between policies: what each branch seemed to be worth, and what it is worth alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from bandits.statistics import Interval, adjust_p_values, mean_interval
from experiments.run_data import FloatArray, RunData
from experiments.summary import paired_p_value
from policies import POLICIES, ABDesign


def branch_tests(data: RunData) -> list[dict[str, Any]]:
    """One entry per test between policies: its rule in words, a row per branch, and a row per branch and segment."""
    return [
        _section(data, label, spec) for label, spec in data.config.policies.items() if spec["policy"] == "BranchTest"
    ]


def biases(data: RunData) -> dict[str, dict[str, Interval]]:
    """For each test between policies, by branch: the effect that it shows minus the true one, in percentage points.

    Only branches that also run alone, in tests whose control does.
    """
    found: dict[str, dict[str, Interval]] = {}
    for label, spec in data.config.policies.items():
        if spec["policy"] == "BranchTest":
            control, *others = _control_first(spec)
            for branch in others:
                truth = _true_effect(data, label, branch, control)
                if truth is not None:
                    bias = 100 * (_effect(data, label, branch, control) - truth)
                    found.setdefault(label, {})[branch] = _mean(bias, data)
    return found


def _section(data: RunData, label: str, spec: dict[str, Any]) -> dict[str, Any]:
    control, *others = _control_first(spec)
    effects = {branch: _effect(data, label, branch, control) for branch in others}
    p_values = _adjusted(effects, data)
    rows = []
    for branch in spec["branches"]:
        visitors, clicks = _counts(data, label, branch)
        row: dict[str, Any] = {"branch": branch, "visitors": visitors.mean(), "is_control": branch == control}
        row["rate"] = _mean(_rate(visitors, clicks), data)
        if branch != control:
            row |= _compared(data, effects[branch], _true_effect(data, label, branch, control))
            row["p"] = p_values[branch]
        rows.append(row)
    return {
        "label": label,
        "words": branch_test_rule(spec),
        "control": control,
        "decisions": _decisions(data, label, spec),
        "rows": rows,
        "has_truth": any("true" in row for row in rows),
        "comparisons": len(others),
        "segments": _segments(data, label, control, others),
    }


def _compared(data: RunData, effect: FloatArray, truth: FloatArray | None) -> dict[str, Any]:
    low, high = np.nanquantile(effect, [0.025, 0.975]) if np.isfinite(effect).any() else (np.nan, np.nan)
    row: dict[str, Any] = {"effect": _mean(effect, data), "single": (float(low), float(high))}
    if truth is not None:
        row |= {"true": _mean(truth, data), "bias": _mean(effect - truth, data)}
    return row


def _segments(data: RunData, label: str, control: str, others: list[str]) -> dict[str, Any] | None:
    prefix = f"record.visitors[{control} | "
    names = [column.removeprefix(prefix)[:-1] for column in data.traces.columns if column.startswith(prefix)]
    if not names:
        return None
    effects = {
        (branch, name): _effect(data, label, f"{branch} | {name}", f"{control} | {name}")
        for branch in others
        for name in names
    }
    p_values = _adjusted(effects, data)
    rows = [
        {
            "branch": branch,
            "segment": name,
            "effect": _mean(effect, data),
            "p": p_values[branch, name],
            "missing": int(np.isnan(effect).sum()),
        }
        for (branch, name), effect in effects.items()
    ]
    return {"rows": rows, "comparisons": len(rows)}


def _mean(values: FloatArray, data: RunData) -> Interval:
    """Over the replications that have a value; nothing is known where a branch had no visitors."""
    there = np.isfinite(values)
    if not there.any():
        return Interval(*(np.array(np.nan),) * 3)
    return mean_interval(values[there], data.clusters[there])


def _adjusted(effects: dict[Any, FloatArray], data: RunData) -> dict[Any, float]:
    there = {key: np.isfinite(effect) for key, effect in effects.items()}
    raw = [paired_p_value(effect[there[key]], data.world[there[key]]) for key, effect in effects.items()]
    return dict(zip(effects, adjust_p_values(np.array(raw), "holm").p_values.tolist(), strict=True))


def _control_first(spec: dict[str, Any]) -> list[str]:
    labels = list(spec["branches"])
    control = labels[spec["design"]["control"]]
    return [control, *(branch for branch in labels if branch != control)]


def _counts(data: RunData, label: str, branch: str) -> tuple[FloatArray, FloatArray]:
    """Visitors and clicks of a branch at the end of each replication, shape (N,)."""
    return (
        data.curves(f"record.visitors[{branch}]")[label][-1],
        data.curves(f"record.clicks[{branch}]")[label][-1],
    )


def _rate(visitors: FloatArray, clicks: FloatArray) -> FloatArray:
    rates: FloatArray = np.divide(clicks, visitors, out=np.full(len(visitors), np.nan), where=visitors > 0)
    return rates


def _effect(data: RunData, label: str, branch: str, control: str) -> FloatArray:
    """Click rate of a branch minus the control's, as each replication's test saw it, shape (N,)."""
    return _rate(*_counts(data, label, branch)) - _rate(*_counts(data, label, control))


def _true_effect(data: RunData, label: str, branch: str, control: str) -> FloatArray | None:
    """What the branch earns per visitor with all visitors of the test, minus what the control does, shape (N,)."""
    spec = data.config.policies[label]
    branches = spec["branches"]
    alone = [_runs_alone(data, branches[name]) for name in (branch, control)]
    if None in alone:
        return None
    length = np.sum([_counts(data, label, name)[0] for name in branches], axis=0)
    rounds = np.concatenate([[0], data.rounds])
    rates = []
    for policy in alone:
        curves = data.curves("reward")[str(policy)]
        totals = [np.interp(length[n], rounds, np.concatenate([[0.0], curves[:, n]])) for n in range(curves.shape[1])]
        rates.append(np.array(totals) / length)
    difference: FloatArray = rates[0] - rates[1]
    return difference


def _runs_alone(data: RunData, branch: dict[str, Any]) -> str | None:
    """Label of the policy of the experiment that is what the branch is."""
    return next((label for label, spec in data.config.policies.items() if spec == branch), None)


def branch_test_rule(spec: dict[str, Any]) -> str:
    """What a test between policies does, in full."""
    labels = list(spec["branches"])
    names = ", ".join(f"arm {i} is {label}" for i, label in enumerate(labels))
    learns = {
        "own": "Each branch learns from its own visitors only.",
        "pooled": "All branches learn from what all of them showed.",
    }
    kind = POLICIES.get(spec["design"]["policy"])
    parameters = {name: value for name, value in spec["design"].items() if name not in ("policy", "stream")}
    if kind is None or not issubclass(kind, ABDesign):
        rule = f"The design is {spec['design']['policy']}."
    else:
        design = kind(**parameters)
        rule = f"{design.division(len(labels))} {design.decision_rule(len(labels))}"
    return f"The arms of this test are policies: {names}. {learns[spec['learn']]} {rule}"


def _decisions(data: RunData, label: str, spec: dict[str, Any]) -> str:
    shipped = data.curves("record.shipped")[label][-1]
    undecided = int((data.curves("record.testing")[label][-1] > 0).sum())
    counts = [(name, int(np.sum(shipped == i))) for i, name in enumerate(spec["branches"])]
    listed = ", ".join(f"{name} in {count}" for name, count in counts if count)
    text = f"Of {len(shipped)} replications it shipped {listed}." if listed else "It shipped nothing."
    return text + (f" In {undecided} the test had not ended." if undecided else "")
