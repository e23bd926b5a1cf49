"""Data-parallel runs: two processes on the CPU."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch

from retain import api
from retain.core import plugins
from retain.core.errors import RunError, TrainingError
from retain.training import parallel
from retain.training.parallel import Place
from retain.training.runs import Run
from tiny_runs import StoppedError, assert_same_runs, metrics, tiny

#: A user's module: imported by every process, so it can watch what each of them does.
WATCH = """
from pathlib import Path
import torch
from retain.training import offline

original = offline._Trainer._train

def train(self):
    original(self)
    folder = Path(__file__).parent
    rank = self.fabric.global_rank
    torch.save(self.policy.state_dict(), folder / f"weights-{rank}.pt")
    torch.save(self.sampler.state_dict(), folder / f"sampler-{rank}.pt")

offline._Trainer._train = train
"""


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from retain.training import offline

    monkeypatch.setattr(offline._Trainer, "_train", offline._Trainer._train)  # to be undone
    monkeypatch.setattr(plugins, "_imported", [])
    (tmp_path / "watch.py").write_text(WATCH)
    plugins.import_plugin(str(tmp_path / "watch.py"))
    return tmp_path


def test_two_devices_hold_equal_weights_and_resume_exactly(watch: Path) -> None:
    config = tiny(
        model={"dropout": 0.1},
        updates=8,
        devices=2,
        bptt_segments=1,  # several passes through the network make one gradient
        checkpoint_every=3,
        evaluate_every=4,
    )
    told: list[int] = []
    run = api.train(config, runs=watch, name="whole", report=lambda update, _: told.append(update))
    assert told == [1, 2, 3, 4, 4, 5, 6, 7, 8, 8]
    assert [line["step"] for line in metrics(run.folder)] == told  # written by one of them
    assert not torch.distributed.is_initialized()
    one, other = (torch.load(watch / f"weights-{rank}.pt") for rank in (0, 1))
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name
    samplers = [torch.load(watch / f"sampler-{rank}.pt") for rank in (0, 1)]
    assert samplers[0] != samplers[1]  # each has batches of its own

    def stop(update: int, values: dict[str, float]) -> None:
        if update == 5:
            raise StoppedError

    with pytest.raises(StoppedError):
        api.train(config, runs=watch, name="stopped", report=stop)
    api.resume(watch / "stopped")
    assert_same_runs(watch / "stopped", run.folder)


def test_two_devices_go_on_to_longer_episodes_together(watch: Path) -> None:
    config = tiny(
        updates=4, devices=2, curriculum_from=3, curriculum_score=0.0, evaluate_every=2
    )  # mastered by the first evaluation, which one of them plays
    run = api.train(config, runs=watch, name="grown")
    rows = run.results()["training"]["curriculum"]
    assert [(row["value"], row["update"]) for row in rows] == [(3, 2), (6, 2)]
    samplers = [torch.load(watch / f"sampler-{rank}.pt") for rank in (0, 1)]
    assert [sampler["longest"] for sampler in samplers] == [None, None]


def test_a_run_cannot_change_its_devices(tmp_path: Path) -> None:
    run = api.train(tiny(updates=2), runs=tmp_path, final_evaluation=False)
    path = run.folder / "checkpoints" / "last" / "training.pt"
    state = torch.load(path, weights_only=True)
    state["devices"] = []
    torch.save(state, path)
    with pytest.raises(RunError, match=r"training\.pt does not fit the run"):
        api.resume(run)


# -- the processes themselves; these functions are what they do ----------------------------------


def _fail_at_once(place: Place, ready: Any) -> None:
    Run("/nowhere/run")


def _fail_later(place: Place, ready: Any) -> None:
    ready()
    Run("/nowhere/run")


def _interrupted(place: Place, ready: Any) -> None:
    raise KeyboardInterrupt


def _fine(place: Place, ready: Any) -> None:
    ready()


def test_one_device_starts_nothing() -> None:
    with parallel.workers(_fail_at_once, (), 1) as place:
        assert place == Place()


def test_a_process_that_cannot_start() -> None:
    with (
        pytest.raises(TrainingError, match=r"device 1 cannot start: run folder .*nowhere"),
        parallel.workers(_fail_at_once, (), 2),
    ):
        pytest.fail("the body must not begin")


def test_a_process_that_ends_too_soon() -> None:
    with (
        pytest.raises(TrainingError, match="ended with status 2; go on by `retain resume`"),
        parallel.workers(_fail_later, (), 2),
    ):
        raise RuntimeError("connection closed by peer")


@pytest.mark.parametrize(
    ("work", "status", "told"),
    [
        (_fine, None, None),
        (_fail_at_once, 2, "run folder /nowhere/run does not exist; there are no runs beside it"),
        (_fail_later, 2, None),  # an error of all processes, which the leader tells
        (_interrupted, 130, "it ended at once"),
    ],
)
def test_what_a_process_tells_its_leader(work: Any, status: int | None, told: str | None) -> None:
    mine, theirs = multiprocessing.Pipe(duplex=False)
    if status is None:
        parallel._begin(work, Place(1), theirs, ["json"], ())
    else:
        with pytest.raises(SystemExit) as ended:
            parallel._begin(work, Place(1), theirs, [], ())
        assert ended.value.code == status
    theirs.close()
    assert parallel._problem(mine) == told


def test_an_error_of_the_leader_alone_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    class Process:
        exitcode = 0

        def __init__(self, target: Any, args: tuple[Any, ...], daemon: bool):
            target(*args)

        def start(self) -> None: ...
        def join(self, timeout: float | None = None) -> None: ...
        def is_alive(self) -> bool:
            return False

    context = multiprocessing.get_context("spawn")
    monkeypatch.setattr(type(context), "Process", Process)
    monkeypatch.setattr(plugins, "_imported", [])
    with pytest.raises(RuntimeError, match="own fault"), parallel.workers(_fine, (), 2):
        raise RuntimeError("own fault")


def test_places_do_not_depend_on_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "5")
    monkeypatch.setenv("MASTER_PORT", "1")
    cluster = parallel._Processes(Place(1, 4711))
    assert cluster.creates_processes_externally
    assert (cluster.local_rank(), cluster.node_rank()) == (1, 0)
    assert (cluster.main_address, cluster.main_port) == ("127.0.0.1", 4711)
