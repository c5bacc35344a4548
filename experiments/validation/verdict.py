"""What a model is validated for: ranking, level, dynamics; each with its evidence, never one word for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from scipy.special import ndtri

from experiments.validation.config import Thresholds

Answer = Literal["yes", "no", "cannot tell"]
ASPECTS = ("ranking", "level", "dynamics")
_Lines = list["Line"]


class Line(NamedTuple):
    """One piece of evidence.

    Attributes:
        aspect: `ranking`, `level` or `dynamics`.
        question: What was looked at.
        found: The numbers.
        held_to: The threshold, in words.
        answer: Whether they reach it; `cannot tell` where the interval holds the threshold, or nothing can be known.
    """

    aspect: str
    question: str
    found: str
    held_to: str
    answer: Answer


def verdict(found: Mapping[str, Any], kind: str, thresholds: Thresholds) -> list[Line]:
    """All evidence of a validation, held to the thresholds.

    Args:
        found: Results by name, as in `validation.json`.
        kind: Kind of the log.
        thresholds: What counts as good enough.
    """
    return [
        _agreement(found["agreement"], found["truth"], thresholds),
        _placebo(found["placebo"]),
        *_level(found, kind, thresholds),
        *_perturbed(found["perturbations"], thresholds),
        *_dynamics(found["predictive"]["later"], thresholds),
    ]


def answers(lines: Sequence[Line]) -> dict[str, Answer]:
    """The answer of each aspect: no when any line says no, yes when all say yes."""
    found: dict[str, Answer] = {}
    for aspect in ASPECTS:
        given = {line.answer for line in lines if line.aspect == aspect}
        found[aspect] = "no" if "no" in given else "yes" if given == {"yes"} else "cannot tell"
    return found


def inside(low: float | None, high: float | None, band: Sequence[float]) -> Answer:
    """Whether an interval lies in a band.

    >>> inside(0.95, 1.02, [0.9, 1.1]), inside(1.15, 1.3, [0.9, 1.1]), inside(0.8, 1.0, [0.9, 1.1])
    ('yes', 'no', 'cannot tell')
    """
    if low is None or high is None:
        return "cannot tell"
    if high < band[0] or low > band[1]:
        return "no"
    return "yes" if band[0] <= low and high <= band[1] else "cannot tell"


def _agreement(found: Mapping[str, Any] | None, truth: str, thresholds: Thresholds) -> Line:
    question = "policies rank as in reality"
    held_to = f"at least {thresholds.agreement:.0%} of the pairs that differ in reality in the same order"
    if found is None:
        return Line("ranking", question, f"the real world is {truth}", held_to, "cannot tell")
    share, tau, slope = found["share"], found["tau_b"], found["slope"]
    words = (
        f"{found['same']} of {found['significant']} pairs that differ (of {found['pairs']}; paired t, Holm) in the "
        f"same order{_share(share)}; tau-b {_number(tau['value'])}; real on predicted uplift: slope "
        f"{_number(slope['value'])}{_ends(slope)}; truth: {truth}"
    )
    answer: Answer = "cannot tell"
    if found["significant"] >= thresholds.pairs and len(found["policies"]) >= thresholds.policies:
        answer = inside(share["low"], share["high"], [thresholds.agreement, 1.0])
    elif len(found["policies"]) < thresholds.policies:
        held_to += f", of at least {thresholds.policies} policies"
    else:
        held_to += f", and at least {thresholds.pairs} such pairs"
    return Line("ranking", question, words, held_to, answer)


def _placebo(found: Mapping[str, Any]) -> Line:
    good = found["largest_regret"] == 0 and found["low"] <= found["nominal"] <= found["high"]
    words = (
        f"largest regret {found['largest_regret']:g}; {found['shipped']:.2%} of {found['tests']:,} A/B tests ship a "
        f"winner ({found['low']:.2%} to {found['high']:.2%})"
    )
    held_to = f"no regret, and {found['nominal']:.1%} in the 99 percent interval"
    return Line("ranking", "identical arms", words, held_to, "yes" if good else "no")


def _perturbed(found: Mapping[str, Mapping[str, float]], thresholds: Thresholds) -> _Lines:
    lines: _Lines = []
    if not found:
        reason = "the model knows columns of its items beside their texts, and refuses other texts"
        held_to = f"{thresholds.mean_change:.0%} on average, {thresholds.largest_change:.0%} at most"
        return [Line("level", "texts changed", reason, held_to, "cannot tell")]
    for name, moved in found.items():
        largest = max(moved["largest_rise"], moved["largest_fall"])
        good = moved["mean_size"] <= thresholds.mean_change and largest <= thresholds.largest_change
        words = (
            f"propensities move by {moved['mean_size']:.1%} on average, {largest:.1%} at most, "
            f"of {moved['rows']:,.0f} rows"
        )
        held_to = f"{thresholds.mean_change:.0%} on average, {thresholds.largest_change:.0%} at most"
        lines.append(Line("level", f"texts changed by {name}", words, held_to, "yes" if good else "no"))
    return lines


def _level(found: Mapping[str, Any], kind: str, thresholds: Thresholds) -> _Lines:
    report, level, part = found["predictive"]["calibration"], thresholds.level, thresholds.part
    lines: _Lines = []
    if kind == "tests":
        reason = "a log of tests shows differences inside a test: their level is taken from the tests, not predicted"
        lines.append(Line("level", "clicks of all rows", reason, _band(level), "cannot tell"))
    else:
        lines.append(_ratio("clicks of all rows", report["overall"], level))
    lines.append(_parts("clicks by decile of prediction", report["deciles"], part))
    if found["predictive"]["segments"]:
        lines.append(_parts("clicks by segment", list(found["predictive"]["segments"].values()), part))
    chosen = found["favourites"]
    lines.append(_ratio("the model's favourites", chosen["each"], part))
    if chosen["members"] is not None:
        lines.append(_ratio("each member's favourites, seen by the others", chosen["members"], part))
    for name, distance in found["marginals"].items():
        js = distance["js"]
        words = f"{js['value']:.4f} bits ({js['low']:.4f} to {js['high']:.4f}; by chance up to {js['by_chance']:.4f})"
        answer = inside(js["low"], js["high"], [0.0, thresholds.divergence])
        held_to = f"Jensen-Shannon divergence at most {thresholds.divergence:g}"
        lines.append(Line("level", f"where clicks fall, by {name}", words, held_to, answer))
    return [*lines, _told_apart(found["two_sample"], thresholds)]


def _told_apart(found: Mapping[str, Any] | None, thresholds: Thresholds) -> Line:
    question, held_to = "real and simulated clicks are alike", f"AUC of a classifier at most {thresholds.auc:g}"
    if found is None:
        return Line("level", question, "fewer than 100 clicks, or 6 units", held_to, "cannot tell")
    words = (
        f"AUC {found['auc']:.3f} ({found['low']:.3f} to {found['high']:.3f}; a model that is right has "
        f"{found['null_low']:.3f} to {found['null_high']:.3f})"
    )
    return Line("level", question, words, held_to, inside(found["low"], found["high"], [0.0, thresholds.auc]))


def _dynamics(later: Mapping[str, Any] | None, thresholds: Thresholds) -> _Lines:
    reason = (
        "a click log adds up impressions by user and item: which came first, what a visit does to the next, who comes "
        "back and who leaves is not in it"
    )
    lines = [Line("dynamics", "what one visit does to the next", reason, "sequences of visits", "cannot tell")]
    if later is None:
        words = "the log has no times"
        return [*lines, Line("dynamics", "clicks later in time", words, _band(thresholds.level), "cannot tell")]
    line = _ratio("clicks later in time", later, thresholds.level)
    return [*lines, line._replace(aspect="dynamics", found=f"{line.found}, {later['rows']}")]


def _ratio(question: str, found: Mapping[str, Any], band: Sequence[float]) -> Line:
    words = f"observed over predicted {_number(found['ratio'])}{_ends(found)}"
    return Line("level", question, words, _band(band), inside(found["low"], found["high"], band))


def _parts(question: str, parts: Sequence[Mapping[str, Any]], band: Sequence[float]) -> Line:
    given = [inside(*_at_once(part, len(parts)), band) for part in parts]
    ratios = [part["ratio"] for part in parts if part["ratio"] is not None]
    ends = f"{min(ratios):.3f} to {max(ratios):.3f}" if ratios else "none"
    words = (
        f"observed over predicted from {ends} over {len(parts)} parts: {given.count('yes')} inside, "
        f"{given.count('no')} outside, {given.count('cannot tell')} undecided"
    )
    answer: Answer = "no" if "no" in given else "yes" if given and set(given) == {"yes"} else "cannot tell"
    return Line("level", question, words, _band(band), answer)


def _at_once(part: Mapping[str, Any], count: int) -> tuple[float | None, float | None]:
    """The 95 percent interval of one of `count` parts, widened so that all hold at once (Bonferroni)."""
    if part["low"] is None:
        return None, None
    wider = float(ndtri(1 - 0.025 / count) / ndtri(0.975))
    low: float = part["ratio"] - wider * (part["ratio"] - part["low"])
    high: float = part["ratio"] + wider * (part["high"] - part["ratio"])
    return low, high


def _band(band: Sequence[float]) -> str:
    return f"{band[0]:g} to {band[1]:g}"


def _share(found: Mapping[str, Any]) -> str:
    return "" if found["value"] is None else f", {found['value']:.0%} ({found['low']:.0%} to {found['high']:.0%})"


def _ends(found: Mapping[str, Any]) -> str:
    return "" if found["low"] is None else f" ({found['low']:.3f} to {found['high']:.3f})"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"
