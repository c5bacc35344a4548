"""The report's part about ensembles: does a result hold in the world of every member, and how unsure that makes it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from bandits.statistics import Interval, paired_difference, share_between
from experiments.report_sections import ratio_words
from experiments.run_data import RunData
from experiments.verdict import counted


@dataclass(frozen=True)
class AcrossMembers:
    """Clicks of a policy more than the baseline's, overall and in the world of each member.

    Attributes:
        overall: The paired difference, its interval over all worlds.
        own: The paired difference in each member's world, its interval over the replications (or tests) there.
        between: Share of the variance of the overall difference that is there because members differ; nan where that
            cannot be told.
    """

    overall: Interval
    own: list[Interval]
    between: float

    @property
    def holds(self) -> int:
        """Number of members in whose world the difference has the sign that it has overall."""
        return sum(bool(one.estimate * self.overall.estimate > 0) for one in self.own)

    @property
    def certain(self) -> int:
        """Number of those whose own interval excludes zero as well."""
        more = self.overall.estimate > 0
        return sum(bool(one.low > 0 if more else one.high < 0) for one in self.own)


def across_members(data: RunData, label: str) -> AcrossMembers:
    """How a policy compares with the baseline, member by member."""
    curves = data.curves("reward")
    ours, baseline = curves[label][-1], curves[data.config.baseline][-1]
    test, member = data.clusters.T
    own = [
        paired_difference(ours[there], baseline[there], test[there])
        for there in (member == number for number in np.unique(member))
    ]
    between = share_between(ours - baseline, member, test)
    return AcrossMembers(paired_difference(ours, baseline, data.clusters), own, between)


def members_section(data: RunData) -> dict[str, Any] | None:
    """A row per policy, and one per member; None where no ensemble is played by its members."""
    others = [str(label) for label in data.summary["policy"] if label != data.config.baseline]
    if data.members == 1 or not others:
        return None
    found = {label: across_members(data, label) for label in others}
    everywhere = sum(one.holds == len(one.own) for one in found.values())
    rows = [
        {
            "policy": label,
            "extra": float(one.overall.estimate),
            "low": float(one.overall.low),
            "high": float(one.overall.high),
            "holds": one.holds,
            "certain": one.certain,
            "least": min(float(member.estimate) for member in one.own),
            "most": max(float(member.estimate) for member in one.own),
            "between": None if math.isnan(one.between) else one.between,
        }
        for label, one in found.items()
    ]
    inside = "replications" if data.same_arms else "tests"
    return {
        "words": f"Of {counted(len(rows), 'difference')} from {data.config.baseline}, {everywhere} "
        f"{'has' if everywhere == 1 else 'have'} the same sign in the worlds of all {data.members} members.",
        "caption": "“Holds in”: members in whose world the mean difference has the sign that it has overall. “For "
        f"certain in”: those whose own paired 95 percent interval, over the {inside} there, excludes zero too; each "
        "interval by itself. “Variance between members”: the share of the overall difference's squared standard error "
        f"that is there because members differ; only the rest shrinks with more {inside}.",
        "count": data.members,
        "rows": rows,
        "fits": [
            {
                "name": f"member-{m}",
                "log_loss": f"{one['log_loss']:.5f}",
                "ratio": ratio_words(one["overall"]) if data.model["kind"] == "pairs" else "1 by construction",
            }
            for m, one in enumerate(data.model["members"])
        ],
    }


def members_words(data: RunData) -> str:
    """What the worlds of an ensemble are, and what that does to intervals."""
    words = (
        f"The reward model was fitted {data.members} times, each time with another seed, and replication r lives in "
        f"the world that member r mod {data.members} believes in."
    )
    if data.same_arms:
        return words + " A member's world is the unit, so that intervals hold the uncertainty of the model."
    return (
        f"{words} Each test is played in the world of every member. Tests and members are both taken for samples: the "
        "variances of the means by test and by member add up, and t intervals have Satterthwaite's degrees of freedom."
    )


def members_verdict(data: RunData, label: str) -> str:
    """In how many worlds the difference of a policy holds; empty where no ensemble is played by its members."""
    if data.members == 1:
        return ""
    found = across_members(data, label)
    relation = "more" if found.overall.estimate >= 0 else "fewer"
    count = f"{found.holds} of {len(found.own)}"
    where = (
        f"{count} worlds, one for each member of the ensemble of reward models"
        if data.same_arms
        else f"the worlds of {count} members of the ensemble of reward models, averaged over tests"
    )
    share = "" if math.isnan(found.between) else f"; {found.between:.0%} of the difference's variance lies between them"
    return f" That {label} earned {relation} clicks than {data.config.baseline} holds in {where}{share}."
