"""Figures from arrays: every function draws on the axes it is given, or on new ones, and returns them.

Nothing here touches pyplot or the global style; `save_figure` writes a figure as PNG and SVG, the same bytes each time.
"""

from bandits.plots.calibration import plot_reliability
from bandits.plots.comparison import plot_estimates, plot_paired_differences
from bandits.plots.curves import plot_curves, plot_test_length
from bandits.plots.figures import save_figure
from bandits.plots.fonts import fonts_for
from bandits.plots.styles import PolicyStyle, style_of
from bandits.plots.traffic import plot_traffic
from bandits.plots.words import plot_word_effects

__all__ = [
    "PolicyStyle",
    "fonts_for",
    "plot_curves",
    "plot_estimates",
    "plot_paired_differences",
    "plot_reliability",
    "plot_test_length",
    "plot_traffic",
    "plot_word_effects",
    "save_figure",
    "style_of",
]
