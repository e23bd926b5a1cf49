"""The figures of an inspection, from arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from drawn_figures import texts
from retain.report import inspection_plots as plots

STEPS = np.arange(6) * 10


def memory(seed: int, components: int = 100) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(6, components))


def test_components_are_those_that_vary_and_tell_episodes_apart() -> None:
    first, second = np.zeros((2, 6, 8))
    first[3:, 2], second[3:, 2] = -1, 1
    first[3:, 5] = 1
    first[1, 7] = 0.5
    chosen, varying = plots.choose_components([first, second])
    assert varying == 3
    assert chosen.tolist() == [5, 7, 2]
    constant, varying = plots.choose_components([np.ones((6, 8))])
    assert (constant.tolist(), varying) == (list(range(8)), 0)
    many, varying = plots.choose_components([memory(0), memory(1)])
    assert (len(many), varying) == (plots.MOST_COMPONENTS, 100)


def test_memory_heatmap(tmp_path: Path, drawn: list[Figure]) -> None:
    episodes = [plots.Episode("one", memory(0)), plots.Episode("two", memory(1))]
    sizes = np.zeros(60)
    sizes[10] = 0.3
    plots.memory_heatmap(
        tmp_path / "a.png",
        STEPS,
        episodes,
        change_places_T=np.arange(60),
        change_size_T=sizes,
        marked=[10],
    )
    shown = texts(drawn[0])
    assert {"one", "two", "Step", "Value"} <= set(shown)
    assert "64 of the 100 components that vary (100 in all)" in shown
    mesh = drawn[0].axes[0].collections[0]
    assert mesh.get_array().shape == (64, 6)
    low, high = mesh.get_clim()
    assert low == -high
    marks = [line for line in drawn[0].axes[2].get_lines() if line.get_marker() == "v"]
    assert [mark.get_xdata()[0] for mark in marks] == [10]


def test_memory_that_never_changes_can_be_drawn(tmp_path: Path, drawn: list[Figure]) -> None:
    one = [plots.Episode("one", np.zeros((1, 3)))]
    nothing = np.zeros(1)
    plots.memory_heatmap(
        tmp_path / "a.png", STEPS[:1], one, change_places_T=nothing, change_size_T=nothing
    )
    assert "No component varies" in texts(drawn[0])


def test_changes_and_drift(tmp_path: Path, drawn: list[Figure]) -> None:
    change = plots.Change("Steps 0 to 3", np.arange(4), np.array([0.0, 0.0, 0.0, 2.0]), "step 3")
    plots.change_plot(tmp_path / "a.png", STEPS, np.arange(6), [change], "Changed")
    bars = drawn[0].axes[1].patches
    assert [bar.get_height() for bar in bars] == [0, 0, 0, 2]
    assert "step 3" in texts(drawn[0])
    plots.change_plot(tmp_path / "b.png", STEPS[:1], np.zeros(1), [], "Changed")
    plots.drift_plot(tmp_path / "c.png", STEPS, np.ones(6), np.arange(6), np.ones(6))
    assert [len(line.get_xdata()) for line in drawn[2].axes[0].get_lines()] == [5, 5]


def test_probes(tmp_path: Path, drawn: list[Figure]) -> None:
    falling = 10.0 ** -np.arange(6)
    half = np.full(6, 0.5)
    found = plots.Reading(np.full(6, 0.9), np.full(6, 0.1), half, falling, np.zeros(6))
    plots.probe_plot(tmp_path / "a.png", STEPS, {"goal": found}, "Probe")
    assert drawn[0].axes[1].get_yscale() == "log"
    assert {"Goal", "chance", "Probe"} <= set(texts(drawn[0]))
    many = {f"bit {n}": found for n in range(9)}
    plots.probe_plot(tmp_path / "b.png", STEPS, many, "Probe")
    assert "Mean of 9 variables" in texts(drawn[1])
    flat = plots.Reading(found.accuracy_R, found.stderr_R, half, np.zeros(6), np.zeros(6))
    plots.probe_plot(tmp_path / "c.png", STEPS, {"goal": flat}, "Probe")
    assert drawn[2].axes[1].get_yscale() == "linear"


def test_chance_that_changes_is_a_curve(tmp_path: Path, drawn: list[Figure]) -> None:
    changing = np.array([1.0, 0.6, 0.5, 0.5, 0.6, np.nan])

    def reading(chance_R: np.ndarray) -> plots.Reading:
        return plots.Reading(np.full(6, 0.9), np.full(6, 0.1), chance_R, np.ones(6), np.zeros(6))

    plots.probe_plot(tmp_path / "a.png", STEPS, {"key": reading(changing)}, "Probe")
    np.testing.assert_array_equal(drawn[0].axes[0].get_lines()[1].get_ydata(), changing)
    assert "Chance" in texts(drawn[0])
    both = {"key": reading(changing), "door": reading(1.5 - changing)}
    plots.probe_plot(tmp_path / "b.png", STEPS, both, "Probe")
    lines = drawn[1].axes[0].get_lines()
    assert [line.get_color() for line in lines[:2]] == [line.get_color() for line in lines[2:]]


def test_attention(tmp_path: Path, drawn: list[Figure]) -> None:
    groups = [("read", range(2)), ("observation", range(2, 6, 2)), ("action", range(3, 6, 2))]
    weight = np.full((1, 2, 6), 1 / 6)
    segment = plots.Attention("here", weight, groups, np.array([[0.25, 0.5]]))
    plots.attention_plot(tmp_path / "a.png", [segment, segment])
    shown = texts(drawn[0])
    assert shown.count("read\n33%") == 2
    assert shown.count("here") == 2
    assert drawn[0].axes[0].images[0].get_array().shape == (2, 6)
