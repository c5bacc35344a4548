"""Figures: what is on the axes, styles that stay apart, files that stay the same."""

import subprocess
import sys
from itertools import combinations, pairwise

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from bandits.plots import (
    fonts_for,
    plot_curves,
    plot_paired_differences,
    plot_reliability,
    plot_test_length,
    plot_traffic,
    save_figure,
    style_of,
)
from bandits.statistics import Interval, mean_interval

NAMES = [f"policy {letter}" for letter in "NMLKJIHGFEDCBA"]
ROUNDS = np.array([1, 10, 100, 1000])


@pytest.fixture
def curves():
    random = np.random.default_rng(0)
    return {name: np.cumsum(random.uniform(0, 5, size=(4, 12)), axis=0) for name in NAMES}


def texts_of(ax):
    return [text.get_text() for text in ax.get_figure().findobj(Text) if text.get_text()]


def test_curves_show_means_bands_names_and_phase(curves):
    ax = plot_curves(ROUNDS, curves, "regret in clicks", phases={"A/B test": (0, 300)})
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("visitors", "regret in clicks")
    assert len(ax.lines) == len(curves)
    for line, (name, values) in zip(ax.lines, curves.items(), strict=True):
        assert line.get_label() == name
        np.testing.assert_array_equal(line.get_xdata(), ROUNDS)
        np.testing.assert_allclose(line.get_ydata(), values.mean(axis=1))
    band = ax.collections[3].get_paths()[0].get_extents()
    low, high = mean_interval(curves[NAMES[3]])[1:]
    np.testing.assert_allclose([band.y0, band.y1], [low.min(), high.max()])
    assert set(NAMES) | {"A/B test "} <= set(texts_of(ax))
    shade = ax.patches[0].get_extents().transformed(ax.transData.inverted())
    np.testing.assert_allclose([shade.x0, shade.x1], [0, 300], atol=1e-9)


def test_reference_lines_are_named_and_drawn_as_given(curves):
    bound = 100 * np.log(ROUNDS)
    ax = plot_curves(ROUNDS, curves, "regret", references={"a bound": bound}, xscale="log")
    assert len(ax.lines) == len(curves) + 1
    np.testing.assert_array_equal(ax.lines[-1].get_ydata(), bound)
    assert ax.get_ylim()[1] > bound[-1]
    assert {"a bound", *NAMES} <= set(texts_of(ax))


def test_one_replication_has_no_band():
    ax = plot_curves(ROUNDS, {"A": np.arange(4.0)[:, None]}, "regret")
    assert not ax.collections


def test_bands_can_be_switched_off_and_axes_handed_in(curves):
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert plot_curves(ROUNDS, curves, "regret", left, bands=False, xscale="log") is left
    assert not left.collections
    assert left.get_xscale() == "log"
    assert not right.lines


def test_labels_at_the_right_do_not_overlap_and_keep_their_order(curves):
    close = {name: np.full((4, 3), 100.0 + 0.01 * index) for index, name in enumerate(NAMES)}
    ax = plot_curves(ROUNDS, close, "regret")
    ax.get_figure().draw_without_rendering()
    labels = [text for text in ax.texts if text.get_text() in close]
    boxes = [text.get_window_extent() for text in labels]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    heights = [boxes[[text.get_text() for text in labels].index(name)].y0 for name in NAMES]
    assert heights == sorted(heights)


def test_differences_are_sorted_and_hollow_where_uncertain():
    differences = {
        "loser": Interval(*np.array([-50.0, -70.0, -30.0])),
        "unsure": Interval(*np.array([5.0, -10.0, 20.0])),
        "winner": Interval(*np.array([1234.0, 1000.0, 1468.0])),
        "single": Interval(*np.array([2.0, np.nan, np.nan])),
    }
    ax = plot_paired_differences(differences, "extra clicks over ABTest")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["loser", "single", "unsure", "winner"]
    assert ax.get_xlabel() == "extra clicks over ABTest"
    assert {"+1,234  [+1,000, +1,468]", "-50  [-70, -30]", "+2  no interval"} <= set(texts_of(ax))
    hollow = {line.get_ydata()[0] for line in ax.lines if line.get_markerfacecolor() == "white"}
    assert hollow == {1, 2}
    spans = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 2 and line.get_marker() == "None"]
    assert [-70.0, -30.0] in [list(span) for span in spans]


def test_traffic_stacks_shares_between_snapshots():
    traffic = np.array([[1, 1, 2], [10, 1, 9], [10, 71, 19]])
    ax = plot_traffic([4, 20, 100], traffic, ["a", "b", "c" * 60], named=3, marks={"late": 20.0})
    first = ax.collections[0].get_paths()[0]
    assert first.get_extents().x0 == 0
    assert first.contains_point(
        (3.9, 0.24)
    )  # a gets a quarter of the first stretch, which begins with the first visitor
    assert not first.contains_point((3.9, 0.26))
    assert first.contains_point((4.1, 0.5))
    tops = [area.get_paths()[0].vertices[:, 1].max() for area in ax.collections]
    np.testing.assert_allclose(tops, [9 / 16, 7 / 8, 1.0])  # a: 9/16 in the second stretch; a + b: 7/8 in the third
    assert {"a", "b", "c" * 43 + "…", "late"} <= set(texts_of(ax))
    assert ax.get_ylabel() == "share of traffic"


def test_traffic_names_the_biggest_arms_and_those_asked_for():
    traffic = np.array([[50, 1, 30, 0, 20, 9]])
    ax = plot_traffic([110, 220], np.vstack([traffic, 2 * traffic]), list("abcdef"), named=3, always=[3])  # d has none
    assert [area.get_label() for area in ax.collections] == ["a", "c", "d", "3 other arms"]
    with pytest.raises(ValueError, match=r"at most 7 arms. Got 8"):
        plot_traffic([110], np.ones((1, 9)), list("abcdefghi"), always=range(8))
    with pytest.raises(ValueError, match=r"`traffic` must have shape \(1, 2\).* Got \(1, 6\)"):
        plot_traffic([110], traffic, ["a", "b"])


def test_reliability_shows_points_with_intervals():
    bins = [
        {"predicted": 0.02, "observed": 0.0, "low": 0.0, "high": 0.01, "impressions": 300.0},
        {"predicted": 0.06, "observed": 0.07, "low": 0.05, "high": 0.1, "impressions": 200.0},
    ]
    ax = plot_reliability(bins)
    points = ax.containers[0]
    np.testing.assert_allclose(points[0].get_xydata(), [[0.02, 0.0], [0.06, 0.07]])
    np.testing.assert_allclose([bar[:, 1] for bar in points[2][0].get_segments()], [[0.0, 0.01], [0.05, 0.1]])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted click rate", "observed click rate")


def test_test_length_marks_the_best_and_the_planned():
    n, reward = [100, 1000, 10_000], np.array([50.0, 90.0, 70.0])
    ax = plot_test_length(n, Interval(reward, reward - 5, reward + 5), planned=4000, references={"UCB1": 95.0})
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), np.column_stack([n, reward]))
    assert {"best in hindsight: 1,000", "UCB1", " planned: 4,000"} <= set(texts_of(ax))
    low, high = ax.get_ylim()
    assert low < 45
    assert high > 95


def test_styles_do_not_depend_on_order_and_differ():
    styles = style_of(NAMES)
    assert styles == style_of(sorted(NAMES) * 2)
    many = list(style_of(f"{index:03d}" for index in range(385)).values())
    assert len(set(many)) == 385
    assert len({(style.linestyle, style.marker) for style in many[:55]}) == 55  # what is left in greyscale
    for a, b in pairwise(many):
        assert a.color != b.color
        assert a.linestyle != b.linestyle
        assert a.marker != b.marker
    for style in many[:7]:
        luminance = np.array([0.2126, 0.7152, 0.0722]) @ np.array(to_rgb(style.color)) ** 2.2
        assert 1.05 / (luminance + 0.05) > 2  # contrast to white paper


def test_files_are_the_same_each_time_and_state_is_untouched(tmp_path, curves):
    before = dict(mpl.rcParams)
    for name in ("first", "second"):
        ax = plot_curves(ROUNDS, curves, "regret", phases={"A/B test": (0, 300)})
        save_figure(ax.get_figure(), tmp_path / "new" / name)
    for suffix in ("png", "svg"):
        first, second = ((tmp_path / "new" / f"{name}.{suffix}").read_bytes() for name in ("first", "second"))
        assert first == second
        assert len(first) > 10_000
    assert b"<dc:date>" not in (tmp_path / "new" / "first.svg").read_bytes()
    assert dict(mpl.rcParams) == before


def test_texts_from_data_start_no_formula(tmp_path):
    hostile = "Costs $5_{ and $6 \\frac <b>"
    ax = plot_traffic([1, 2], [[1, 1], [2, 2]], [hostile, "b"], marks={hostile: 1.5})
    save_figure(ax.get_figure(), tmp_path / "traffic")
    curve = {hostile: np.ones((4, 2)), "b": np.zeros((4, 2))}
    save_figure(plot_curves(ROUNDS, curve, hostile, phases={hostile: (0, 5)}).get_figure(), tmp_path / "curves")
    intervals = {name: mean_interval(values[-1]) for name, values in curve.items()}
    save_figure(plot_paired_differences(intervals, hostile).get_figure(), tmp_path / "differences")


def test_plain_text_needs_no_other_font():
    assert fonts_for(["Ünïcödé, Ελληνικά, кириллица", ""]) == ["DejaVu Sans"]


def test_missing_glyphs_are_named_once_and_the_figure_is_drawn(tmp_path, monkeypatch):
    regular = [font for font in font_manager.fontManager.ttflist if font.name == "DejaVu Sans"]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", regular)
    fonts_module = sys.modules["bandits.plots.fonts"]
    fonts_module._installed.cache_clear()
    ax = plot_traffic([1, 2], [[1, 1], [2, 2]], ["新闻标题", "b"])
    with pytest.warns(UserWarning, match=r"No installed font has 4 of the characters.*闻") as caught:
        save_figure(ax.get_figure(), tmp_path / "figure")
    assert len(caught) == 1
    fonts_module._installed.cache_clear()


def test_font_with_the_glyphs_is_found(monkeypatch):
    coverage = {"default": {ord("a")}, "small": {ord("新")}, "large": {ord("新"), ord("闻")}, "emoji": {ord("😀")}}
    fonts_module = sys.modules["bandits.plots.fonts"]
    monkeypatch.setattr(fonts_module.font_manager, "findfont", lambda family: "default")
    monkeypatch.setattr(
        fonts_module, "_installed", lambda: [("Emoji", "emoji"), ("Large", "large"), ("Small", "small")]
    )
    monkeypatch.setattr(fonts_module, "_characters", lambda path: frozenset(coverage[path]))
    assert fonts_for(["a新", "闻a"]) == ["DejaVu Sans", "Large"]
    assert fonts_for(["a😀闻"]) == ["DejaVu Sans", "Emoji", "Large"]


def test_import_bandits_draws_nothing():
    script = "import sys, bandits; assert 'matplotlib' not in sys.modules; import bandits.plots; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "matplotlib.pyplot" not in loaded
