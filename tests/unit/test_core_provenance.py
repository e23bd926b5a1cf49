from __future__ import annotations

import datetime
import json
import subprocess
import sys
import types
from pathlib import Path

import pytest

from retain.core import provenance as module
from retain.core.provenance import command_line, commit, hardware, provenance, versions


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text("1\n")
    (tmp_path / "README").write_text("1\n")
    (tmp_path / ".gitignore").write_text("*.pyc\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_everything_is_there_and_fits_json() -> None:
    record = provenance()
    assert set(record) == {"versions", "commit", "hardware", "platform", "command", "time"}
    assert json.loads(json.dumps(record)) == record
    time = datetime.datetime.fromisoformat(record["time"])
    assert time.utcoffset() == datetime.timedelta(0)
    assert abs((datetime.datetime.now(datetime.UTC) - time).total_seconds()) < 60


def test_versions_name_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACKAGES", ("numpy", "no-such-package-at-all"))
    found = versions()
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["numpy"] is not None
    assert found["no-such-package-at-all"] is None
    monkeypatch.setattr(module, "PACKAGES", ("source-tree",))
    monkeypatch.setitem(sys.modules, "source-tree", types.SimpleNamespace(__version__="0.9"))
    assert versions()["source-tree"] == "0.9"


def test_commit_of_a_clean_and_a_changed_checkout(checkout: Path) -> None:
    head = git(checkout, "rev-parse", "HEAD")
    source = checkout / "src"
    assert commit(source) == head
    (checkout / "README").write_text("2\n")  # outside the source folder: the code is the same
    (source / "a.pyc").write_text("ignored")
    assert commit(source) == head
    (source / "new.py").write_text("2\n")
    assert commit(source) == f"{head}-dirty"
    (source / "new.py").unlink()
    (source / "a.py").write_text("2\n")
    assert commit(source) == f"{head}-dirty"


def test_no_commit_outside_a_checkout(checkout: Path, tmp_path_factory: pytest.TempPathFactory):
    assert commit(tmp_path_factory.mktemp("plain")) is None
    installed = checkout / "site-packages"  # untracked, inside somebody's checkout
    installed.mkdir()
    (installed / "a.py").write_text("1\n")
    assert commit(installed) is None
    assert commit(checkout / "missing") is None


def test_no_commit_before_the_first(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "a.py").write_text("1\n")
    git(tmp_path, "add", ".")
    assert commit(tmp_path) is None


def test_git_variables_of_a_hook_do_not_mislead(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    head = git(checkout, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(tmp_path_factory.mktemp("other")))
    assert commit(checkout / "src") == head


def test_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    found = hardware()
    assert set(found) == {"cpu", "cores", "memory_gib", "accelerator"}
    assert found["cores"] >= 1
    assert found["memory_gib"] > 0
    assert found["accelerator"] is None


@pytest.mark.parametrize(("available", "name"), [(True, "Accelerator 9000"), (False, None)])
def test_accelerator_of_an_imported_torch(
    monkeypatch: pytest.MonkeyPatch, available: bool, name: str | None
) -> None:
    cuda = types.SimpleNamespace(
        is_available=lambda: available, get_device_name=lambda: "Accelerator 9000"
    )
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))
    assert hardware()["accelerator"] == name


def test_cpu_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nmodel name\t: Fast CPU @ 3 GHz\nmodel name\t: Other\n")
    assert module._cpu_model(file) == "Fast CPU @ 3 GHz"
    monkeypatch.setattr(module.platform, "processor", lambda: "")
    monkeypatch.setattr(module.platform, "machine", lambda: "riscv64")
    assert module._cpu_model(tmp_path / "missing") == "riscv64"


def test_systems_without_these_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(module.os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(module.os, "sysconf", raising=False)
    monkeypatch.setattr(module.os, "cpu_count", lambda: 3)
    found = hardware()
    assert found["cores"] == 3
    assert found["memory_gib"] is None


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["/x/bin/retain", "train", "tmaze/rate"], "retain train tmaze/rate"),
        (["retain.exe", "list"], "retain list"),
        (["/x/retain/__main__.py", "list"], "retain list"),
        (["/x/pytest/__main__.py", "-q"], "python -m pytest -q"),
        (["/x/my script.py", "-n", "2"], "python 'my script.py' -n 2"),
        (["-c"], "python"),
        (["retain", "evaluate", "/home/me/runs/a b"], "retain evaluate 'a b'"),
        (["retain", "--json=/tmp/x.json", "--a=b"], "retain --json=x.json --a=b"),
        (["retain", "runs/a", "../b", "/", "a=/tmp/x"], "retain runs/a ../b / a=/tmp/x"),
    ],
)
def test_command_line(arguments: list[str], expected: str) -> None:
    assert command_line(arguments) == expected


def test_command_line_of_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["retain", "resume", str(tmp_path / "run 1")])
    assert command_line() == "retain resume 'run 1'"
    assert str(Path.home()) not in provenance()["command"]
