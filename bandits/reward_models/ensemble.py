"""An ensemble of reward models: fits that differ in their seed alone, and so in what the log leaves open."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bandits.reward_models.calibration import Calibrator
from bandits.reward_models.calibrator_choice import calibrate
from bandits.reward_models.click_log import ClickLog
from bandits.reward_models.fit_config import FitConfig
from bandits.reward_models.model_folder import replaced, write_about
from bandits.reward_models.reward_model import RewardModel
from bandits.reward_models.split import Split

FloatArray = NDArray[np.float64]


class RewardEnsemble:
    """Click probabilities of (user text, item text) pairs by several fitted models, used like one `RewardModel`.

    Its score is the mean of its members' logits, and its calibrator was fitted on that mean. Each member remains a
    reward model with a calibrator of its own: where members differ, the log does not say who is right, so each of them
    may stand for the world that a simulation plays in.

    Args:
        members: At least two models, fitted on the same split.
        calibrator: Fitted on the mean of their scores.
        info: How it was fitted, as plain values; as in `RewardModel`, with the number of `members`.

    References:
        Lakshminarayanan, Pritzel & Blundell, "Simple and scalable predictive uncertainty estimation using deep
        ensembles" (2017).
    """

    def __init__(self, members: Sequence[RewardModel], calibrator: Calibrator, info: Mapping[str, Any]) -> None:
        if len(members) < 2 or len({member.kind for member in members}) > 1:
            kinds = ", ".join(member.kind for member in members)
            raise ValueError(f"`members` must be at least two models of one kind. Got {len(members)} ({kinds}).")
        self.members = tuple(members)
        self.calibrator = calibrator
        self.info = dict(info)

    @property
    def kind(self) -> Literal["pairs", "tests"]:
        """Kind of the log that it was fitted on."""
        return self.members[0].kind

    @classmethod
    def fit(
        cls, log: ClickLog, split: Split, config: FitConfig, *, cache: Path, show_progress: bool = False
    ) -> RewardEnsemble:
        """Fit `config.members` models with seeds `config.seed`, `config.seed + 1`, ..., and calibrate their mean.

        The seed decides the head's first weights, dropout and the order of rows, and, with `max_train_rows`, which rows
        are trained on. Each member is kept in `cache` as a fit of its own: one that was fitted before, alone or in a
        smaller ensemble, is loaded, and an interruption loses nothing.

        Args:
            log: The click log.
            split: Its parts, the same for all members.
            config: Hyperparameters; `members` at least 2.
            cache: Folder for fits.
            show_progress: Show a progress bar for each member.

        Raises:
            ValueError: When `config.members` is 1, or `config.loss` does not suit the log.
            FileNotFoundError: When BERT's weights are not to be found.
        """
        if log.outcomes:
            raise ValueError(f"`members` must be 1 for a log of conversions. Got {config.members}.")
        alone = [config.model_copy(update={"seed": config.seed + m, "members": 1}) for m in range(config.members)]
        members = [RewardModel.fit(log, split, one, cache=cache, show_progress=show_progress) for one in alone]
        rows = split.calibration
        scores = _mean_scores(members, rows["user_text"].tolist(), rows["item_text"].tolist())
        calibrator, losses = calibrate(scores, log, split, config)
        infos = [member.info for member in members]
        seconds = {name: sum(info["seconds"][name] for info in infos) for name in infos[0]["seconds"]}
        info = infos[0] | {
            "members": len(members),
            "calibration": {"method": calibrator.method, "cross_validated": losses},
            "history": [entry | {"member": m} for m, one in enumerate(infos) for entry in one["history"]],
            "seconds": seconds,
        }
        return cls(members, calibrator, info)

    def scores(self, user_texts: Sequence[str], item_texts: Sequence[str]) -> FloatArray:
        """Mean of the members' logits of rows of user text ("" if none) and item text, shape (n,)."""
        return _mean_scores(self.members, user_texts, item_texts)

    def propensities(self, user_texts: Sequence[str], item_texts: Sequence[str]) -> FloatArray:
        """Click probability of each user on each item, shape (U, K)."""
        users = [user for user in user_texts for _ in item_texts]
        scores = self.scores(users, list(item_texts) * len(user_texts))
        return self.calibrator(scores.reshape(len(user_texts), len(item_texts)))

    @property
    def network_fingerprint(self) -> str:
        """SHA-256 of all that determines `scores`."""
        return hashlib.sha256(" ".join(member.network_fingerprint for member in self.members).encode()).hexdigest()

    def fingerprint(self) -> str:
        """SHA-256 of all that determines `propensities`."""
        return hashlib.sha256(f"{self.network_fingerprint} {self.calibrator.content_hash}".encode()).hexdigest()

    def save(self, folder: Path, *, evaluation: Mapping[str, Any] | None = None) -> None:
        """Write every member to `member-0`, ..., with `ensemble.json`, `calibrator.json` and a model card beside them.

        Evaluation and replacement are as in `RewardModel.save`.
        """
        header = {
            "members": [member.fingerprint() for member in self.members],
            "calibrator": self.calibrator.content_hash,
            "info": self.info,
        }
        with replaced(folder) as unfinished:
            for number, member in enumerate(self.members):
                member.save(unfinished / f"member-{number}")
            self.calibrator.save(unfinished / "calibrator.json")
            (unfinished / "ensemble.json").write_text(json.dumps(header, indent=1), encoding="utf-8")
            write_about(unfinished, self.kind, self.info, evaluation)

    @classmethod
    def load(cls, folder: Path, *, device: str = "auto") -> RewardEnsemble:
        """Read an ensemble that `save` wrote.

        Raises:
            FileNotFoundError: When there is no ensemble in `folder`, or a member is missing.
            ValueError: When a member or the calibrator is not the one that was saved.
        """
        if not (folder / "ensemble.json").is_file():
            raise FileNotFoundError(f"`folder` must hold a saved ensemble. Got {folder}, without ensemble.json.")
        header = json.loads((folder / "ensemble.json").read_text(encoding="utf-8"))
        members = []
        for number, expected in enumerate(header["members"]):
            member = RewardModel.load(folder / f"member-{number}", device=device)
            if member.fingerprint() != expected:
                raise ValueError(
                    f"`member-{number}` of {folder} must be the model {expected}. Got {member.fingerprint()}: "
                    "damaged, or another fit?"
                )
            members.append(member)
        return cls(members, Calibrator.load_expected(folder / "calibrator.json", header["calibrator"]), header["info"])


AnyRewardModel = RewardModel | RewardEnsemble


def fit_reward_model(
    log: ClickLog, split: Split, config: FitConfig, *, cache: Path, show_progress: bool = False
) -> AnyRewardModel:
    """A `RewardModel`, or a `RewardEnsemble` where `config.members` is above 1; arguments as in `RewardModel.fit`."""
    kind = RewardModel if config.members == 1 else RewardEnsemble
    return kind.fit(log, split, config, cache=cache, show_progress=show_progress)


def load_reward_model(folder: Path, *, device: str = "auto") -> AnyRewardModel:
    """The `RewardModel` or the `RewardEnsemble` that was saved in `folder`.

    Raises:
        FileNotFoundError: When there is neither.
        ValueError: When what is there is not what was saved.
    """
    kind = RewardEnsemble if (folder / "ensemble.json").is_file() else RewardModel
    return kind.load(folder, device=device)


def _mean_scores(members: Sequence[RewardModel], user_texts: Sequence[str], item_texts: Sequence[str]) -> FloatArray:
    mean: FloatArray = np.mean([member.scores(user_texts, item_texts) for member in members], axis=0)
    return mean
