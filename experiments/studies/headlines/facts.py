"""What the page says of the predictions, before any policy plays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logit

from experiments.studies.headlines.config import HeadlinesStudy

if TYPE_CHECKING:
    from bandits.reward_models.comparison import Lead

FloatArray = NDArray[np.float64]


def facts(rows: pd.DataFrame, config: HeadlinesStudy) -> str:
    """What was played, how well the model ranks headlines it never saw, its lead over TF-IDF, and its calibration.

    Args:
        rows: As `predicted_headlines` makes them; those of a negative fold are not judged.
        config: The study.
    """
    # Here, so that other studies do not wait for scikit-learn.
    from bandits.reward_models import comparison, metrics
    from bandits.reward_models.calibration_report import observed_over_predicted
    from bandits.reward_models.within_test import expected_rates

    judged = rows[rows["fold"] >= 0]
    predicted, tfidf, shown, clicks = (
        judged[name].to_numpy(dtype=np.float64) for name in ("predicted", "tfidf", "impressions", "clicks")
    )
    test, story = pd.factorize(judged["test"])[0].astype(np.int64), judged["group"].tolist()
    told = [
        f"{judged['test'].nunique():,} tests of {len(judged):,} headlines in {judged['group'].nunique():,} stories are "
        "judged."
    ]

    def ranked(who: str, rates: FloatArray) -> str:
        found = metrics.pairwise_accuracy(rates, shown, clicks, test)
        right = f"{found.accuracy:.1%} of all {found.pairs:,} pairs" if found.accuracy is not None else "no pairs"
        if found.accuracy_significant is not None:
            right += f" and {found.accuracy_significant:.1%} of the {found.pairs_significant:,} with p < 0.05"
        return f"{who} orders {right} rightly, of stories that it never saw."

    name = "TF-IDF with a linear score"
    if config.scorer == "tfidf":
        told.append(ranked(name, tfidf))
    else:
        told += [ranked(f"BERT ({config.reward_model.weights})", predicted), ranked(name, tfidf)]
        leads = [
            comparison.lead_in_pairwise_accuracy(
                logit(predicted), logit(tfidf), shown, clicks, test, story, significant=significant
            )
            for significant in (False, True)
        ]
        told.append(f"BERT's lead is {in_points(leads[0])} on all pairs and {in_points(leads[1])} on those.")
    rates = expected_rates(logit(predicted), shown, clicks, test)
    tenth = metrics.bins_of_rows(rates, shown)
    ratios = [
        observed_over_predicted(rates[part], shown[part], clicks[part], [story[row] for row in part]).ratio
        for part in (np.flatnonzero(tenth == number) for number in np.unique(tenth))
    ]
    known = [ratio for ratio in ratios if ratio is not None]
    told.append(
        f"Given each test's own clicks, observed over predicted clicks lie between {min(known):.3f} and "
        f"{max(known):.3f} in the tenths of the predictions."
    )
    return " ".join(told)


def in_points(lead: Lead) -> str:
    """A lead in percentage points with its interval over stories."""
    if lead.lead is None:
        return "unknown"
    interval = "" if lead.low is None or lead.high is None else f" ({100 * lead.low:.1f} to {100 * lead.high:.1f})"
    return f"{100 * lead.lead:.1f} points{interval}"
