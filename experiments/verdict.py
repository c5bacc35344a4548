"""The report's first paragraph: who won, by how much, how sure that is, and where nothing is certain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LEVEL = 0.05
_MOST_NAMED = 4


@dataclass(frozen=True)
class Comparison:
    """A policy against the baseline.

    Attributes:
        label: The policy.
        extra: Clicks more than the baseline, on average per replication.
        low: Lower end of the paired 95 percent interval of `extra`.
        high: Upper end.
        p_holm: P-value, adjusted by Holm over all policies of the experiment.
    """

    label: str
    extra: float
    low: float
    high: float
    p_holm: float

    @property
    def certain(self) -> bool:
        """Whether the difference survives the correction and its interval excludes zero."""
        return self.p_holm < LEVEL and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class Setting:
    """What was compared.

    Attributes:
        baseline: Label of the baseline.
        baseline_clicks: Its clicks, on average per replication.
        horizon: Visitors per replication.
        units: Number of independent units behind each interval.
        unit: What a unit is, in the singular.
        world: The world in which this happened, e.g. "the BERT world".
    """

    baseline: str
    baseline_clicks: float
    horizon: int
    units: int
    unit: str
    world: str


def verdict(
    comparisons: Sequence[Comparison],
    setting: Setting,
    *,
    tied_with_best: Sequence[str] = (),
    needed: int | None = None,
) -> str:
    """The outcome of an experiment in plain words.

    Args:
        comparisons: Every policy but the baseline, at least one.
        setting: What was compared.
        tied_with_best: Policies whose paired 95 percent interval against the best one includes zero.
        needed: Units that would settle the best policy's difference, where it is open.
    """
    best = max(comparisons, key=lambda comparison: comparison.extra)
    if setting.units == 1:
        return (
            f"Nothing is certain: a single {setting.unit} proves nothing. {_scope(setting)} The highest of the others, "
            f"{best.label}, earned {_number(setting.baseline_clicks + best.extra)}."
        )
    losers = [c.label for c in comparisons if c.certain and c.extra < 0]
    if best.certain and best.extra > 0:
        sentences = _win(best, comparisons, setting, tied_with_best)
    elif len(losers) == len(comparisons):
        return (
            f"{setting.baseline} won: no bandit did. {_scope(setting)} Every other policy earned fewer for certain; "
            f"the nearest, {best.label}, earned {_gap(best, setting)}."
        )
    else:
        sentences = _no_win(best, losers, setting, needed)
    if losers:
        sentences.append(f"{listed(losers)} earned fewer clicks than {setting.baseline} for certain.")
    return " ".join(sentence for sentence in sentences if sentence)


def _win(best: Comparison, comparisons: Sequence[Comparison], setting: Setting, tied: Sequence[str]) -> list[str]:
    also = [c.label for c in comparisons if c.certain and c.extra > 0 and c is not best]
    open_ones = [c.label for c in comparisons if not c.certain]
    return [
        f"{best.label} won: it earned {_gap(best, setting)}.",
        _scope(setting),
        f"{listed(also)} also beat it for certain." if also else "No other policy beat it for certain.",
        f"Which policy is best is not certain: {listed(tied)} cannot be told apart from {best.label}." if tied else "",
        f"Nothing is certain about {listed(open_ones)} against {setting.baseline}." if open_ones else "",
    ]


def _no_win(best: Comparison, losers: Sequence[str], setting: Setting, needed: int | None) -> list[str]:
    opening = (
        f"No policy beat {setting.baseline} for certain."
        if losers
        else f"Nothing is certain: no policy differs from {setting.baseline} beyond chance."
    )
    return [
        opening,
        _scope(setting),
        f"The highest of the others, {best.label}, earned {_gap(best, setting)}, which may be luck.",
        f"To tell such a difference from zero takes about {counted(needed, setting.unit)}."
        if needed is not None
        else "",
    ]


def counted(count: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "world"), counted(2000, "world")
    ('1 world', '2,000 worlds')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _scope(setting: Setting) -> str:
    where = f"in each of {counted(setting.units, setting.unit)}" if setting.units > 1 else f"in one {setting.unit}"
    return (
        f"{setting.baseline} itself earned {_number(setting.baseline_clicks)} clicks on average, in {setting.world}, "
        f"over {counted(setting.horizon, 'visitor')} {where}."
    )


def _gap(comparison: Comparison, setting: Setting) -> str:
    sign = 1 if comparison.extra >= 0 else -1
    low, high = sorted((sign * comparison.low, sign * comparison.high))
    extra = sign * comparison.extra
    share = f"{100 * extra / setting.baseline_clicks:.1f} percent; " if setting.baseline_clicks else ""
    chance = "below 0.001" if comparison.p_holm < 0.001 else f"{comparison.p_holm:.3f}"
    return (
        f"{_number(extra)} clicks {'more' if sign > 0 else 'fewer'} than {setting.baseline} ({share}paired 95 percent "
        f"interval {_number(low)} to {_number(high)}; p-value after Holm's correction {chance})"
    )


def listed(labels: Sequence[str]) -> str:
    """Labels as a list in words, cut to a count where they are many.

    >>> listed(["A", "B", "C"]), listed(["A", "B", "C", "D", "E"])
    ('A, B and C', 'A, B, C and 2 others')
    """
    if len(labels) == 1:
        return labels[0]
    if len(labels) > _MOST_NAMED:
        return f"{', '.join(labels[: _MOST_NAMED - 1])} and {len(labels) - _MOST_NAMED + 1} others"
    return f"{', '.join(labels[:-1])} and {labels[-1]}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 1 else f"{value:.2g}"
