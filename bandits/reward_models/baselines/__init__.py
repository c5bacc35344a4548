"""What BERT must beat, on the same split: simpler models of clicks, each tuned on validation rows."""

from bandits.reward_models.baselines.boosting import BoostedClicks
from bandits.reward_models.baselines.embeddings import EmbeddingFeatures
from bandits.reward_models.baselines.factorization import FactorizedClicks, OneHot
from bandits.reward_models.baselines.item_rate import ItemRates
from bandits.reward_models.baselines.linear import LinearClicks, LinearWithinTests
from bandits.reward_models.baselines.rows import ClickBaseline, WithinTestsBaseline, contrasts, counts
from bandits.reward_models.baselines.tfidf import TfidfClicks, TfidfFeatures, TfidfWithinTests, words_are_spaced

__all__ = [
    "BoostedClicks",
    "ClickBaseline",
    "EmbeddingFeatures",
    "FactorizedClicks",
    "ItemRates",
    "LinearClicks",
    "LinearWithinTests",
    "OneHot",
    "TfidfClicks",
    "TfidfFeatures",
    "TfidfWithinTests",
    "WithinTestsBaseline",
    "contrasts",
    "counts",
    "words_are_spaced",
]
