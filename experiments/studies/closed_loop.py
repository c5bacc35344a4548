"""Plays refitted models in a drifting world, deployment after deployment, and measures what each one did.

Period 0 is the random start: arms at random, no model. Period d is deployment d, whose model was fitted on what the
policy remembers of the periods before. Tastes shift before every deployment but the first.
"""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bandits import reward_models as models  # by name, so that torch is loaded when texts are embedded
from bandits import simulate
from bandits.core import Feedback
from bandits.reward_models import metrics
from envs import SimulatedUsers
from experiments import provenance
from experiments.cells import hash_of
from experiments.learned_worlds import weights_in
from experiments.newsroom import Newsroom, make_newsroom
from experiments.progress import Reporter
from experiments.run_folder import write_text
from experiments.studies import drifting_newsroom
from experiments.studies.closed_loop_config import ClosedLoopStudy
from experiments.studies.closed_loop_page import write_closed_loop
from experiments.studies.drifting_newsroom import Sequel, shifted_rates, table_of
from experiments.studies.folder import StudyFolder
from experiments.studies.replay_parts import stored_part
from policies import RefittedModel
from policies.refitted.lora import lora_config

FloatArray = NDArray[np.float64]

UNIFORM_EVERY = 10  # of so many visitors, one is asked about all arms


class Stage(NamedTuple):
    """What is the same for all policies.

    Attributes:
        newsroom: Readers and headlines.
        user: Features of readers, shape (U, D); D is 0 for language models.
        arms: Features of headlines, shape (K, D).
    """

    newsroom: Newsroom
    user: FloatArray
    arms: FloatArray


def run_closed_loop(config: ClosedLoopStudy, out: Path, reporter: Reporter) -> Path:
    """Run the study, or go on with one that was interrupted.

    Args:
        config: The study.
        out: Its folder; what was played lies in `parts/`.
        reporter: Where progress is told.

    Returns:
        The page, `report.html`.

    Raises:
        FileExistsError: When `out` holds something else.
        FileNotFoundError: When the encoder's weights are not there.
    """
    folder = StudyFolder.start(out, config)
    with reporter.stage("Embedding texts"):
        stage = set_stage(config)
    ours = [Path(str(module.__file__)) for module in (drifting_newsroom, metrics)]
    common = {
        "sources": provenance.sources_hash([*ours, Path(__file__)]),
        "world": config.world.model_dump(exclude={"encoder"}),
        "features": [array.round(6).tolist() for array in (stage.user, stage.arms)],
        "study": [config.seed, config.deployments, config.visitors, config.few],
        "fits": fits_key(config),
    }
    starts = range(0, config.simulation.replications, config.simulation.chunk)
    parts = []
    with reporter.stage("Playing"), reporter.bar("parts", len(config.variants) * len(starts)) as advance:
        for label in config.variants:
            policy = config.policy(label)
            for start in starts:
                size = min(config.simulation.chunk, config.simulation.replications - start)
                key = hash_of(common | {"policy": repr(policy), "replications": [start, size]})
                make = partial(played, config, stage, policy, start, size)
                part = stored_part(folder.path / "parts", key, make)
                parts.append(part.assign(policy=label))
                advance(f"{label}, replications from {start}")
    manifest = provenance.describe() | {"seed": config.seed, "seconds": reporter.seconds}
    write_text(folder.path / "manifest.json", json.dumps(manifest, indent=1, ensure_ascii=False))
    with reporter.stage("Drawing and reporting"):
        return write_closed_loop(config, pd.concat(parts, ignore_index=True), folder, reporter)


def fits_key(config: ClosedLoopStudy) -> dict[str, str]:
    """What decides the fits of a language model besides its settings; nothing for heads."""
    if config.model.kind == "head":
        return {}
    from bandits.torch_device import choose_device  # here, so that heads do not wait for torch

    fit = lora_config(config.model.lora)
    return {
        "modeling": provenance.modeling_hash(),
        "device": choose_device(fit.device).type,
        **weights_in(fit.weights),
    }


def set_stage(config: ClosedLoopStudy) -> Stage:
    """The newsroom, and what heads see of its texts: language models read them."""
    newsroom = make_newsroom(config.world.seed, config.world.users, config.world.headlines)
    if config.model.kind == "lora":
        return Stage(newsroom, np.zeros((len(newsroom.readers), 0)), np.zeros((len(newsroom.headlines), 0)))
    readers, headlines = ([thing.text for thing in things] for things in (newsroom.readers, newsroom.headlines))
    user, arms = models.text_features(
        readers, headlines, weights=config.world.encoder, dim=config.world.features, device="cpu"
    )
    return Stage(newsroom, user, arms)


def played(config: ClosedLoopStudy, stage: Stage, policy: RefittedModel, start: int, size: int) -> pd.DataFrame:
    """What became of a policy in some replications, one row for each replication and deployment.

    Args:
        config: The study.
        stage: What is the same for all policies.
        policy: The policy, with the study's `every` and `refits`.
        start: First replication.
        size: How many.

    Returns:
        Columns `replication`; `deployment`, from 1; `visitors`; `clicks`; `expected`, the clicks that the shown arms
        bring on average, and `best`, those of each visitor's best arm; `predicted`, by the model that showed them, and
        `ece` beside it; `uniform_expected`, `uniform_predicted` and `uniform_ece`, per visitor, of arms at random;
        `few` and `never`, shares of the arms that were shown less often than `config.few`, and not once; `tested`,
        `won` and `lost`, of the guard's test; `refit_seconds` for the model, nan where none was fitted; `seconds` for
        all that a replication took.
    """
    began = time.perf_counter()
    shifts = config.deployments - 1
    drawn = [
        shifted_rates(
            stage.newsroom,
            shifts=shifts,
            swaps=config.world.swaps,
            seed=config.world.seed,
            replication=start + n,
        )
        for n in range(size)
    ]
    truth = np.stack(drawn, axis=1)  # (deployments, N, U, K)
    in_world = np.roll(truth, start % size, axis=1)  # replication n lives in world n % N of a table
    environments = [
        SimulatedUsers(
            table_of(stage.newsroom, in_world[max(period - 1, 0)]),
            num_envs=size,
            user_features=stage.user,
            arm_features=stage.arms,
        )
        for period in range(1 + config.deployments)
    ]
    watch = _Watch(policy, truth, config)
    ends = [config.visitors * (1 + period) for period in range(1 + config.deployments)]
    trace = simulate(
        Sequel(environments, config.visitors),
        policy,
        horizon=config.horizon,
        seed=config.seed,
        first_replication=start,
        snapshots=ends,
        events=watch,
    )
    seconds = (time.perf_counter() - began) / size
    clicks, regret, won, lost = (
        np.diff(values, axis=0) for values in (trace.reward, trace.regret, trace.records["won"], trace.records["lost"])
    )
    fits = np.full(config.deployments, np.nan)
    fits[: len(policy.refit_seconds)] = np.array(policy.refit_seconds) / size
    frames = []
    for d in range(config.deployments):
        measured = watch.of_deployment(d)
        columns = {
            "replication": start + np.arange(size),
            "deployment": d + 1,
            "visitors": config.visitors,
            "clicks": clicks[d],
            "best": measured["expected"] + regret[d],
            **measured,
            "tested": float(policy.guard is not None and d > 0 and np.isfinite(fits[d])),
            "won": won[d],
            "lost": lost[d],
            "refit_seconds": fits[d],
            "seconds": seconds,
        }
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


class _Watch:
    """Notes, for every visitor, what was predicted and what is true.

    Args:
        policy: Whose predictions.
        truth: Click rates in each deployment, shape (deployments, N, U, K).
        config: The study.
    """

    def __init__(self, policy: RefittedModel, truth: FloatArray, config: ClosedLoopStudy) -> None:
        self._policy, self._truth, self._few, self._visitors = policy, truth, config.few, config.visitors
        deployments, size, _, arms = truth.shape
        self._own = np.zeros((2, deployments, size, config.visitors))  # predicted, true
        asked = -(-config.visitors // UNIFORM_EVERY)
        self._uniform = np.zeros((2, deployments, size, asked, arms))
        self._shown = np.zeros((deployments, size, arms), dtype=np.int64)

    def __call__(self, feedback: Feedback, chances: FloatArray) -> None:
        period, visitor = divmod(int(feedback.rounds[0]), self._visitors)
        if period == 0:
            return
        d, everyone, chosen = period - 1, feedback.rows, feedback.chosen
        predicted = self._policy.rates(feedback.context)
        true = self._truth[d, everyone, feedback.context.user_id]
        for kind, rates in enumerate((predicted, true)):
            self._own[kind, d, everyone, visitor] = rates[everyone, chosen]
            if visitor % UNIFORM_EVERY == 0:
                self._uniform[kind, d, everyone, visitor // UNIFORM_EVERY] = rates
        self._shown[d, everyone, chosen] += 1

    def of_deployment(self, d: int) -> dict[str, FloatArray]:
        """The columns of `played` that are made of what was seen, each of shape (N,)."""
        size = self._own.shape[2]
        own, uniform = self._own[:, d], self._uniform[:, d].reshape(2, size, -1)
        return {
            "expected": own[1].sum(axis=1),
            "predicted": own[0].sum(axis=1),
            "ece": _errors(*own),
            "uniform_expected": uniform[1].mean(axis=1),
            "uniform_predicted": uniform[0].mean(axis=1),
            "uniform_ece": _errors(*uniform),
            "few": (self._shown[d] < self._few).mean(axis=1),
            "never": (self._shown[d] == 0).mean(axis=1),
        }


def _errors(predicted: FloatArray, true: FloatArray) -> FloatArray:
    """Expected calibration error of each row against the true rates, so without click noise; both (N, n)."""
    once = np.ones(predicted.shape[1])
    return np.array(
        [metrics.expected_calibration_error(p, once, rate) for p, rate in zip(predicted, true, strict=True)]
    )
