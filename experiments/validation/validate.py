"""All parts of a validation, in order."""

from __future__ import annotations

from typing import Any

from bandits import reward_models as models
from experiments.opened_log import OpenedLog
from experiments.validation.agreement import policy_rank_agreement
from experiments.validation.config import LoadedValidation
from experiments.validation.favourites import favourites
from experiments.validation.held_out import held_out
from experiments.validation.marginals import marginals
from experiments.validation.perturbations import perturbations
from experiments.validation.placebo import placebo
from experiments.validation.predictive import predictive
from experiments.validation.two_sample import two_sample_test
from experiments.validation.verdict import answers, verdict
from experiments.validation.worlds import make_worlds


def validate(model: models.AnyRewardModel, opened: OpenedLog, loaded: LoadedValidation) -> dict[str, Any]:
    """Hold a model against a log, as plain values: what `validation.json` holds.

    Raises:
        ValueError: When model and log do not belong together, or the model has seen all of it.
    """
    config = loaded.config
    data = held_out(model, opened.log)
    worlds = make_worlds(model, opened.log, data, opened.newsroom, config)
    found: dict[str, Any] = {
        "kind": data.kind,
        "log": {"name": opened.log.name, "content_hash": opened.log.content_hash},
        "model": {"fingerprint": model.fingerprint(), "fitted_on": model.info["log"]},
        "rows": {"held_out": len(data.rows), "left_out": data.left_out},
        "units": {"by": data.by, "count": int(data.unit.max()) + 1},
        "impressions": float(data.impressions.sum()),
        "clicks": float(data.clicks.sum()),
        "config": config.model_dump(mode="json"),
        "truth": worlds.truth,
        "predictive": predictive(data),
        "marginals": marginals(data, resamples=config.resamples, seed=config.seed),
        "two_sample": two_sample_test(
            data,
            max_rows=config.max_rows,
            resamples=config.resamples,
            null_draws=config.null_draws,
            seed=config.seed,
        ),
        "agreement": policy_rank_agreement(worlds, loaded),
        "placebo": placebo(worlds, loaded),
        "favourites": favourites(model, data),
        "perturbations": perturbations(model, data, max_texts=config.max_texts, seed=config.seed),
    }
    lines = verdict(found, data.kind, config.thresholds)
    return {"answers": answers(lines), "verdict": [line._asdict() for line in lines], **found}
