"""The report's sentences: the verdict, the A/B test's rule, what its length cost."""

from __future__ import annotations

import numpy as np

from bandits.statistics import paired_difference, replications_needed
from experiments.figures import arm_names, arms_in_test, baseline_design, hindsight_lengths, planned_lengths, test_ends
from experiments.report_branches import branch_test_rule
from experiments.report_members import members_verdict
from experiments.run_data import WORLDS, FloatArray, IntArray, RunData
from experiments.verdict import Comparison, Setting, verdict
from policies import ABDesign, ABTest


def run_verdict(data: RunData) -> str:
    """The first paragraph."""
    baseline = data.config.baseline
    rows = data.summary[data.summary["policy"] != baseline]
    finals = {label: curve[-1] for label, curve in data.curves("reward").items()}
    clicks = float(finals[baseline].mean())
    setting = Setting(baseline, clicks, data.config.simulation.horizon, data.num_units, data.unit, WORLDS[data.kind])
    if rows.empty:
        return f"{baseline} ran alone: it earned {clicks:,.1f} clicks on average, and there is nothing to compare."
    columns = ["extra", "extra_low", "extra_high", "p_holm"]
    numbers = rows[columns].to_numpy(dtype=np.float64)
    comparisons = [Comparison(str(label), *row) for label, row in zip(rows["policy"], numbers.tolist(), strict=True)]
    best = max(comparisons, key=lambda comparison: comparison.extra)
    needed = None
    if data.num_worlds == 1 and data.num_units > 1 and best.extra != 0 and not best.certain:
        spread = float(np.std(finals[best.label] - finals[baseline], ddof=1))
        needed = replications_needed(abs(best.extra), spread) if spread > 0 else None
    text = verdict(comparisons, setting, tied_with_best=_tied(data, finals, best.label), needed=needed)
    text += members_verdict(data, best.label) + _in_other_worlds(data, best.label)
    if (data.replications["recommended"][data.replications["policy"] == baseline] < 0).all() and baseline_design(data):
        lengths = planned_lengths(data)
        takes = "" if lengths is None else f" its test takes up to {_range(lengths)} visitors, so"
        text += (
            f" Mind that {baseline} had not finished when the run ended:{takes} it shipped nothing, and this is a "
            "comparison with a plain split."
        )
    return text


def _in_other_worlds(data: RunData, best: str) -> str:
    """What the best policy earned over the baseline in the other kinds of world."""
    rows = data.summaries[(data.summaries["policy"] == best) & (data.summaries["kind"] != data.kind)]
    return "".join(
        f" In {WORLDS[str(row['kind'])]}, {best} earned {row['extra']:+,.0f} clicks against {data.config.baseline} "
        f"(95 percent interval {row['extra_low']:+,.0f} to {row['extra_high']:+,.0f})."
        for row in rows.to_dict("records")
    )


def _against_length(data: RunData, champion: str, length: int) -> str:
    """How the best policy compares with the A/B test of some length, replication by replication."""
    rows = data.run.read("test_lengths")
    rewards = rows[rows["length"] == length].sort_values("replication")["reward"].to_numpy(dtype=np.float64)
    gap = paired_difference(data.curves("reward")[champion][-1], rewards, data.clusters)
    relation = "more than" if gap.low > 0 else "less than" if gap.high < 0 else "not to be told apart from"
    interval = f"{gap.estimate:+,.1f}, 95 percent interval {gap.low:+,.1f} to {gap.high:+,.1f}"
    return f"{relation} that ({interval})"


def sanity_words(data: RunData) -> str:
    """Whether the best policy beats a plain split for certain; empty where no policy is one."""
    splits = [label for label, spec in data.config.policies.items() if spec["policy"] == "FixedSplit"]
    finals = {label: curve[-1] for label, curve in data.curves("reward").items()}
    best = max(finals, key=lambda label: float(finals[label].mean()))
    if not splits or best in splits:
        return ""
    gap = paired_difference(finals[best], finals[splits[0]], data.clusters)
    verb = "beats" if gap.low > 0 else "does not beat"
    return (
        f"As a sanity check, {best} {verb} {splits[0]}, which never learns: {gap.estimate:+,.1f} clicks, paired "
        f"95 percent interval {gap.low:+,.1f} to {gap.high:+,.1f}."
    )


def _tied(data: RunData, finals: dict[str, FloatArray], best: str) -> list[str]:
    tied = []
    for label, rewards in finals.items():
        if label not in (best, data.config.baseline):
            gap = paired_difference(finals[best], rewards, data.clusters)
            if not (gap.low > 0 or gap.high < 0):
                tied.append(label)
    return tied


def baseline_rule(data: RunData) -> str:
    """What the baseline does, in full."""
    design = baseline_design(data)
    if design is None:
        spec = data.config.policies[data.config.baseline]
        if spec["policy"] == "BranchTest":
            return branch_test_rule(spec)
        given = {name: value for name, value in spec.items() if name not in ("policy", "stream") and value is not None}
        parameters = ", ".join(f"{name} = {value}" for name, value in given.items())
        return f"The baseline is the policy {spec['policy']}" + (f" with {parameters}." if parameters else ".")
    arms, lengths = arms_in_test(data), planned_lengths(data)
    usual = int(np.bincount(arms).argmax())
    sentences = [design.division(usual), design.decision_rule(usual)]
    if data.same_arms and data.table is not None:
        sentences.append(f"Arm {design.control} is “{arm_names(data)[design.control]}”.")
    if len(set(arms)) > 1:
        sentences.append(f"This is the rule for {usual} arms; tests here have {_range(arms)} of them")
        sentences[-1] += f" and take at most {_range(lengths)} visitors." if lengths is not None else "."
    sentences.append("Arms that arrive during or after the test take no part.")
    return " ".join([*sentences, _decided_words(data, design)])


def _range(values: IntArray) -> str:
    """One number where all are the same, else the least and the largest."""
    low, high = int(values.min()), int(values.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _decided_words(data: RunData, design: ABDesign) -> str:
    """What came of the test in this run."""
    lengths, horizon = planned_lengths(data), data.config.simulation.horizon
    if isinstance(design, ABTest) and lengths is not None and lengths.min() >= horizon:
        return f"Here the horizon of {horizon:,} visitors ends before the test does, so nothing is ever shipped."
    rows = data.replications[
        (data.replications["kind"] == data.kind) & (data.replications["policy"] == data.config.baseline)
    ]
    picks = rows["recommended"].to_numpy(dtype=np.int64)
    kept, unfinished = int(np.sum(picks == design.control)), int(np.sum(picks < 0))
    return (
        f"In this run it decided for the control in {kept} of {len(picks)} replications and for another arm in "
        f"{len(picks) - kept - unfinished}" + (f"; {unfinished} did not finish." if unfinished else ".")
    )


def phase_words(data: RunData) -> str:
    """What the shaded stretch of the curves is."""
    ends = test_ends(data)
    if ends is None:
        return ""
    if ends.min() >= data.config.simulation.horizon:
        return f"All of it is shaded: the test of {data.config.baseline} does not end."
    stretch = "The shaded stretch is the test" if ends.min() == ends.max() else "Shaded is the mean length of the test"
    return f"{stretch} of {data.config.baseline}, to the next point of the curves."


def hindsight_words(data: RunData) -> str:
    """What the best length would have brought."""
    lengths = hindsight_lengths(data)
    if not lengths:
        return ""
    best = max(lengths, key=lambda n: float(lengths[n].estimate))
    clicks = float(lengths[best].estimate)
    rows = data.summary.set_index("policy")["reward"]
    planned, champion = float(rows[data.config.baseline]), str(rows.idxmax())
    sentence = (
        f"Had one known the best length beforehand, {best:,} visitors among those tried, the A/B test would have "
        f"earned {clicks:,.0f} clicks instead of {planned:,.0f}."
    )
    if champion != data.config.baseline:
        sentence += f" {champion} earned {rows[champion]:,.0f}: {_against_length(data, champion, best)}."
    return sentence + " Choosing the length afterwards flatters the A/B test: nobody can run it that way."
