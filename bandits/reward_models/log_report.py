"""What a click log can and cannot answer, on one page, before anything is trained."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from tokenizers import Tokenizer

from bandits.reward_models.click_log import ClickLog
from bandits.reward_models.weights import MINI_LM, resolve_weights
from bandits.statistics import minimum_detectable_effect

FEW_CLICKS = 30  # a click rate from fewer clicks has a relative standard error above 18 percent
MAX_UNKNOWN_SHARE = 0.05
_MIN_GROUPS, _MIN_FIT_CLICKS, _MIN_DAYS = 20, 500, 14
_TEST_DAYS = (7, 14, 28)


@dataclass(frozen=True)
class Answer:
    """Whether the log supports one of the product's answers.

    Attributes:
        question: The question.
        supported: Whether the log can answer it.
        reason: Why, or why not.
    """

    question: str
    supported: bool
    reason: str


@dataclass(frozen=True)
class LogReport:
    """What `check_log` found; `to_text` prints it.

    Attributes:
        name: Where the log came from.
        kind: `pairs` or `tests`.
        counts: Rows, pairs, users, items, groups, impressions, clicks (and tests, contrasts).
        click_rate: Clicks per impression.
        facts: Duplicates, missing values, rows set aside.
        split_by: The column whose values a split keeps together.
        first: Earliest time (UTC); None without times.
        last: Latest time.
        scripts: Share of letters by script, largest first.
        tokenizer: The tokenizer that unknown tokens were counted with; None when it was not to be found.
        unknown_share: Share of its tokens that are unknown; None without a tokenizer.
        few_clicks: Number of arms with fewer than `FEW_CLICKS` clicks.
        arms: Number of arms: items, or items inside a contrast.
        arms_per_choice: Arms among which an A/B test would split traffic.
        impressions_per_day: Traffic; None when neither known nor given.
        detectable: Smallest absolute difference in click rate found with 80 percent power at 5 percent, by duration;
            nan where even a rate of 1 would go unnoticed.
        answers: Which of the product's answers the log supports.
        warnings: What to look at first.
    """

    name: str
    kind: str
    counts: Mapping[str, int]
    click_rate: float
    facts: Mapping[str, int]
    split_by: str
    first: str | None
    last: str | None
    scripts: Mapping[str, float]
    tokenizer: str | None
    unknown_share: float | None
    few_clicks: int
    arms: int
    arms_per_choice: int
    impressions_per_day: float | None
    detectable: Mapping[str, float]
    answers: tuple[Answer, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values."""
        return asdict(self)

    def to_text(self) -> str:
        """The report as one page of text."""
        facts = {name: count for name, count in self.facts.items() if name != "rows" and count}
        lines = [
            f"{self.name}: a log of {self.kind}",
            "",
            _line("size", ", ".join(f"{count:,} {name}" for name, count in self.counts.items())),
            _line("click rate", f"{self.click_rate:.3%}"),
            _line(
                "found",
                ", ".join(f"{count:,} {name}" for name, count in facts.items()) or "no duplicates, nothing missing",
            ),
            _line("split by", f"{self.split_by}, {self.counts['groups']:,} groups"),
            _line("time", f"{self.first} to {self.last} (UTC)" if self.first else "the log has no times"),
            _line("script", ", ".join(f"{script} {share:.1%}" for script, share in list(self.scripts.items())[:4])),
            _line("unknown tokens", self._unknown()),
            _line("thin arms", f"{self.few_clicks:,} of {self.arms:,} arms have fewer than {FEW_CLICKS} clicks"),
            "",
            self._traffic(),
        ]
        lines += [f"  {duration:<24} {self._effect(d)}" for duration, d in self.detectable.items()]
        lines += ["", "What this log can answer:"]
        lines += [f"  {'yes' if a.supported else 'no ':<4} {a.question}: {a.reason}" for a in self.answers]
        if self.warnings:
            lines += ["", "Look at this first:", *(f"  ! {warning}" for warning in self.warnings)]
        return "\n".join(lines)

    def _effect(self, difference: float) -> str:
        if np.isnan(difference):
            return "none: even a click rate of 100% would go unnoticed"
        return f"{difference:.3%} absolute, {difference / self.click_rate:.1%} relative"

    def _unknown(self) -> str:
        if self.unknown_share is None:
            return "not counted: the tokenizer was not found"
        return f"{self.unknown_share:.2%} for {self.tokenizer}"

    def _traffic(self) -> str:
        split = f"split over {self.arms_per_choice} arms (80% power, 5% level)"
        if self.impressions_per_day is None:
            return f"Smallest difference between two arms to detect with as many impressions as the log has, {split}:"
        traffic = f"{self.impressions_per_day:,.0f} impressions a day"
        return f"Smallest difference between two arms to detect at {traffic}, {split}:"


def check_log(log: ClickLog, *, weights: str = MINI_LM, impressions_per_day: float | None = None) -> LogReport:
    """Describe a log and say which questions it can answer.

    Args:
        log: The log.
        weights: Model whose tokenizer is tried on the texts, as in `resolve_weights`.
        impressions_per_day: Traffic to plan with; by default that of the log, if it has times.

    Raises:
        ValueError: When `impressions_per_day` is not positive.
    """
    if impressions_per_day is not None and not impressions_per_day > 0:
        raise ValueError(f"`impressions_per_day` must be above 0. Got {impressions_per_day}.")
    rows, pairs = log.rows, log.pairs
    impressions, clicks = int(rows["impressions"].sum()), int(rows["clicks"].sum())
    split_by = "group" if log.has_groups else "user_text" if log.users else "item_text"
    tests = log.kind == "tests"
    counts = {
        "rows": int(log.facts.get("rows", len(rows))),
        "distinct pairs": len(pairs),
        **({"tests": pairs["world"].nunique(), "contrasts": pairs["contrast"].nunique()} if tests else {}),
        "users": len(log.users),
        "items": len(log.items),
        "groups": int(pairs[split_by].nunique()),
        "impressions": impressions,
        "clicks": clicks,
    }
    arms = pairs.groupby(["contrast", "item_text"])["clicks"].sum()
    per_choice = int(np.median(pairs.groupby("contrast").size())) if tests else len(log.items)
    first, last = rows["time"].min(), rows["time"].max()
    if impressions_per_day is None and not pd.isna(first):
        impressions_per_day = impressions / _days(first, last)
    texts = [*log.users, *log.items]
    tokenizer, unknown = _unknown_share(texts, weights)
    report = LogReport(
        name=log.name,
        kind=log.kind,
        counts=counts,
        click_rate=log.base_rate,
        facts=dict(log.facts),
        split_by=split_by,
        first=None if pd.isna(first) else f"{first:%Y-%m-%d %H:%M}",
        last=None if pd.isna(last) else f"{last:%Y-%m-%d %H:%M}",
        scripts=scripts(texts),
        tokenizer=tokenizer,
        unknown_share=unknown,
        few_clicks=int((arms < FEW_CLICKS).sum()),
        arms=len(arms),
        arms_per_choice=per_choice,
        impressions_per_day=impressions_per_day,
        detectable=_detectable(log.base_rate, impressions, impressions_per_day, per_choice),
        answers=_answers(log, counts, split_by, first, last),
        warnings=(),
    )
    return LogReport(**{**vars(report), "warnings": _warnings(report)})


def scripts(texts: Sequence[str]) -> dict[str, float]:
    """Share of letters by script (the first word of their Unicode names), largest first.

    >>> scripts(["ab", "新闻"])
    {'Latin': 0.5, 'Cjk': 0.5}
    """
    letters = Counter(letter for text in texts for letter in text if letter.isalpha())
    found: Counter[str] = Counter()
    for letter, count in letters.items():
        found[unicodedata.name(letter, "UNKNOWN").split()[0].title()] += count
    total = max(1, sum(found.values()))
    return {script: count / total for script, count in found.most_common()}


def _line(name: str, value: str) -> str:
    return f"  {name:<16} {value}"


def _unknown_share(texts: Sequence[str], name: str) -> tuple[str | None, float | None]:
    """Name of the tokenizer and the share of its tokens that are unknown; the library alone is enough, no torch."""
    try:
        folder = resolve_weights(name, texts=texts).folder
    except FileNotFoundError:
        return None, None
    if folder is None:
        return name, 0.0  # word pieces made of these very texts
    if not (folder / "tokenizer.json").is_file():
        return None, None
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    unknown = {tokenizer.token_to_id("[UNK]"), tokenizer.token_to_id("<unk>")} - {None}
    found = [encoded.ids for encoded in tokenizer.encode_batch(list(texts), add_special_tokens=False)]
    total = sum(len(ids) for ids in found)
    return name, sum(token in unknown for ids in found for token in ids) / max(1, total)


def _days(first: pd.Timestamp, last: pd.Timestamp) -> int:
    """Calendar days from the first to the last, both counted: dates without a time of day are whole days."""
    return int((last.normalize() - first.normalize()).days) + 1


def _detectable(rate: float, impressions: int, per_day: float | None, arms: int) -> dict[str, float]:
    if not 0 < rate < 1:
        return {}
    if per_day is None:
        return {"the log's impressions": minimum_detectable_effect(rate, impressions / arms)}
    return {f"{days} days": minimum_detectable_effect(rate, per_day * days / arms) for days in _TEST_DAYS}


def _answers(
    log: ClickLog, counts: Mapping[str, int], split_by: str, first: pd.Timestamp, last: pd.Timestamp
) -> tuple[Answer, ...]:
    groups, clicks, users = counts["groups"], int(log.pairs["clicks"].sum()), counts["users"]
    fits = groups >= _MIN_GROUPS and clicks >= _MIN_FIT_CLICKS
    size = f"{groups:,} groups and {clicks:,} clicks; {_MIN_GROUPS} and {_MIN_FIT_CLICKS} are the least"
    days = 0 if pd.isna(first) else _days(first, last)
    span = f"{days} days; {_MIN_DAYS} are the least" if days else "the log has no times"
    simulated = "in simulation, if the prediction proves good" if fits else size
    tests = log.kind == "tests"
    causal = (
        "inside a test (and one image) viewers were randomized"
        if tests
        else "the log does not say that items were shown at random: differences may be selection"
    )
    kept = {"group": "groups", "user_text": "users", "item_text": "items"}[split_by]
    return (
        Answer("Can click rates of texts be predicted", fits, size),
        Answer(f"Does the prediction hold for new {kept}", fits, f"the split keeps {kept} apart" if fits else size),
        Answer("Would a bandit beat an A/B test, and by how much", fits, simulated),
        Answer(
            "Does showing different users different items pay", users > 1 and fits, f"{users:,} distinct user texts"
        ),
        Answer("Is an item's effect on clicks causal", tests, causal),
        Answer("Do click rates change over time", days >= _MIN_DAYS, span),
        Answer("What do clicks lead to (purchases, reading, return)", False, "the log holds clicks only"),
    )


def _warnings(report: LogReport) -> tuple[str, ...]:
    found = []
    if report.unknown_share is not None and report.unknown_share > MAX_UNKNOWN_SHARE:
        found.append(
            f"{report.unknown_share:.1%} of the tokens are unknown to {report.tokenizer}: "
            "choose `weights` made for this script."
        )
    if report.unknown_share is None:
        found.append("The tokenizer was not found: unknown tokens were not counted.")
    if report.counts["clicks"] == 0:
        found.append("There are no clicks at all: nothing can be learned.")
    if report.few_clicks > report.arms / 2:
        found.append(f"Most arms have fewer than {FEW_CLICKS} clicks: their own click rates are mostly noise.")
    if report.first is None and report.impressions_per_day is None:
        found.append(
            "The log has no times: give the traffic per day to see what a test of 7, 14 or 28 days could detect."
        )
    if report.facts.get("identical rows"):
        found.append(
            f"{report.facts['identical rows']:,} rows repeat another row exactly: was something exported twice?"
        )
    return tuple(found)
