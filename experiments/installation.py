"""Are the four packages, whose names are generic, the ones that belong together?"""

from __future__ import annotations

from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("bandits", "envs", "policies", "experiments")


def check_one_installation() -> None:
    """Raise ValueError unless all four packages lie in one folder, and say who else provides them."""
    homes = {name: _home(name) for name in PACKAGES}
    own = Path(__file__).resolve().parent.parent
    strangers = {name: home for name, home in homes.items() if home != own}
    if not strangers:
        return
    providers = packages_distributions()
    by = {name: ", ".join(sorted(set(providers.get(name, ())))) or "no distribution" for name in strangers}
    lines = [f"  {name}: {home or 'not found'} (provided by {by[name]})" for name, home in strangers.items()]
    raise ValueError(
        f"The packages {', '.join(PACKAGES)} must come from one installation, {own}. These do not:\n"
        + "\n".join(lines)
        + "\nRemove the other distribution, or start from another folder."
    )


def _home(name: str) -> Path | None:
    spec = find_spec(name)
    return Path(spec.origin).resolve().parent.parent if spec and spec.origin else None
