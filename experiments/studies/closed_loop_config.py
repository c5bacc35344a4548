"""What a study of the closed loop is, as a section of a study's YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from experiments.config import Section
from experiments.problems import Problem, did_you_mean, shown
from policies import RefittedModel
from policies.refitted.lora import lora_config

QUICK_REPLICATIONS, QUICK_VISITORS = 4, 300


class DriftingNewsroom(Section):
    """A newsroom with a planted truth, in which topics change places between deployments."""

    seed: int = Field(1, ge=0, lt=2**32, description="of the readers, the headlines and the shifts")
    users: int = Field(240, ge=1, le=10_000, description="readers")
    headlines: int = Field(18, ge=2, le=30, description="headlines, the arms")
    swaps: int = Field(1, ge=0, description="pairs of topics that change places in every shift; 0: nothing drifts")
    encoder: str = Field(
        "sentence-transformers/all-MiniLM-L6-v2",
        description="text encoder of heads, frozen: a name, a folder, or `tiny` (random weights)",
    )
    features: int = Field(8, ge=1, description="numbers that heads see of each text, at most")


class ClosedLoopSimulation(Section):
    """How often, and in which pieces."""

    replications: int = Field(40, ge=2, description="independent repetitions, each with shifts of its own")
    chunk: int = Field(20, ge=1, description="replications that are played and stored together")


class LoopModel(Section):
    """What all models have in common."""

    kind: Literal["head", "lora"] = Field(
        "head",
        description="'head': logistic, on products of the numbers of reader and headline; 'lora': a language model "
        "that reads both texts",
    )
    ridge: float = Field(20.0, gt=0, description="'head' only: penalty on squared coefficients, in visits")
    lora: dict[str, Any] = Field(
        {}, description="'lora' only: `weights`, `rank`, `epochs`, `device` and other fields of `FitConfig`"
    )
    guard: float | None = Field(
        0.05, gt=0, lt=1, description="two-sided level of the A/B test of each model against the last; null: no test"
    )
    guard_prior: list[float] = Field(
        [2.0, 26.0], min_length=2, max_length=2, description="Beta prior of a click rate in that test"
    )
    if_none: Literal["ship", "keep"] = Field("ship", description="after a test without a result: ship the new, or not")


class Variant(Section):
    """What makes one policy; see `policies.RefittedModel`."""

    refits: int | None = Field(None, ge=1, description="fits in all; 1: never refitted; default: one per deployment")
    memory: Literal["all", "window", "replay"] = Field("all", description="what a fit sees")
    memory_size: int | None = Field(
        None, ge=1, description="visitors in the window, or replayed from before the last fit; default: `visitors`"
    )
    weighting: Literal["uniform", "ipw"] = Field("uniform", description="of the log; ipw: inverse propensities")
    largest_weight: float = Field(50.0, ge=1, description="where inverse propensities are clipped")
    exploration: Literal["epsilon", "ensemble"] = "epsilon"
    epsilon: float = Field(0.05, ge=0, le=1, description="probability of an arm at random")
    ensemble: int = Field(5, ge=2, description="number of bootstrap heads")


class ClosedLoopStudy(Section):
    """Models that learn from the log that they made, deployment after deployment, in a world that drifts."""

    study: Literal["closed_loop"]
    name: str = Field("closed_loop", pattern=r"^[\w][\w.-]*$", description="also the name of the folder")
    seed: int = Field(1, ge=0, lt=2**63, description="of visitors, clicks and the policies' own draws")
    world: DriftingNewsroom = DriftingNewsroom()
    deployments: int = Field(5, ge=2, description="models in a row; tastes shift before each but the first")
    visitors: int = Field(4000, ge=100, description="visitors of each deployment, and of the random start before all")
    few: int = Field(20, ge=1, description="an arm that a deployment shows less often counts as hardly shown")
    baseline: str = Field("never refitted", description="label of the policy that clicks are compared with")
    simulation: ClosedLoopSimulation = ClosedLoopSimulation()
    model: LoopModel = LoopModel()
    variants: dict[str, Variant] = Field(min_length=1, description="the policies that are compared, by label")

    @property
    def horizon(self) -> int:
        """All visitors of a replication, those of the random start among them."""
        return self.visitors * (1 + self.deployments)

    def policy(self, label: str) -> RefittedModel:
        """The policy of a label, fitted before each deployment unless its own `refits` ends sooner."""
        variant, components = self.variants[label], self.world.features
        model: dict[str, Any] = {"model": "lora", "lora": self.model.lora}
        if self.model.kind == "head":
            model = {"features": "product", "user_components": components, "arm_components": components}
            model["ridge"] = self.model.ridge
        return RefittedModel(
            every=self.visitors,
            refits=min(variant.refits or self.deployments, self.deployments),
            memory=variant.memory,
            memory_size=variant.memory_size or self.visitors,
            weighting=variant.weighting,
            largest_weight=variant.largest_weight,
            exploration=variant.exploration,
            epsilon=variant.epsilon,
            ensemble=variant.ensemble,
            **model,
            guard=self.model.guard,
            guard_prior=self.model.guard_prior,
            if_none=self.model.if_none,
        )


def closed_loop_problems(config: ClosedLoopStudy, folder: Path) -> list[Problem]:
    """What a valid schema can still get wrong."""
    problems = []
    if config.baseline not in config.variants:
        hint = did_you_mean(config.baseline, config.variants)
        problems.append(Problem("baseline", f"must be the label of a variant. Got `{config.baseline}`. {hint}"))
    if min(config.model.guard_prior) <= 0:
        text = f"must be two numbers above 0. Got {shown(config.model.guard_prior)}."
        problems.append(Problem("model.guard_prior", text))
    if config.model.kind == "head" and config.model.lora:
        problems.append(Problem("model.lora", f"needs `model.kind` lora. Got {shown(config.model.lora)} for head."))
    try:
        lora_config(config.model.lora)
    except ValueError as error:
        problems.append(Problem("model", str(error)))
    return problems


def quick_closed_loop(config: ClosedLoopStudy) -> ClosedLoopStudy:
    """The same study scaled down to a trial of seconds, under the name `NAME-quick`."""
    few = min(config.simulation.replications, QUICK_REPLICATIONS)
    return config.model_copy(
        update={
            "name": f"{config.name}-quick",
            "visitors": min(config.visitors, QUICK_VISITORS),
            "simulation": config.simulation.model_copy(update={"replications": few}),
        }
    )
