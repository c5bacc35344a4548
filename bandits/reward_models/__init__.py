"""From a click log to click probabilities: reading, splitting, fine-tuning, calibrating, evaluating and scoring.

Names are loaded on first use, so that reading or checking a log needs neither torch nor transformers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bandits.reward_models.calibration import Calibrator as Calibrator
    from bandits.reward_models.click_log import ClickLog as ClickLog
    from bandits.reward_models.click_log import click_log_from_frame as click_log_from_frame
    from bandits.reward_models.click_log import log_source_files as log_source_files
    from bandits.reward_models.click_log import read_click_log as read_click_log
    from bandits.reward_models.compression import drop_layers as drop_layers
    from bandits.reward_models.compression import prune_weights as prune_weights
    from bandits.reward_models.ensemble import AnyRewardModel as AnyRewardModel
    from bandits.reward_models.ensemble import RewardEnsemble as RewardEnsemble
    from bandits.reward_models.ensemble import fit_reward_model as fit_reward_model
    from bandits.reward_models.ensemble import load_reward_model as load_reward_model
    from bandits.reward_models.evaluation import evaluate as evaluate
    from bandits.reward_models.explanation import Explanation as Explanation
    from bandits.reward_models.explanation import explain_click as explain_click
    from bandits.reward_models.features import table_features as table_features
    from bandits.reward_models.features import text_features as text_features
    from bandits.reward_models.fit_config import EvaluationConfig as EvaluationConfig
    from bandits.reward_models.fit_config import FitConfig as FitConfig
    from bandits.reward_models.fit_config import ScoringConfig as ScoringConfig
    from bandits.reward_models.log_report import LogReport as LogReport
    from bandits.reward_models.log_report import check_log as check_log
    from bandits.reward_models.refitting import Refitter as Refitter
    from bandits.reward_models.reward_model import RewardModel as RewardModel
    from bandits.reward_models.row_rates import num_cut as num_cut
    from bandits.reward_models.row_rates import rates_of_rows as rates_of_rows
    from bandits.reward_models.scoring import observed_tests as observed_tests
    from bandits.reward_models.scoring import score_tests as score_tests
    from bandits.reward_models.scoring import score_users_by_items as score_users_by_items
    from bandits.reward_models.seen_rows import unseen as unseen
    from bandits.reward_models.split import Split as Split
    from bandits.reward_models.split import split_log as split_log
    from bandits.reward_models.weights import Weights as Weights
    from bandits.reward_models.weights import resolve_weights as resolve_weights

_HOMES = {
    "AnyRewardModel": "ensemble",
    "Calibrator": "calibration",
    "ClickLog": "click_log",
    "EvaluationConfig": "fit_config",
    "Explanation": "explanation",
    "FitConfig": "fit_config",
    "ScoringConfig": "fit_config",
    "LogReport": "log_report",
    "Refitter": "refitting",
    "RewardEnsemble": "ensemble",
    "RewardModel": "reward_model",
    "Split": "split",
    "Weights": "weights",
    "check_log": "log_report",
    "click_log_from_frame": "click_log",
    "drop_layers": "compression",
    "evaluate": "evaluation",
    "explain_click": "explanation",
    "fit_reward_model": "ensemble",
    "load_reward_model": "ensemble",
    "log_source_files": "click_log",
    "observed_tests": "scoring",
    "prune_weights": "compression",
    "read_click_log": "click_log",
    "resolve_weights": "weights",
    "num_cut": "row_rates",
    "rates_of_rows": "row_rates",
    "score_tests": "scoring",
    "score_users_by_items": "scoring",
    "split_log": "split",
    "table_features": "features",
    "text_features": "features",
    "unseen": "seen_rows",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
