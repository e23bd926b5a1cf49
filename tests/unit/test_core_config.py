from __future__ import annotations

import enum
import json
import math
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retain.core import config as config_module
from retain.core.config import dump_json, from_dict, load_json, to_dict
from retain.core.errors import ConfigError, RunError, UnknownNameError


class Precision(enum.Enum):
    FULL = "32-true"
    HALF = "bf16-mixed"


@dataclass(frozen=True)
class Base:
    width: int = 64


@dataclass(frozen=True)
class Lstm(Base):
    registered_name: ClassVar[str] = "lstm"
    dropout: float = 0.0


@dataclass(frozen=True)
class Rate(Base):
    registered_name: ClassVar[str] = "rate"
    num_memory_tokens: int = 5
    inner: Base | None = None


@dataclass(frozen=True)
class Optimizer:
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.95)
    kind: Literal["adamw", "sgd", 3] = "adamw"


@dataclass(frozen=True)
class Run:
    seed: int
    model: Base = field(default_factory=Base)
    optimizer: Optimizer = field(default_factory=Optimizer)
    lengths: tuple[int, ...] = ()
    notes: list[str] = field(default_factory=list)
    table: dict[int, float] = field(default_factory=dict)
    folder: Path | None = None
    precision: Precision = Precision.FULL
    schedule: dict[str, list[Optimizer]] = field(default_factory=dict)
    limit: int | float | str | None = None
    resume: bool = False
    anything: Any = None
    steps: int = field(init=False, default=7)


@dataclass(frozen=True)
class Checked:
    num_heads: int = 4
    other: Run | None = None
    bare: tuple = ()  # type: ignore[type-arg]

    def __post_init__(self) -> None:
        if self.num_heads < 1:
            raise ValueError("num_heads must be at least 1")


@dataclass(frozen=True)
class Outer:
    checked: Checked = field(default_factory=Checked)
    choice: Optimizer | Checked | None = None
    numbers: int | list[int] = 0
    either: dict[str, int] | None = None
    by_kind: dict[Precision, int] = field(default_factory=dict)
    by_path: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Strange:
    value: complex = 0j


@dataclass(frozen=True)
class Clash:
    registered_name: ClassVar[str] = "clash"
    name: str = "x"


@dataclass(frozen=True)
class Named:
    name: str = "x"


KNOWN = {"lstm": Lstm, "rate": Rate}


def resolve(cls: type, name: str) -> type:
    if name not in KNOWN:
        raise UnknownNameError("model", name, KNOWN)
    return KNOWN[name]


number = st.floats(allow_nan=False, allow_infinity=False)
text = st.text(max_size=5)
optimizers = st.builds(
    Optimizer,
    learning_rate=number,
    betas=st.tuples(number, number),
    kind=st.sampled_from(["adamw", "sgd", 3]),
)
models = st.one_of(
    st.builds(Base, width=st.integers()),
    st.builds(Lstm, width=st.integers(), dropout=number),
    st.builds(Rate, inner=st.none() | st.builds(Lstm, dropout=number)),
)
runs = st.builds(
    Run,
    seed=st.integers(),
    model=models,
    optimizer=optimizers,
    lengths=st.lists(st.integers(), max_size=3).map(tuple),
    notes=st.lists(text, max_size=3),
    table=st.dictionaries(st.integers(), number, max_size=3),
    folder=st.none() | st.sampled_from([Path("a/b"), Path("/c"), Path()]),
    precision=st.sampled_from(Precision),
    schedule=st.dictionaries(text, st.lists(optimizers, max_size=2), max_size=2),
    limit=st.none() | st.integers() | number | text,
    resume=st.booleans(),
    anything=st.none() | st.integers() | text,
)


@settings(deadline=None, max_examples=25)
@given(runs)
def test_round_trip_through_json_text(run: Run) -> None:
    data = json.loads(json.dumps(to_dict(run), allow_nan=False))
    again = from_dict(Run, data, resolve)
    assert again == run
    assert type(again.limit) is type(run.limit)
    assert type(again.model) is type(run.model)
    assert to_dict(again) == to_dict(run)


def test_plain_form() -> None:
    run = Run(
        seed=1,
        model=Rate(inner=Lstm()),
        lengths=(90, 900),
        folder=Path("runs/x"),
        precision=Precision.HALF,
        table={3: 0.5},
    )
    data = to_dict(run)
    assert data["model"] == {
        "name": "rate",
        "width": 64,
        "num_memory_tokens": 5,
        "inner": {"name": "lstm", "width": 64, "dropout": 0.0},
    }
    assert data["lengths"] == [90, 900]
    assert data["folder"] == "runs/x"
    assert data["precision"] == "HALF"
    assert data["table"] == {"3": 0.5}
    assert "steps" not in data
    assert list(data)[:3] == ["seed", "model", "optimizer"]


def test_defaults_fill_missing_fields_and_types_are_exact() -> None:
    run = from_dict(Run, {"seed": 3, "optimizer": {"learning_rate": 1}})
    assert run == Run(seed=3, optimizer=Optimizer(learning_rate=1.0))
    assert isinstance(run.optimizer.learning_rate, float)
    assert run.steps == 7


def test_a_name_selects_the_class_at_the_top_too() -> None:
    assert from_dict(Base, {"name": "lstm", "dropout": 0.5}, resolve) == Lstm(dropout=0.5)
    assert from_dict(Lstm, {"name": "lstm"}) == Lstm()  # its own name needs no resolve


def test_a_field_may_be_called_name() -> None:
    assert from_dict(Named, to_dict(Named("y"))) == Named("y")
    with pytest.raises(ConfigError, match=r"Clash.*cannot have a field 'name'"):
        to_dict(Clash())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"seed": "x"}, "seed: expected an integer, got 'x'"),
        ({"seed": True}, "seed: expected an integer, got True"),
        ({"seed": 1.0}, "seed: expected an integer, got 1.0"),
        ({}, "seed: missing, and it has no default"),
        ({"seed": 1, "sede": 2}, "sede: unknown field; did you mean seed?"),
        ({"seed": 1, "steps": 2}, "steps: unknown field; "),  # no argument of the constructor
        ({"seed": 1, "q": 2}, "q: unknown field; known: anything, folder, "),
        ({"seed": 1, "model": {"widht": 2}}, "model.widht: unknown field; did you mean width?"),
        ({"seed": 1, "model": {"width": "x"}}, "model.width: expected an integer, got 'x'"),
        ({"seed": 1, "model": 4}, "model: expected a dict of fields, got 4"),
        ({"seed": 1, "model": {"name": 4}}, "model.name: expected a string, got 4"),
        ({"seed": 1, "model": {"name": "rat"}}, "unknown model 'rat'; did you mean rate?"),
        (
            {"seed": 1, "model": {"name": "rate", "inner": {"widht": 1}}},
            "model.inner.widht: unknown field; did you mean width?",
        ),
        (
            {"seed": 1, "optimizer": {"betas": [0.9]}},
            "optimizer.betas: expected 2 values, got [0.9]",
        ),
        (
            {"seed": 1, "optimizer": {"betas": [0.9, None]}},
            "optimizer.betas.1: expected a number, got None",
        ),
        (
            {"seed": 1, "optimizer": {"kind": "adam"}},
            "optimizer.kind: expected 'adamw' or 'sgd' or 3, got 'adam'",
        ),
        (
            {"seed": 1, "optimizer": {"learning_rate": True}},
            "optimizer.learning_rate: expected a number, got True",
        ),
        ({"seed": 1, "lengths": 3}, "lengths: expected a list, got 3"),
        ({"seed": 1, "lengths": [1, "x"]}, "lengths.1: expected an integer, got 'x'"),
        ({"seed": 1, "notes": [4]}, "notes.0: expected a string, got 4"),
        ({"seed": 1, "table": [4]}, "table: expected a dict, got [4]"),
        ({"seed": 1, "table": {"x": 4}}, "table: expected an integer as key, got 'x'"),
        ({"seed": 1, "table": {"1": "x"}}, "table.1: expected a number, got 'x'"),
        ({"seed": 1, "folder": 4}, "folder: expected a path or null, got 4"),
        ({"seed": 1, "resume": 1}, "resume: expected true or false, got 1"),
        ({"seed": 1, "precision": "half"}, "precision: expected 'FULL' or 'HALF', got 'half'"),
        (
            {"seed": 1, "schedule": {"a": [{"betas": 1}]}},
            "schedule.a.0.betas: expected a list, got 1",
        ),
        (
            {"seed": 1, "limit": []},
            "limit: expected an integer or a number or a string or null, got []",
        ),
    ],
)
def test_bad_data(data: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, UnknownNameError)) as caught:
        from_dict(Run, data, resolve)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_bad_unions_and_keys() -> None:
    with pytest.raises(ConfigError, match=r"numbers\.0: expected an integer, got 'x'"):
        from_dict(Outer, {"numbers": ["x"]})
    with pytest.raises(ConfigError, match="numbers: expected an integer or a list, got 'x'"):
        from_dict(Outer, {"numbers": "x"})
    with pytest.raises(ConfigError, match="either: expected a dict or null, got 'x'"):
        from_dict(Outer, {"either": "x"})
    with pytest.raises(ConfigError, match="choice: expected Optimizer or Checked or null"):
        from_dict(Outer, {"choice": {"x": 1}})
    assert from_dict(Outer, {"choice": {"num_heads": 2}}).choice == Checked(2)
    with pytest.raises(ConfigError, match="by_kind \\(key\\): expected 'FULL' or 'HALF'"):
        from_dict(Outer, {"by_kind": {"x": 1}})
    outer = Outer(by_kind={Precision.HALF: 1}, by_path={"a": Path("b")})
    assert from_dict(Outer, to_dict(outer)) == outer


def test_a_class_s_own_check_gets_the_path() -> None:
    with pytest.raises(ConfigError, match=r"^checked: num_heads must be at least 1$"):
        from_dict(Outer, {"checked": {"num_heads": 0}})
    with pytest.raises(ConfigError, match=r"^num_heads must be at least 1$"):
        from_dict(Checked, {"num_heads": 0})


def test_names_without_a_registry() -> None:
    with pytest.raises(ConfigError, match=r"model\.name: unknown field; Base has no registered"):
        from_dict(Run, {"seed": 1, "model": {"name": "lstm"}})
    with pytest.raises(ConfigError, match="name: expected 'lstm', got 'rate'"):
        from_dict(Lstm, {"name": "rate"})
    with pytest.raises(ConfigError, match="name: 'rate' is not a kind of Lstm"):
        from_dict(Lstm, {"name": "rate"}, resolve)


def test_things_that_are_no_configuration() -> None:
    for thing in (3, Run, {"seed": 1}):
        with pytest.raises(ConfigError, match="must be a dataclass instance"):
            to_dict(thing)
    with pytest.raises(ConfigError, match="value: 0j cannot be written as JSON"):
        to_dict(Strange())
    with pytest.raises(ConfigError, match="value: a field of type complex cannot be read"):
        from_dict(Strange, {"value": 1})
    with pytest.raises(ConfigError, match="config: an integer is not a dataclass"):
        from_dict(int, {})
    with pytest.raises(ConfigError, match="config: expected a dict of fields, got \\[\\]"):
        from_dict(Run, [])
    with pytest.raises(ConfigError, match="the key \\(1, 2\\) cannot be written"):
        to_dict(Run(seed=1, anything={(1, 2): 3}))


def test_a_long_bad_value_is_cut_to_one_line() -> None:
    with pytest.raises(ConfigError) as caught:
        from_dict(Run, {"seed": "line\n" * 100})
    assert len(str(caught.value)) < 120
    assert "\n" not in str(caught.value)


# --- files ---


def test_dump_and_load(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    dump_json(path, {"run": Run(seed=1), "array": np.arange(3), "scalar": np.float32(0.5), "ü": ()})
    written = path.read_text(encoding="utf-8")
    assert written.endswith("}\n")
    assert '\n  "run": {\n    "seed": 1,' in written
    data = load_json(path)
    assert data["array"] == [0, 1, 2]
    assert data["scalar"] == 0.5
    assert data["ü"] == []
    assert from_dict(Run, data["run"]) == Run(seed=1)
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]


def test_numbers_that_json_lacks_become_null(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    dump_json(path, {"a": math.nan, "b": [math.inf, np.array([-np.inf, 1.0])], "c": 1.5})
    assert load_json(path) == {"a": None, "b": [None, [None, 1.0]], "c": 1.5}
    assert "NaN" not in path.read_text()


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    dump_json(path, 1)
    with pytest.raises(ConfigError, match="cannot be written as JSON"):
        dump_json(path, {"x": object()})

    def full_disk(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(RunError, match=r"cannot write .*a\.json: No space left"):
        dump_json(path, 2)
    assert load_json(path) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_writing_where_a_folder_is(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    with pytest.raises(RunError, match="cannot write"):
        dump_json(tmp_path / "a.json", 1)
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_many_writers_leave_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"

    def write(number: int) -> None:
        for _ in range(5):
            dump_json(path, [number] * 1000)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    data = load_json(path)
    assert len(data) == 1000
    assert len(set(data)) == 1


def test_broken_files(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(RunError, match=r"a\.json does not exist"):
        load_json(path)
    path.write_text('{\n "a": 1,\n')
    with pytest.raises(RunError, match=r"a\.json is not whole JSON \(line 3\): it is half-written"):
        load_json(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RunError, match="is not whole JSON: it is half-written"):
        load_json(path)
    path.write_text("")
    with pytest.raises(RunError, match="half-written"):
        load_json(path)
    with pytest.raises(RunError, match="cannot read"):
        load_json(tmp_path)


def test_no_torch_is_imported() -> None:
    import subprocess
    import sys

    code = "import sys, retain.core.config, retain.core.provenance; print('torch' in sys.modules)"
    source = str(Path(config_module.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": source},
        check=True,
    )
    assert done.stdout.strip() == "False"


def test_links_and_pipes_stay_what_they_are(tmp_path: Path) -> None:
    real, link, pipe = tmp_path / "real.json", tmp_path / "link.json", tmp_path / "pipe"
    link.symlink_to("real.json")
    dump_json(link, 1)
    assert link.is_symlink()
    assert load_json(real) == 1
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    dump_json(pipe, 2)
    assert os.read(reader, 10) == b"2\n"
    os.close(reader)
    assert pipe.is_fifo()
