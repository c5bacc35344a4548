"""Why this click and why this choice: worked out at the end of a run for one user and one item, and kept in `why.json`.

Policies are asked where replication 0 leaves them. It is played once more, which costs one replication each.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from bandits import Context, KernelPolicy
from bandits.engine import replay
from bandits.environment import CompiledEnvironment
from bandits.propensity_table import PropensityTable
from bandits.table_world import TableEnvironment, TableWorld
from experiments.config import ExplainConfig, LoadedConfig
from experiments.explain_command import MODEL_FOLDER, why_no_words
from experiments.policy_specs import Resolved, build_policy
from experiments.problems import did_you_mean
from experiments.run_data import RunData
from experiments.run_folder import RunFolder
from experiments.worlds import World

_HIGHEST = 3
_AT_THE_END = 0.9  # share of the horizon after which the items that a policy shows are counted


def named_pair(explain: ExplainConfig, table: PropensityTable | None, null_arm: int | None) -> tuple[int, int | None]:
    """Indices of the user and the item that a config wants explained, in the table's first world.

    Args:
        explain: Their ids or texts; by default the first user, and no item in particular.
        table: The table; None for worlds without one.
        null_arm: The item that stands for showing nothing.

    Raises:
        ValueError: When there is no such user or item.
    """
    if table is None:
        return 0, None
    here = [k for k in range(int(table.num_items[0])) if k != null_arm]
    users = range(len(table.user_ids))
    user = _find("user", explain.user, {u: (table.user_ids[u], table.user_texts[u]) for u in users})
    names = {k: (str(table.item_ids[0, k]), str(table.item_texts[0, k])) for k in here}
    return user or 0, _find("item", explain.item, names)


def _find(key: str, wanted: str | None, names: dict[int, tuple[str, str]]) -> int | None:
    if wanted is None:
        return None
    found = next((index for index, known in names.items() if wanted in known), None)
    if found is None:
        hint = did_you_mean(wanted, (identifier for identifier, _ in names.values()))
        raise ValueError(f"`report.explain.{key}` must be the id or text of one in the table. Got {wanted!r}. {hint}")
    return found


def explain_run(loaded: LoadedConfig, run: RunFolder, world: World, device: Callable[[Resolved], str | None]) -> None:
    """Write `why.json`: what `report_why` shows.

    Args:
        loaded: The config.
        run: The run, summed up.
        world: The world that the report is about; nothing is written for one that is no table.
        device: The type of device that plays a policy; None for those that the other engines play.
    """
    explain, env, data = loaded.config.report.explain, world.make(1), RunData(run)
    table_world = env.table_world() if isinstance(env, TableEnvironment) else None
    if explain is None or table_world is None:
        return
    assert isinstance(env, CompiledEnvironment)
    null_arm = env.problem(None).null_arm
    user, item = named_pair(explain, data.table, null_arm)
    item = _most_shown(data, null_arm) if item is None else item
    context = _visit(table_world, user, loaded.config.simulation.horizon)
    policies = []
    for label, spec in loaded.config.policies.items():
        policy = build_policy(spec, loaded.folder)
        if isinstance(policy, KernelPolicy) and policy.part_names and device(spec) is None:
            replay(env, policy, horizon=loaded.config.simulation.horizon, seed=loaded.config.seed)
            policies.append({"policy": label, "names": policy.part_names, "arms": _arms(policy, context, item)})
    run.write_json("why", {"user": user, "item": item, "policies": policies, "words": _words(data, user, item)})


def _visit(world: TableWorld, user: int, round: int) -> Context:
    """What a policy sees of a user who comes in some round, in the first world."""
    return Context(
        round=np.array([round]),
        user_id=np.array([-1 if world.anonymous else user]),
        time=np.array([round * world.days_per_round]),
        user=world.user[[user]],
        arms=world.arms[:1],
        available=world.available_from[:1] <= round,
        prior=world.prior[:1, user] if world.prior.size else None,
    )


def _arms(policy: KernelPolicy, context: Context, item: int) -> list[dict[str, Any]]:
    """The arms of the highest scores and the explained one, best first, with the parts of their scores."""
    parts = policy.score_parts(context)
    assert parts is not None
    table = np.array([part[0] for part in parts.values()])
    score = np.where(context.available[0], table.sum(axis=0), -math.inf)
    order = [int(k) for k in np.argsort(-score, kind="stable") if context.available[0, k]]
    shown = order[:_HIGHEST] + [k for k in order[_HIGHEST:] if k == item]
    return [
        {"arm": k, "place": order.index(k) + 1, "parts": table[:, k].tolist() if np.isfinite(score[k]) else None}
        for k in shown
    ]


def _most_shown(data: RunData, null_arm: int | None) -> int:
    """The item that the best policy shows most: at the end, or in replication 0 where replications differ in items."""
    best = str(data.summary.nlargest(1, "reward").iloc[0]["policy"])
    if data.num_worlds > 1:
        rows = data.replications[(data.replications["kind"] == data.kind) & (data.replications["policy"] == best)]
        pulls = np.array(rows.loc[rows["replication"] == 0, "pulls"].iloc[0])
    else:
        before = int((data.rounds <= _AT_THE_END * data.rounds[-1]).sum())
        total = np.vstack([np.zeros_like(data.traffic[best][0]), data.traffic[best]])
        pulls = total[-1] - total[before]
    if null_arm is not None:
        pulls[null_arm] = -1
    return int(pulls.argmax())


def _words(data: RunData, user: int, item: int) -> dict[str, Any] | None:
    """The words' effects; None without a reward model, or where it cannot be explained."""
    fit = data.config.reward_model
    if not data.model or data.table is None or fit is None or why_no_words(fit):
        return None
    texts = [data.table.user_texts[user], str(data.table.item_texts[0, item])]
    about = {"texts": texts, "fingerprint": data.model["fingerprint"]}
    known: dict[str, Any] = data.run.read_json("why").get("words") or {}
    if {key: known.get(key) for key in about} == about:
        return known
    from bandits.reward_models import RewardModel, explain_click

    found = explain_click(RewardModel.load(data.run.path / MODEL_FOLDER), *texts)
    effects = [[word.text, word.of, word.effect] for word in found.words]
    return about | {"probability": found.probability, "without_words": found.without_words, "effects": effects}
