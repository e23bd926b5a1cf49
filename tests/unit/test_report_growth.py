"""What grew in training: numbers of the figure, and what cannot be drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from drawn_figures import texts
from online_runs import online_result
from retain.core.errors import ConfigError, RunError
from retain.report.growth import mastered, mastered_vs_steps


def grown(model: str, seed: int, passed: dict[int, int], whole: int | None) -> dict[str, Any]:
    """A run that mastered some lengths after some steps, and 1,500 after `whole`."""
    result = online_result(model, seed, 1.0)
    result["config"]["environment"]["kwargs"] = {"corridor_length": 1500}
    result["config"]["train"] = {
        "curriculum_option": "corridor_length", "curriculum_from": 25, "curriculum_score": 0.9,
    }  # fmt: skip
    rows = [{"value": value, "env_steps": steps} for value, steps in passed.items()]
    history = [{"env_steps": 5, "mean": 0.4}]
    history += [] if whole is None else [{"env_steps": whole, "mean": 0.95}]
    result["training"] = {**result["training"], "curriculum": rows, "history": history}
    return result


def grown_offline(label: str, passed: dict[int, int], whole: int | None) -> dict[str, Any]:
    """A run on data that mastered some lengths after some updates, and 1,500 after `whole`."""
    result = grown(label, 0, {}, None)
    result["config"]["train"] = {"curriculum_from": 25, "curriculum_score": 0.9}
    result["config"]["evaluation"] = {
        "parameter": "corridor_length", "values_in_training": [1500, 7500],
    }  # fmt: skip
    result["training"]["curriculum"] = [
        {"value": value, "update": update} for value, update in passed.items()
    ]
    history = [] if whole is None else [{"update": whole, "mean": 0.95}]
    result["training"]["history"] = [{"update": 400, "mean": 0.5}, *history]
    return result


def test_what_was_mastered_and_when() -> None:
    option, pairs = mastered(grown("lstm", 0, {25: 900, 50: 2100}, 3000))
    assert option == "corridor_length"
    assert pairs == [(900, 25), (2100, 50), (3000, 1500)]
    assert mastered(grown("lstm", 0, {25: 900}, None))[1] == [(900, 25)]


@pytest.mark.parametrize("where", ["curriculum", "history"])
def test_results_that_do_not_say_when_are_refused(where: str) -> None:
    result = grown("lstm", 0, {25: 900}, 3000)
    del result["training"][where][0]["env_steps"]
    with pytest.raises(RunError, match=f"'{result['run']}' lack 'env_steps' in training"):
        mastered(result)


def test_what_was_mastered_on_data(tmp_path: Path, drawn: list[Figure]) -> None:
    result = grown_offline("rate", {25: 100, 50: 150}, 500)
    # The last is the longest that is watched in training.
    assert mastered(result) == ("corridor_length", [(100, 25), (150, 50), (500, 7500)])
    result["config"]["evaluation"]["values_in_training"] = []
    assert mastered(result)[1][-1] == (500, 1500)
    mastered_vs_steps([result], tmp_path / "a.png")
    assert "Updates" in texts(drawn[0])
    at_once = grown_offline("rate", {25: 400, 50: 400}, None)
    mastered_vs_steps([at_once], tmp_path / "a.png")
    assert [tick.get_text() for tick in drawn[1].axes[0].get_xticklabels()] == ["400"]
    with pytest.raises(ConfigError, match=r"by env steps, corridor_length of .* by update"):
        mastered_vs_steps([result, grown("lstm", 0, {25: 9}, 10)], tmp_path / "b.png")


def test_the_figure_of_growth(tmp_path: Path, drawn: list[Figure]) -> None:
    results = [
        grown("lstm", 0, {25: 900, 50: 2100}, 3000),
        grown("lstm", 1, {25: 1000}, None),
        grown("gpt2", 0, {25: 1800}, 20_000),
        grown("gru", 0, {}, None),
    ]
    path = tmp_path / "growth.png"
    assert mastered_vs_steps(results, path, title="Grown") == path
    axes = drawn[0].axes[0]
    lines = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()]
    assert ([900, 2100, 3000], [25, 50, 1500]) in lines
    assert ([1000], [25]) in lines
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["25", "50", "1\u2009500"]
    xticks = [tick.get_text() for tick in axes.get_xticklabels()]
    assert xticks == ["1\u2009000", "2\u2009000", "5\u2009000", "10\u2009000", "20\u2009000"]
    shown = texts(drawn[0])
    assert {"lstm", "gpt2", "Grown", "Environment steps", "Corridor length mastered"} <= set(shown)
    assert sum(text == "lstm" for text in shown) == 1


def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    plain = online_result("lstm", 0, 1.0)
    with pytest.raises(ConfigError, match=r"nothing grew in the run .* --train.curriculum-from"):
        mastered_vs_steps([plain], path)
    by_shares = grown_offline("rate", {}, None)
    by_shares["config"]["train"]["curriculum_score"] = None
    with pytest.raises(ConfigError, match=r"not trained with --train.curriculum-score$"):
        mastered_vs_steps([by_shares], path)
    with pytest.raises(ConfigError, match="no run has mastered anything"):
        mastered_vs_steps([grown("lstm", 0, {}, None)], path)
    other = grown("lstm", 1, {25: 9}, 10)
    other["config"]["environment"]["id"] = "retain/ActiveTMaze-v0"
    unlike = [grown("lstm", 0, {25: 9}, 10), other]
    with pytest.raises(ConfigError, match=r"unlike things grew .*corridor_length of ActiveTMaze"):
        mastered_vs_steps(unlike, path)
    assert not path.exists()
