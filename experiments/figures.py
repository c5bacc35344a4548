"""Draws a run's figures from its files."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bandits.plots import (
    plot_curves,
    plot_estimates,
    plot_paired_differences,
    plot_reliability,
    plot_test_length,
    plot_traffic,
    plot_word_effects,
    save_figure,
    style_of,
)
from bandits.statistics import Interval, mean_interval
from experiments.audience import arrivals
from experiments.members import clusters_of
from experiments.report_branches import biases
from experiments.report_lower_bound import LINE, lower_bound_line
from experiments.run_data import FloatArray, IntArray, RunData
from policies import POLICIES, ABDesign

_MOST_NAMED = 6
_TRAFFIC_STEPS = 80
_LONGEST = 40
_MOST_WORDS = 30
REGRETS = {
    "regret": "regret against the best arm per user, in clicks",
    "regret_fixed": "regret against the best single arm, in clicks",
}


def draw_figures(data: RunData) -> dict[str, str]:
    """Write every figure as PNG and SVG into the run folder.

    Returns:
        Names of the figures in the order of the report; figures of traffic are named `traffic_0`, ... and come with the
        label of their policy, the others with an empty text.
    """
    styles = style_of(data.config.policies)
    drawn: dict[str, str] = {}

    def save(name: str, ax: Axes, note: str = "") -> None:
        figure = ax.get_figure(root=True)
        assert isinstance(figure, Figure)
        save_figure(figure, data.run.figures / name)
        drawn[name] = note

    if len(data.summary) > 1:
        ax = plot_paired_differences(extra_clicks(data), f"extra clicks over {data.config.baseline}", styles=styles)
        save("extra_clicks", ax)
    lengths, longest, ends = hindsight_lengths(data), planned_lengths(data), test_ends(data)
    if lengths:
        planned = None if longest is None else float(longest.mean())
        interval = Interval(*(np.array(values) for values in zip(*lengths.values(), strict=True)))
        best = data.summary.nlargest(1, "reward").iloc[0]
        references = {str(best["policy"]): float(best["reward"])}
        save("test_length", plot_test_length(list(lengths), interval, planned=planned, references=references))
    for name, label in REGRETS.items() if data.has_users else [("regret", REGRETS["regret_fixed"])]:
        phases = None if ends is None else {"A/B test": (0.0, float(ends.mean()))}
        ax = plot_curves(data.rounds, data.curves(name), label, styles=styles, phases=phases, world=data.clusters)
        save(name, ax)
    bound = lower_bound_line(data)
    if bound is not None:
        label, lines = REGRETS["regret_fixed"], {LINE: bound}
        curves, world = data.curves("regret"), data.clusters
        ax = plot_curves(data.rounds, curves, label, styles=styles, world=world, references=lines, xscale="log")
        save("regret_log", ax)
    if data.same_arms:
        for index, label in enumerate(shown_traffic(data)):
            save(f"traffic_{index}", _draw_traffic(data, label), label)
    if found := biases(data):
        xlabel = "bias of the effect over the control, in percentage points"
        save("branch_bias", plot_estimates(found, xlabel, styles=styles))
    if data.why.get("words"):
        save("words", plot_word_effects(strongest_words(data), "change of the log-odds of a click", ("item", "user")))
    if data.model:
        save("reliability", plot_reliability(data.model["reliability"]))
    return drawn


def strongest_words(data: RunData) -> list[tuple[str, str, float]]:
    """The words of the explained click that did most, in the order of the text: word, text, effect."""
    effects = [(str(word), str(of), float(effect)) for word, of, effect in data.why["words"]["effects"]]
    least = sorted((abs(effect) for _, _, effect in effects), reverse=True)[:_MOST_WORDS][-1]
    return [word for word in effects if abs(word[2]) >= least]


def extra_clicks(data: RunData) -> Mapping[str, Interval]:
    """Clicks over the baseline at the end, by policy."""
    rows = data.summary[data.summary["policy"] != data.config.baseline]
    columns = ["policy", "extra", "extra_low", "extra_high"]
    return {
        str(label): Interval(*(np.float64(value) for value in interval))  # type: ignore[arg-type]
        for label, *interval in rows[columns].itertuples(index=False)
    }


def hindsight_lengths(data: RunData) -> dict[int, Interval]:
    """Clicks of the A/B test at other lengths, by visitors in the test; empty where the baseline is no A/B test."""
    rows = data.run.read("test_lengths")
    by_length = {int(length): rows[rows["length"] == length] for length in np.sort(rows["length"].unique())}
    return {
        length: mean_interval(group["reward"], clusters_of(group["world"].to_numpy(dtype=np.int64), data.members))
        for length, group in by_length.items()
    }


def baseline_design(data: RunData) -> ABDesign | None:
    """The baseline, where it is an A/B test over the arms."""
    spec = data.config.policies[data.config.baseline]
    kind = POLICIES.get(spec["policy"])
    if kind is None or not issubclass(kind, ABDesign):
        return None
    return kind(**{name: value for name, value in spec.items() if name not in ("policy", "stream")})


def planned_lengths(data: RunData) -> IntArray | None:
    """Most visitors of the baseline's test in each world, shape (W,); None where it is no test, or may never end."""
    design = baseline_design(data)
    lengths = [] if design is None else [design.length(int(count)) for count in arms_in_test(data)]
    return np.array(lengths, dtype=np.int64) if lengths and None not in lengths else None


def test_ends(data: RunData) -> FloatArray | None:
    """Visitors until each replication's test was decided, to the next snapshot, shape (N,); None without a test.

    Where it was not decided, the horizon.
    """
    if baseline_design(data) is None:
        return None
    testing = data.curves("record.testing")[data.config.baseline] > 0
    ends: FloatArray = np.append(data.rounds, data.rounds[-1])[testing.sum(axis=0)].astype(np.float64)
    return ends


def arms_in_test(data: RunData) -> IntArray:
    """Number of arms that take part in the baseline's test in each world, shape (W,): those there at its start."""
    table, weights = data.table, data.config.policies[data.config.baseline]["weights"]
    if table is None:
        return np.array([num_arms(data) if weights is None else np.count_nonzero(weights)])
    there = np.arange(num_arms(data)) < table.num_items[:, np.newaxis]
    late = arrivals(table, [(str(item), int(start)) for item, start in data.manifest["late_items"]])
    if late is not None:
        there &= late == 0
    if weights is not None:
        there &= np.asarray(weights) > 0
    counts: IntArray = there.sum(axis=1)
    return counts


def num_arms(data: RunData) -> int:
    """Number of arms `K`, padded ones included."""
    return int(next(iter(data.traffic.values())).shape[1])


def shown_traffic(data: RunData) -> list[str]:
    """The policies whose traffic is drawn: the config's choice, else the baseline and the three that earned most."""
    if data.config.report.traffic is not None:
        return data.config.report.traffic
    best = data.summary.sort_values("reward", ascending=False)["policy"].tolist()
    others = [str(label) for label in best if label != data.config.baseline]
    return [data.config.baseline, *others[:3]]


def arm_names(data: RunData) -> list[str]:
    """What figures call the arms: their texts, their ids where there are none, else their numbers."""
    table = data.table
    if table is None:
        return [f"arm {k}" for k in range(num_arms(data))]
    return [str(text or identifier) for text, identifier in zip(table.item_texts[0], table.item_ids[0], strict=True)]


def _draw_traffic(data: RunData, label: str) -> Axes:
    # Snapshots are geometric; drawn on a linear axis, most of them would lie in its first percent.
    even = np.linspace(0, data.rounds[-1], _TRAFFIC_STEPS + 1)[1:]
    steps = np.unique(np.searchsorted(data.rounds, even))
    names = arm_names(data)
    return plot_traffic(
        data.rounds[steps],
        data.traffic[label][steps],
        names,
        always=[arm for arm, _ in data.late_items][:_MOST_NAMED],
        marks={_cut(f"arrival of {names[arm]}"): float(start) for arm, start in data.late_items},
    )


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
