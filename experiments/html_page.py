"""What the HTML pages have in common: how numbers are written, how figures are put in, where templates lie."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def template(name: str, **functions: Callable[..., Any]) -> Any:
    """A template in which every text from data is escaped, and a name that is not there is an error.

    Args:
        name: Its file.
        functions: Functions that it may call besides those of this module.
    """
    environment = Environment(
        loader=PackageLoader("experiments"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"interval": interval, "signed": signed, "percent": percent, "points": points, **functions}
    environment.filters |= {
        "number": number,
        "signed": signed,
        "percent": percent,
        "p_value": p_value,
        "count": lambda value: f"{value:,.0f}",
    }
    return environment.get_template(name)


def inlined(file: Path) -> str:
    """An SVG figure as a data address: inside an `img`, nothing in it can run."""
    return "data:image/svg+xml;base64," + base64.b64encode(file.read_bytes()).decode()


def number(value: float) -> str:
    """A number as people read it: thousands separated, three digits where it is small.

    >>> number(12345.6), number(12.34), number(0.1234)
    ('12,346', '12.3', '0.123')
    """
    if math.isnan(value):
        return "none"
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.3g}"


def signed(value: float) -> str:
    """A difference, with its sign.

    >>> signed(12.34), signed(-0.5)
    ('+12.3', '-0.5')
    """
    if math.isnan(value):
        return "none"
    return ("-" if value < 0 else "+") + number(abs(value))


def interval(low: float, high: float, write: Callable[[float], str] = number) -> str:
    """Both ends of an interval; words where there is none.

    >>> interval(1.0, 2.5), interval(math.nan, math.nan)
    ('1 to 2.5', 'no interval')
    """
    return "no interval" if math.isnan(low) else f"{write(low)} to {write(high)}"


def percent(value: float) -> str:
    """A share in percent.

    >>> percent(0.0345), percent(0.2)
    ('3.45 %', '20.0 %')
    """
    if math.isnan(value):
        return "none"
    return f"{100 * value:.2f} %" if value < 0.1 else f"{100 * value:.1f} %"


def points(value: float) -> str:
    """A difference of two shares in percentage points.

    >>> points(0.0123), points(-0.0004)
    ('+1.23', '-0.04')
    """
    return "none" if math.isnan(value) else f"{100 * value:+.2f}"


def p_value(value: float) -> str:
    """A p-value, to three decimals.

    >>> p_value(0.0001), p_value(0.04)
    ('< 0.001', '0.040')
    """
    if math.isnan(value):
        return "none"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
