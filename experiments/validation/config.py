"""What a validation plays, and the thresholds that its verdict is held to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, ValidationError, field_validator

from bandits.reward_models.weights import MINI_LM
from experiments.config import Section
from experiments.config_file import bundled_files, read_raw, resolve_policies
from experiments.policy_specs import Resolved
from experiments.problems import ConfigError, Problem, from_pydantic


class Thresholds(Section):
    """What counts as good enough. An answer is yes or no only where the whole 95 percent interval says so."""

    agreement: float = Field(0.85, gt=0.5, le=1, description="share of policy pairs that the model orders as reality")
    policies: int = Field(12, ge=2, description="fewer policies say too little about rankings")
    pairs: int = Field(10, ge=1, description="fewer pairs that differ for certain in reality say too little as well")
    level: list[float] = Field([0.9, 1.1], description="observed over predicted clicks, of all rows and of later ones")
    part: list[float] = Field([0.8, 1.25], description="the same by decile and segment, and for the model's favourites")
    divergence: float = Field(
        0.01,
        gt=0,
        description="Jensen-Shannon divergence of where clicks fall, in bits; for shares that are off by a typical "
        "factor 1 + d it is about d**2 / 5.5",
    )
    auc: float = Field(0.55, gt=0.5, lt=1, description="how well a classifier may tell real clicks from simulated ones")
    mean_change: float = Field(0.1, gt=0, description="mean relative change of a propensity under a perturbed text")
    largest_change: float = Field(0.5, gt=0, description="largest relative change of a propensity under such a text")

    @field_validator("level", "part")
    @classmethod
    def _around_one(cls, band: list[float]) -> list[float]:
        if not (len(band) == 2 and 0 <= band[0] < 1 < band[1]):
            raise ValueError(f"must be two numbers around 1, the lower at least 0. Got {band}.")
        return band


class ValidationConfig(Section):
    """How a model is validated."""

    seed: int = Field(1, ge=0, description="of simulations, bootstraps and folds")
    horizon: int = Field(description="visitors of each replication", ge=100)
    replications: int = Field(40, ge=10, description="replications in a world of pairs")
    max_worlds: int = Field(400, ge=10, description="held-out tests that become worlds, one replication each")
    max_users: int = Field(500, ge=10, description="held-out users that worlds of pairs have at most")
    min_users: int = Field(30, ge=10, description="fewer users with a known reward of every item are no real world")
    max_rows: int = Field(4_000, ge=100, description="rows that the two-sample test looks at, at most")
    max_texts: int = Field(200, ge=10, description="rows whose texts are perturbed")
    resamples: int = Field(400, ge=100, description="bootstrap samples of each interval")
    null_draws: int = Field(40, ge=20, description="repetitions of the two-sample test with a model that is right")
    placebo: int = Field(2_000, ge=100, description="A/B tests of identical arms")
    encoder: str = Field(MINI_LM, description="embeds texts for LinUCB, as in `world.encoder`; not fine-tuned")
    features: int = Field(8, ge=1, description="features that policies see of each user and item")
    thresholds: Thresholds = Thresholds()
    reference: str = Field("A/B test", description="the policy that uplifts are measured against")
    policies: dict[str, dict[str, Any]] = Field(min_length=2, description="as in an experiment")


class LoadedValidation(NamedTuple):
    """A checked config.

    Attributes:
        config: The values.
        policies: Complete specifications of its policies.
        folder: Where modules of the user's own policies are looked for.
    """

    config: ValidationConfig
    policies: dict[str, Resolved]
    folder: Path


def load_validation(
    source: str | None, kind: Literal["pairs", "tests"], overrides: Sequence[str] = ()
) -> LoadedValidation:
    """Read a config; by default the bundled one for logs of this kind.

    Raises:
        FileNotFoundError: When there is no such file.
        ConfigError: When it cannot be used; it names all that is wrong.
    """
    raw, origin, folder, problems = read_raw(
        source or kind, overrides, bundled_files("experiments.validation"), "validation"
    )
    if isinstance(raw.get("policies"), dict):
        raw["policies"] = {label: spec or {} for label, spec in raw["policies"].items()}
    try:
        config = ValidationConfig(**raw)
    except ValidationError as error:
        raise ConfigError(origin, [*problems, *from_pydantic(error, ValidationConfig, raw)]) from None
    policies, more = resolve_policies(config.policies, folder)
    problems = [*problems, *more]
    if config.reference not in config.policies:
        problems.append(Problem("reference", f"must be one of the policies. Got {config.reference!r}."))
    if problems:
        raise ConfigError(origin, problems)
    return LoadedValidation(config, policies, folder)
