"""How a reward model is fitted, and how its table is scored: every choice that changes a number, in one place."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

NO_PART_OF_A_FIT = {"scoring", "evaluation", "trackers", "members"}
"""Fields of `FitConfig` that do not decide what a single fit comes to."""


class ScoringConfig(BaseModel):
    """How a fitted model fills its propensity table; no part of the fit.

    >>> ScoringConfig().precision
    'auto'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="'auto' takes bfloat16 where the processor has it and a check keeps within `max_change`, otherwise "
        "float32; 'bfloat16' is taken unchecked",
    )
    max_change: float = Field(
        0.02, gt=0, lt=1, description="'auto' only: share of itself by which bfloat16 may move a click probability"
    )


class EvaluationConfig(BaseModel):
    """What is asked of a fitted model on held-out rows; no part of the fit.

    >>> EvaluationConfig().band
    [0.8, 1.25]
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: float | None = Field(
        None, ge=0, le=1, description="predicted click rate from which precision, recall and F1 call a row a click"
    )
    band: list[float] | None = Field(
        [0.8, 1.25],
        description="observed over predicted clicks that a world may have: it is refused where the 95 percent interval "
        "lies outside; null: any",
    )

    @field_validator("band")
    @classmethod
    def _band_holds_one(cls, band: list[float] | None) -> list[float] | None:
        if band is not None and not (len(band) == 2 and 0 <= band[0] < 1 < band[1]):
            raise ValueError(f"must be two numbers around 1, the lower at least 0. Got {band}.")
        return band


class FitConfig(BaseModel):
    """Hyperparameters of fine-tuning and calibration; all but `NO_PART_OF_A_FIT` decide what is fitted.

    >>> FitConfig(epochs=2).loss
    'binomial'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: str = Field(
        "sentence-transformers/all-MiniLM-L6-v2",
        description="where the network starts from: a folder, a model name, or 'tiny' (two random layers, for tests)",
    )
    sha256: str | None = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description="what the SHA-256 of the weights' `model.safetensors` must be; null: not checked",
    )
    architecture: Literal["cross", "bi"] = Field(
        "cross",
        description="'cross' reads user and item together; 'bi' apart, and multiplies: coarser, but far faster",
    )
    pooling: Literal["auto", "mean", "first", "last", "pooler"] = Field(
        "auto",
        description="how the tokens' vectors become one; 'auto': their mean for encoders, the last for decoders; "
        "'pooler': the encoder's own",
    )
    dropout: float | None = Field(
        None, ge=0, lt=1, description="in the encoder and before the head; null: the encoder's own, and 0.1 there"
    )
    tuning: Literal["full", "head", "lora", "adalora", "prefix", "ia3"] = Field(
        "full",
        description="what is trained: all weights, the head alone, or the head and an adapter in a frozen encoder",
    )
    rank: int = Field(8, ge=1, description="'lora' and 'adalora' only: rank of each change (on average, for AdaLoRA)")
    alpha: float = Field(16, gt=0, description="'lora' and 'adalora' only: changes are multiplied by alpha / rank")
    targets: list[str] | None = Field(
        None,
        min_length=1,
        description="'lora', 'adalora' and 'ia3' only: names of the linear maps that are changed; null: what peft "
        "takes for this architecture",
    )
    prefix_tokens: int = Field(8, ge=1, description="'prefix' only: trained tokens in front of the text, in each layer")
    teacher: str | None = Field(
        None,
        description="folder of a model, fitted on the same split, whose click rates are learned beside the log's",
    )
    teacher_weight: float = Field(0.5, gt=0, le=1, description="share of the teacher in what is learned")
    teacher_pairs: int = Field(
        0,
        ge=0,
        description="logs of pairs with users only: so many pairs of training users and items that the log does not "
        "hold are learned from the teacher alone",
    )
    loss: Literal["binomial", "within_test", "both"] = Field(
        "binomial",
        description="'binomial' models click rates; 'within_test' only differences between the items of one test; "
        "'both' adds the two up for a log of tests",
    )
    within_weight: float = Field(1.0, gt=0, description="'both' only: weight of 'within_test' beside 'binomial'")
    overdispersion: float = Field(
        0.3, ge=0, description="logs of tests only: variance of log click rates inside a test that texts cannot explain"
    )
    epochs: int = Field(3, ge=1, description="passes over the training rows at most")
    patience: int = Field(2, ge=1, description="epochs without a better validation loss before stopping")
    learning_rate: float = Field(
        1e-4, gt=0, description="highest learning rate of AdamW; 2e-5 to 5e-5 for a BERT of the usual size"
    )
    outcome_weight: float = Field(
        1.0,
        ge=0,
        description="logs of conversions only: weight of the mean losses of conversions (per click) and of values (per "
        "conversion) beside that of clicks (per impression)",
    )
    columns_learning_rate: float = Field(
        1e-2, gt=0, description="highest learning rate of the maps from columns beside the text to logits and tokens"
    )
    embeddings_enter: Literal["logit", "tokens"] = Field(
        "logit",
        description="embeddings beside the text add to the 'logit', or are read as 'tokens' before the text, one each",
    )
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="each layer learns at this share of the rate of the one above it"
    )
    schedule: Literal["linear", "cosine", "constant", "plateau"] = Field(
        "linear",
        description="the learning rate after the warm-up; 'plateau' halves it after epochs that did not improve",
    )
    batch_size: int = Field(16, ge=1, description="rows in a batch; whole tests in a batch for a log of tests")
    accumulation: int = Field(
        1, ge=1, description="batches in a step: as one large batch, in the memory of a small one"
    )
    max_length: int = Field(32, ge=8, le=512, description="tokens of user and item text together; the rest is cut off")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps in which the learning rate grows linearly")
    weight_decay: float = Field(0.01, ge=0, description="decoupled weight decay of AdamW")
    average_weights: bool = Field(
        False, description="validate and keep the mean of the weights over an epoch's steps instead of the last ones"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="training computes in bfloat16 ('auto': where the device does so in hardware) or in float32"
    )
    freeze_embeddings: bool = Field(True, description="keep the word embeddings as they are: faster, hardly worse")
    freeze_layers: int = Field(
        0, ge=0, description="'full' only: lowest layers kept as they are too: faster, and calmer with few rows"
    )
    max_train_rows: int | None = Field(None, ge=1, description="train on whole groups up to about this many rows")
    calibration: Literal["platt", "temperature", "identity", "beta", "isotonic", "auto"] = Field(
        "platt",
        description="map from logits to click rates, fitted on its own split ('auto': the best of all in a "
        "cross-validation there); 'within_test' fits its own",
    )
    checkpoint_steps: int = Field(200, ge=1, description="steps between two checkpoints inside an epoch")
    device: str = Field("auto", description="'auto' (a GPU when there is one), 'cpu', 'cuda' or 'cuda:1'")
    trackers: list[Literal["tensorboard", "wandb"]] = Field(
        [], description="who gets the curves of a fit, in its folder; no reason to fit anew"
    )
    scoring: ScoringConfig = Field(
        ScoringConfig(), description="how the propensity table is filled; no reason to fit anew"
    )
    evaluation: EvaluationConfig = Field(
        EvaluationConfig(), description="what is asked of the model on held-out rows; no reason to fit anew"
    )
    members: int = Field(
        1,
        ge=1,
        description="above 1: an ensemble of so many fits with seeds `seed`, `seed + 1`, ...; its score is their mean",
    )
    seed: int = Field(
        0, ge=0, description="seed of the head's first weights, dropout, the order of rows and the folds of 'auto'"
    )

    @field_validator("teacher_pairs")
    @classmethod
    def _pairs_have_a_teacher(cls, pairs: int, info: ValidationInfo) -> int:
        if pairs and info.data.get("teacher") is None:
            raise ValueError(f"must be 0 without a `teacher`, who alone knows their click rates. Got {pairs}.")
        return pairs

    @field_validator("freeze_layers")
    @classmethod
    def _adapters_freeze_all(cls, layers: int, info: ValidationInfo) -> int:
        if layers and info.data.get("tuning", "full") != "full":
            raise ValueError(
                f"must be 0 where `tuning` is {info.data['tuning']!r}: all layers are frozen. Got {layers}."
            )
        return layers

    @field_validator("embeddings_enter")
    @classmethod
    def _tokens_are_read_with_the_text(cls, enter: str, info: ValidationInfo) -> str:
        architecture, tuning = info.data.get("architecture", "cross"), info.data.get("tuning", "full")
        if enter == "tokens" and architecture != "cross":
            raise ValueError("must be 'logit' where `architecture` is 'bi': texts are read apart. Got 'tokens'.")
        if enter == "tokens" and tuning in ("head", "prefix"):
            why = "vectors of pairs are kept" if tuning == "head" else "peft puts its own tokens there"
            raise ValueError(f"must be 'logit' where `tuning` is {tuning!r}: {why}. Got 'tokens'.")
        return enter

    @field_validator("evaluation")
    @classmethod
    def _tests_have_no_level(cls, evaluation: EvaluationConfig, info: ValidationInfo) -> EvaluationConfig:
        loss = info.data.get("loss")
        if evaluation.threshold is not None and loss in ("within_test", "both"):
            raise ValueError(
                f"must have no `threshold` where `loss` is {loss!r}: a log of tests gives no level. "
                f"Got {evaluation.threshold}."
            )
        return evaluation
