"""Checkpoints: whole or not there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from retain.core.errors import RunError
from retain.training import checkpoints


def module(value: float = 1.0) -> nn.Module:
    layer = nn.Linear(2, 3)
    with torch.no_grad():
        layer.weight.fill_(value)
        layer.bias.fill_(value)
    return layer


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    made = checkpoints.save(folder, 12, module(0.5), {"numbers": [1, 2.5], "t": torch.arange(3)})
    assert made == folder / "step-000012"
    assert checkpoints.step_of(made) == 12
    assert checkpoints.find(tmp_path) == made.resolve()
    assert checkpoints.find(tmp_path, "step-000012") == made.resolve()
    loaded = module(9.0)
    checkpoints.load_weights(loaded, made)
    assert torch.equal(loaded.weight, module(0.5).weight)
    state = checkpoints.load_training(made)
    assert state["numbers"] == [1, 2.5]
    assert torch.equal(state["t"], torch.arange(3))


def test_links_are_relative_so_that_a_run_can_be_moved(tmp_path: Path) -> None:
    run = tmp_path / "run"
    made = checkpoints.save(run / "checkpoints", 1, module(), {})
    checkpoints.point(run / "checkpoints", "best", made)
    for name in ("last", "best"):
        assert (run / "checkpoints" / name).readlink() == Path("step-000001")
    run.rename(tmp_path / "moved")
    found = checkpoints.find(tmp_path / "moved", "best")
    assert found == (tmp_path / "moved" / "checkpoints" / "step-000001").resolve()


@pytest.mark.parametrize("what", ["save_file", "torch.save", "rename"])
def test_a_failure_in_the_middle_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    folder = tmp_path / "checkpoints"
    checkpoints.save(folder, 1, module(1.0), {"step": 1})

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    if what == "save_file":
        monkeypatch.setattr(checkpoints, "save_file", fail)
    elif what == "torch.save":
        monkeypatch.setattr(torch, "save", fail)
    else:
        monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(RunError, match=r"step-000002 cannot be written: .*No space left"):
        checkpoints.save(folder, 2, module(2.0), {"step": 2})
    monkeypatch.undo()
    assert sorted(path.name for path in folder.iterdir()) == ["last", "step-000001"]
    assert checkpoints.load_training(checkpoints.find(tmp_path)) == {"step": 1}
    # What failed once can be done later.
    checkpoints.save(folder, 2, module(2.0), {"step": 2})
    assert checkpoints.find(tmp_path).name == "step-000002"


def test_an_interrupt_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "checkpoints"
    checkpoints.save(folder, 1, module(1.0), {"step": 1})

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(folder, 2, module(2.0), {})
    assert checkpoints.find(tmp_path).name == "step-000001"


def test_the_best_is_marked_before_the_run_could_go_on_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked: list[str] = []
    point = checkpoints.point

    def pointing(folder: Path, name: str, target: Path) -> None:
        marked.append(name)
        point(folder, name, target)

    monkeypatch.setattr(checkpoints, "point", pointing)
    folder = tmp_path / "checkpoints"
    checkpoints.save(folder, 1, module(), {}, best=True)
    checkpoints.save(folder, 2, module(), {})
    assert marked == ["best", "last", "last"]
    assert checkpoints.find(tmp_path, "best").name == "step-000001"


def test_prune_keeps_the_latest_and_what_links_name(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    for step in (1, 2, 3, 999_999, 1_000_000):
        made = checkpoints.save(folder, step, module(), {})
        if step == 2:
            checkpoints.point(folder, "best", made)
    (folder / ".step-000004.tmp").mkdir()
    checkpoints.prune(folder, keep=2)
    left = sorted(path.name for path in folder.iterdir())
    # In the order of numbers: as text, a million stands before two.
    assert left == ["best", "last", "step-000002", "step-1000000", "step-999999"]
    training = sorted(path.parent.name for path in folder.glob("step-*/training.pt"))
    assert training == ["step-1000000", "step-999999"], "the best keeps its weights alone"
    checkpoints.load_weights(module(), checkpoints.find(tmp_path, "best"))


def test_a_missing_checkpoint_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="it has none; train it first"):
        checkpoints.find(tmp_path)
    checkpoints.save(tmp_path / "checkpoints", 7, module(), {})
    for which in ("best", "step-9", "", ".", "..", "step-000007/model.safetensors"):
        with pytest.raises(RunError, match=r"no whole checkpoint .*; it has step-000007"):
            checkpoints.find(tmp_path, which)


def test_a_broken_link_is_not_taken_for_a_missing_one(tmp_path: Path) -> None:
    for step in (1, 2):
        checkpoints.save(tmp_path / "checkpoints", step, module(), {})
    shutil.rmtree(tmp_path / "checkpoints" / "step-000002")
    with pytest.raises(RunError, match=r"'last'; it has step-000001"):
        checkpoints.find(tmp_path)


def test_weights_that_do_not_fit_are_told_apart(tmp_path: Path) -> None:
    made = checkpoints.save(tmp_path / "checkpoints", 1, module(), {})
    path = made / "model.safetensors"
    good = load_file(path)

    save_file({"weight": good["weight"]}, path)
    with pytest.raises(RunError, match=r"does not fit the run's model: it lacks 'bias'$"):
        checkpoints.load_weights(module(), made)
    save_file({**good, "extra": torch.zeros(1)}, path)
    with pytest.raises(RunError, match="it has 'extra', which the model does not"):
        checkpoints.load_weights(module(), made)
    save_file({"weight": torch.zeros(3, 5), "bias": torch.zeros(4)}, path)
    with pytest.raises(RunError, match=r"of shape \[3, 5\] instead of \[3, 2\] \(and 1 more such"):
        checkpoints.load_weights(module(), made)
    save_file(good, path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(RunError, match=r"model\.safetensors cannot be read"):
        checkpoints.load_weights(module(), made)
    path.unlink()
    with pytest.raises(RunError, match=r"model\.safetensors cannot be read"):
        checkpoints.load_weights(module(), made)


def test_training_state_that_is_damaged_or_missing(tmp_path: Path) -> None:
    made = checkpoints.save(tmp_path / "checkpoints", 1, module(), {"a": torch.zeros(1000)})
    path = made / "training.pt"
    whole = path.read_bytes()
    for damaged in (whole[:500], b"", b"no checkpoint"):
        path.write_bytes(damaged)
        with pytest.raises(RunError, match=r"training\.pt is damaged, or is no check") as caught:
            checkpoints.load_training(made)
        assert "weights_only" not in str(caught.value)
    path.unlink()
    with pytest.raises(RunError, match="can be evaluated but not resumed"):
        checkpoints.load_training(made)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "evil",))

    made = checkpoints.save(tmp_path / "checkpoints", 1, module(), {})
    torch.save({"x": Evil()}, made / "training.pt")
    with pytest.raises(RunError):
        checkpoints.load_training(made)
    assert not (tmp_path / "evil").exists()


def test_random_state_is_put_back() -> None:
    state = checkpoints.random_state()
    first = torch.rand(3)
    checkpoints.restore_random_state(state)
    assert torch.equal(torch.rand(3), first)


def test_other_folders_are_no_checkpoints(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    for name in ("step-backup", "step-", "step-1-old"):
        (folder / name).mkdir(parents=True)
        (folder / name / checkpoints.WEIGHTS).touch()
    assert checkpoints.latest(tmp_path) is None
    for step in (1, 2):
        made = checkpoints.save(folder, step, module(), {})
    checkpoints.prune(folder, keep=1)
    assert checkpoints.latest(tmp_path) == made.resolve()
    assert {path.name for path in folder.glob("step-*")} == {
        "step-backup", "step-", "step-1-old", "step-000002",
    }  # fmt: skip
