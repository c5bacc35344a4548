"""`bandits score`: a click probability for each row of any file."""

from __future__ import annotations

from pathlib import Path

from bandits import reward_models as models
from bandits.reward_models.log_files import read_frame
from bandits.reward_models.log_problems import Problems

PROPENSITY = "propensity"


def score_page(model_folder: Path, file: Path, out: Path | None = None) -> str:
    """Add the column `propensity` to a file, and say what was done; what `bandits score` prints.

    Where the model says what follows a click, `conversion` and, with values, `value` and `expected_value` are added too
    (`RewardModel.outcome_rates`).

    Args:
        model_folder: A saved reward model.
        file: CSV or Parquet with `item_text`, `user_text` if there are users, and `test` where the model compares the
            items of a test. Other columns are kept as they are.
        out: Where to write, as CSV or Parquet by its name; `FILE.scored.csv` (or `.parquet`) by default.

    Raises:
        FileNotFoundError: When the model or the file is missing.
        ValueError: When a column is missing, there already, or without a text.
    """
    model = models.load_reward_model(model_folder)
    frame = read_frame(file)
    target = out or file.with_name(f"{file.stem}.scored{file.suffix}")
    if target.suffix.lower() not in (".csv", ".parquet", ".pq"):
        raise ValueError(f"--out must end in .csv or .parquet. Got {target.name}.")
    names = _names(model)
    if there := [name for name in names if name in frame.columns]:
        raise ValueError(f"`{file.name}` must not have a column `{there[0]}` yet. Got one.")
    problems = Problems(file.name)
    required = ("item_text", "test") if model.kind == "tests" else ("item_text",)
    problems.check_columns(frame, required=required, optional=("user_text",))
    problems.raise_if_any()
    texts = {
        column: problems.texts(frame, column, required=column in required).tolist()
        for column in ("user_text", "item_text", *required[1:])
    }
    problems.raise_if_any()
    rates = models.rates_of_rows(model, texts["user_text"], texts["item_text"], texts.get("test"))
    scored = frame.assign(**{PROPENSITY: rates})
    if names[1:]:
        assert isinstance(model, models.RewardModel)
        following = model.outcome_rates(texts["user_text"], texts["item_text"])
        scored = scored.assign(**{name: following[name] for name in names[1:]})
    if target.suffix.lower() == ".csv":
        scored.to_csv(target, index=False)
    else:
        scored.to_parquet(target, index=False)
    cut = models.num_cut(model, texts["user_text"], texts["item_text"])
    lines = [f"{len(rates):,} rows, mean propensity {rates.mean():.4%}, from {rates.min():.4%} to {rates.max():.4%}"]
    if model.kind == "tests":
        lines.append("Only differences inside a test mean something; their level is the base rate of the model's log.")
    if cut:
        lines.append(f"{cut:,} rows are longer than the model reads: their texts were cut.")
    return "\n".join([*lines, str(target)])


def _names(model: models.AnyRewardModel) -> list[str]:
    """The columns that are added."""
    if not isinstance(model, models.RewardModel) or model.outcomes is None:
        return [PROPENSITY]
    return [PROPENSITY, "conversion", *(["value", "expected_value"] if model.outcomes.value is not None else [])]
