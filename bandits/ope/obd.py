"""The Open Bandit Dataset: clicks on fashion items, logged by a random and by a Thompson sampling policy."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bandits.ope.log import LoggedFeedback

_USER_FEATURES = [f"user_feature_{i}" for i in range(4)]
_PROPENSITY = "propensity_score"
_COLUMNS = ["timestamp", "item_id", "position", "click", _PROPENSITY, *_USER_FEATURES]


def read_obd(folder: Path | str, *, affinity: bool = False) -> LoggedFeedback:
    """Read one campaign of one logging policy: `{policy}/{campaign}/{campaign}.csv` beside `item_context.csv`.

    The propensities' column is `propensity_score`, or `action_prob`, as the dataset's own description calls it.
    Features are the four hashed user features, one 0/1 column per value, sorted by value. The propensity is that of the
    item at its position. The random policy's propensities are 1/K for all items; the Thompson sampling policy kept only
    that of the item shown. The latter's propensities of one item at one position vary over the days, because it went on
    learning: its log is adaptive.

    Args:
        folder: The campaign's folder; the folder above it is named `random` or `bts`.
        affinity: Also take the user's past clicks on each item (`user-item_affinity_*`) as features.

    Raises:
        FileNotFoundError: When the campaign's files are not there.
        ValueError: When they are not those of the dataset.

    References:
        Saito, Aihara, Matsutani and Narita (2020), "Open Bandit Dataset and Pipeline", arXiv:2008.07146.
    """
    import pandas as pd

    folder = Path(folder).resolve()
    file, items = folder / f"{folder.name}.csv", folder / "item_context.csv"
    for needed in (file, items):
        if not needed.is_file():
            raise FileNotFoundError(f"`folder` must hold {folder.name}.csv and item_context.csv. Got no {needed}.")
    if folder.parent.name not in ("random", "bts"):
        raise ValueError(f"`folder` must lie in a folder named random or bts. Got {folder.parent.name!r}.")
    rows, num_arms = pd.read_csv(file), len(pd.read_csv(items))
    if _PROPENSITY not in rows:
        rows = rows.rename(columns={"action_prob": _PROPENSITY})
    missing = [column for column in _COLUMNS if column not in rows]
    if missing:
        raise ValueError(f"`{file.name}` must have the columns of the dataset. Got no {', '.join(missing)}.")
    time = pd.to_datetime(rows["timestamp"], format="ISO8601", utc=True)
    order = np.argsort(time.to_numpy(), kind="stable")
    rows, time = rows.iloc[order], time.iloc[order]
    features = pd.get_dummies(rows[_USER_FEATURES], dtype=np.float64)
    if affinity:
        features = features.join(rows[[f"user-item_affinity_{k}" for k in range(num_arms)]])
    is_random = folder.parent.name == "random"
    return LoggedFeedback(
        chosen=rows["item_id"].to_numpy(),
        reward=rows["click"].to_numpy(),
        propensity=rows[_PROPENSITY].to_numpy(),
        num_arms=num_arms,
        adaptive=not is_random,
        propensities=np.full((len(rows), num_arms), 1 / num_arms) if is_random else None,
        features=features.to_numpy(),
        position=rows["position"].to_numpy(),
        time=np.asarray((time - time.iloc[0]) / pd.Timedelta(days=1), dtype=np.float64),
        name=f"obd/{folder.parent.name}/{folder.name}",
    )
