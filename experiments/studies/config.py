"""What a study of effects is, as a YAML file: every key, its type, its default; all mistakes reported at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, ValidationError

from bandits import KernelPolicy
from bandits.core import FloatArray
from bandits.core import Problem as BanditProblem
from experiments.config import Section
from experiments.config_file import bundled_files, read_raw, resolve_policies
from experiments.policy_specs import build_policy
from experiments.problems import ConfigError, Problem, did_you_mean, from_pydantic, shown
from experiments.studies.closed_loop_config import ClosedLoopStudy, closed_loop_problems, quick_closed_loop
from experiments.studies.headlines.config import HeadlinesStudy, headlines_problems, quick_headlines
from experiments.studies.observed import ships_for_good
from experiments.studies.replay_config import AsosStudy, ReplayStudy, UpworthyStudy, quick_replay, replay_problems
from experiments.studies.watched import CONTROL
from policies.ab import RampUpABTest

QUICK_REPLICATIONS = 200
MOST_CELLS = 100_000


class EffectsWorld(Section):
    """Visitors without features, and arms whose click rates are known: the control is arm 0."""

    base_rate: float = Field(gt=0, lt=1, description="click rate of the control")
    visitors: int = Field(ge=2, description="visitors per replication, in the test and after it")
    effects: list[float] = Field(
        min_length=1, description="differences in click rate, increasing; 0 is the world without any effect"
    )
    arms: int = Field(2, ge=2, description="number of arms, the control included")
    profile: list[float] | None = Field(
        None, description="by how many effects each arm differs from the control; default: the last arm by one"
    )

    @property
    def shape(self) -> FloatArray:
        """The profile with its default filled in, shape (K,)."""
        if self.profile is not None:
            return np.array(self.profile)
        return np.array([0.0] * (self.arms - 1) + [1.0])

    def rates(self, effect: float) -> FloatArray:
        """Click rate of each arm at an effect, shape (K,)."""
        return self.base_rate + effect * self.shape

    @property
    def target(self) -> int:
        """The arm whose difference to the control is estimated: the one that differs most."""
        return int(np.argmax(np.abs(self.shape)))


class EffectsSimulation(Section):
    """How often, and in which pieces."""

    replications: int = Field(10_000, ge=2, description="independent repetitions of every policy at every effect")
    chunk: int = Field(2_500, ge=1, description="replications that are computed and stored together")
    fewer: dict[str, int] = Field(
        default_factory=dict, description="label: a smaller number of replications, for policies that are slow"
    )
    unweighted: list[str] = Field(
        default_factory=list, description="labels of bandits whose propensities would take too long: no AIPW for them"
    )


class Headline(Section):
    """What the first sentence of the page is about."""

    effect: float | None = Field(
        None, description="one of the effects; default: the least at which the baseline's power reaches 80 percent"
    )
    policy: str | None = Field(None, description="label of a policy; default: the one that loses the fewest clicks")


class EffectsStudy(Section):
    """One study of effects, complete: it determines every number of its page."""

    study: Literal["effects"]
    name: str = Field(pattern=r"^[\w][\w.-]*$", description="also the name of the folder")
    seed: int = Field(1, ge=0, lt=2**63, description="of visitors, clicks and the policies' own draws")
    world: EffectsWorld
    simulation: EffectsSimulation = EffectsSimulation()
    confidence: float = Field(
        0.95, gt=0, lt=1, description="of all intervals; tests of policies that have none: 1 - it"
    )
    baseline: str = Field("ABTest", description="label of the policy that clicks lost are compared with")
    headline: Headline = Headline()
    policies: dict[str, Any] = Field(min_length=1)

    def replications(self, label: str) -> int:
        """How many replications a policy plays."""
        return self.simulation.fewer.get(label, self.simulation.replications)


class LoadedStudy(NamedTuple):
    """A valid study and where it came from.

    Attributes:
        config: The study, with every default filled in; its class says which kind it is.
        folder: Folder of its file: modules of the user's own policies are looked for here first.
    """

    config: Any
    folder: Path


class Kind(NamedTuple):
    """A kind of study; `experiments.studies.run.RUNNERS` has what runs it.

    Attributes:
        section: Its schema, with the key `study`.
        problems: What a valid schema can still get wrong, from the config and the folder of its file.
        quick: The same study, scaled down to a trial under the name `NAME-quick`.
    """

    section: type[Section]
    problems: Callable[[Any, Path], list[Problem]]
    quick: Callable[[Any], Any]


def load_study(source: str | Path, overrides: Sequence[str] = (), *, quick: bool = False) -> LoadedStudy:
    """Read a study by file or bundled name, apply overrides, and check all of it.

    Args:
        source: A YAML file, or the name of a bundled study (`bundled_studies`).
        overrides: `a.b.c=value` each; values are YAML.
        quick: Fewer replications, under the name `NAME-quick`.

    Raises:
        FileNotFoundError: When there is neither such a file nor such a bundled study.
        ConfigError: With every problem of the study at once.
    """
    raw, origin, folder, problems = read_raw(str(source), overrides, bundled_studies(), "study")
    kind = raw.get("study")
    if not isinstance(kind, str) or kind not in KINDS:
        hint = did_you_mean(kind, KINDS) if isinstance(kind, str) else f"Known: {', '.join(KINDS)}."
        what = "required, but missing" if kind is None else f"unknown kind of study {shown(kind)}"
        raise ConfigError(origin, [Problem("study", f"{what}. {hint}"), *problems])
    section = KINDS[kind].section
    resolved: dict[str, Any] = {}
    if "policies" in section.model_fields:
        resolved, more = resolve_policies(raw.get("policies"), folder)
        problems += more
    try:
        config = section.model_validate(raw | ({"policies": resolved} if resolved else {}), strict=True)
    except ValidationError as error:
        raise ConfigError(origin, [*from_pydantic(error, section, raw), *problems]) from None
    if not problems:  # else labels of policies with problems would seem not to be there
        problems += KINDS[kind].problems(config, folder)
    if problems:
        raise ConfigError(origin, problems)
    return LoadedStudy(KINDS[kind].quick(config) if quick else config, folder)


def bundled_studies() -> dict[str, str]:
    """Names of the bundled studies and the text of each."""
    return bundled_files("experiments.studies")


def _effects_problems(config: EffectsStudy, folder: Path) -> list[Problem]:
    return [*_world_problems(config), *_label_problems(config), *_policy_problems(config, folder)]


def _world_problems(config: EffectsStudy) -> list[Problem]:
    world, problems = config.world, []
    if any(later <= earlier for earlier, later in zip(world.effects, world.effects[1:], strict=False)):
        problems.append(Problem("world.effects", f"must increase. Got {shown(world.effects)}."))
    if world.profile is not None and (len(world.profile) != world.arms or world.profile[CONTROL] != 0):
        text = f"must be {world.arms} numbers, one for each arm, 0 for the control (the first). "
        return [*problems, Problem("world.profile", f"{text}Got {shown(world.profile)}.")]
    if not np.any(world.shape):
        problems.append(Problem("world.profile", f"must differ from 0 for some arm. Got {shown(world.profile)}."))
    for effect in world.effects:
        rates = world.rates(effect)
        if not np.all((rates > 0) & (rates < 1)):
            text = f"must leave every click rate between 0 and 1. Got {effect:g}: rates {shown(rates.tolist())}."
            problems.append(Problem("world.effects", text))
    return problems


def _label_problems(config: EffectsStudy) -> list[Problem]:
    problems = []
    wanted = [
        ("baseline", config.baseline),
        *((f"simulation.fewer.{label}", label) for label in config.simulation.fewer),
        *(("simulation.unweighted", label) for label in config.simulation.unweighted),
    ]
    if config.headline.policy is not None:
        wanted.append(("headline.policy", config.headline.policy))
    for path, label in wanted:
        if label not in config.policies:
            hint = did_you_mean(label, config.policies)
            problems.append(Problem(path, f"must be the label of a policy. Got `{label}`. {hint}"))
    if config.headline.policy == config.baseline:
        problems.append(
            Problem("headline.policy", f"must be another policy than the baseline. Got `{config.baseline}`.")
        )
    if config.headline.effect is not None and config.headline.effect not in config.world.effects:
        text = f"must be one of `world.effects` {config.world.effects}. Got {config.headline.effect}."
        problems.append(Problem("headline.effect", text))
    cells = (
        len(config.world.effects) * len(config.policies) * -(-config.simulation.replications // config.simulation.chunk)
    )
    if cells > MOST_CELLS:
        text = f"must not be so small that there are more than {MOST_CELLS:,} pieces to store. Got {cells:,} pieces of "
        problems.append(Problem("simulation.chunk", f"{text}{config.simulation.chunk:,} replications."))
    for label, count in config.simulation.fewer.items():
        if not 2 <= count <= config.simulation.replications:
            text = f"must lie in 2..{config.simulation.replications}, the replications of the others. Got {count}."
            problems.append(Problem(f"simulation.fewer.{label}", text))
    return problems


def _policy_problems(config: EffectsStudy, folder: Path) -> list[Problem]:
    problems = []
    for label, spec in config.policies.items():
        path, policy = f"policies.{label}", build_policy(spec, folder)
        if not isinstance(policy, KernelPolicy):
            problems.append(
                Problem(path, f"must be a kernel policy, which millions of visitors need. Got {shown(policy)}.")
            )
            continue
        if spec.get("control", CONTROL) != CONTROL:
            text = f"must be {CONTROL}, the arm that effects are measured against. Got {shown(spec['control'])}."
            problems.append(Problem(f"{path}.control", text))
        if isinstance(policy, RampUpABTest) and not ships_for_good(policy):
            text = "must ship what it decides: a study cannot tell its last stage from what comes after. "
            got = f"Got if_winner={policy.if_winner!r}, if_none={policy.if_none!r}."
            problems.append(Problem(path, text + got))
        try:
            policy.layout(BanditProblem(1, config.world.arms, horizon=config.world.visitors))
        except ValueError as error:
            problems.append(Problem(path, str(error)))
    return problems


def _quick_effects(config: EffectsStudy) -> EffectsStudy:
    simulation = config.simulation
    few = min(simulation.replications, QUICK_REPLICATIONS)
    fewer = {label: min(count, few) for label, count in simulation.fewer.items()}
    smaller = simulation.model_copy(update={"replications": few, "fewer": fewer})
    return config.model_copy(update={"name": f"{config.name}-quick", "simulation": smaller})


def _replay_problems(config: ReplayStudy, folder: Path) -> list[Problem]:
    return replay_problems(config)


KINDS: dict[str, Kind] = {
    "effects": Kind(EffectsStudy, _effects_problems, _quick_effects),
    "asos": Kind(AsosStudy, _replay_problems, quick_replay),
    "upworthy": Kind(UpworthyStudy, _replay_problems, quick_replay),
    "headlines": Kind(HeadlinesStudy, headlines_problems, quick_headlines),
    "closed_loop": Kind(ClosedLoopStudy, closed_loop_problems, quick_closed_loop),
}
