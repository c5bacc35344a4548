"""What the report says about data that a policy collected while it learned from them."""

from __future__ import annotations

from typing import Any

from experiments.run_data import RunData
from experiments.verdict import listed
from policies import POLICIES


def adaptive_policies(data: RunData) -> list[str]:
    """Policies whose choices follow what they have seen, without those designs that test and then ship."""
    if "adaptive" not in data.manifest:
        raise ValueError(
            f"manifest.json of {data.run.path} must say which policies are adaptive. Got one of an earlier version: "
            "run the experiment again."
        )
    return [label for label, adaptive in data.manifest["adaptive"].items() if adaptive and not _ships(data, label)]


def adaptivity_caveats(data: RunData) -> list[str]:
    """Why intervals over replications are right, and what must not be done inside a single run."""
    labels = adaptive_policies(data)
    if not labels:
        return _branch_caveats(data)
    chooses = "chooses" if len(labels) == 1 else "choose"
    return [
        f"Within a run, {listed(labels)} {chooses} by what came of earlier visits. The intervals and tests of this "
        f"report do not suffer from that: they are over whole {data.unit}s. It is otherwise inside a "
        "single run, or in the log of a bandit on a site. An arm that begins badly is shown less and keeps its bad "
        "record, so observed click rates are biased downwards; a test made for a fixed number of independent visitors "
        "(z, t, chi-square) finds differences that are not there more often than its level says, and its intervals "
        "cover less. Use confidence sequences, or estimates weighted by the logged probabilities (bandits run "
        "--log-events, then bandits ope).",
        *_branch_caveats(data),
    ]


def _branch_caveats(data: RunData) -> list[str]:
    """That a test between policies takes for independent what a branch that learns makes dependent."""
    texts = []
    for label, spec in data.config.policies.items():
        branches = spec["branches"] if spec["policy"] == "BranchTest" else {}
        learning = [name for name, branch in branches.items() if _may_learn(branch)]
        if learning:
            verb = "learns" if len(learning) == 1 else "learn"
            texts.append(
                f"{label} tests policies of which {listed(learning)} {verb} while the test runs. Its design takes the "
                "results of a branch for independent and alike. They are not where a branch learns: its click rate "
                "drifts, and what it mistook early goes on costing clicks. So a single such test is wrong at another "
                "rate than its level says. Intervals and p-values of this report are over whole tests instead."
            )
    return texts


def _may_learn(spec: dict[str, Any]) -> bool:
    """Whether a bundled policy learns; one of the user's own is taken to."""
    kind = POLICIES.get(spec["policy"])
    return kind is None or kind.adaptive


def _ships(data: RunData, label: str) -> bool:
    """Whether a policy says which arm it ships, as designs of A/B tests do."""
    return "record.shipped" in data.traces.columns and bool(
        data.traces.loc[data.traces["policy"] == label, "record.shipped"].notna().any()
    )
