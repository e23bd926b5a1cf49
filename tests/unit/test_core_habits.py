"""The project's own files: what they promise is checked here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def _constraints() -> dict[str, Requirement]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert len({canonicalize_name(r.name) for r in found}) == len(found), "a name is there twice"
    return {canonicalize_name(r.name): r for r in found}


def test_constraints_pin_what_the_project_asks_for() -> None:
    pins = _constraints()
    for pin in pins.values():
        assert re.fullmatch(r"==[0-9a-z.]+", str(pin.specifier)), pin  # exact, no +cpu
        assert pin.url is None
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    for text in asked:
        requirement = Requirement(text)
        pin = pins[canonicalize_name(requirement.name)]
        version = str(pin.specifier).removeprefix("==")
        assert requirement.specifier.contains(version), f"{text} does not allow {version}"


def test_changelog_has_the_fixed_headings() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    unreleased = text.split("## Unreleased\n")[1].split("\n## ")[0]
    headings = re.findall(r"^### (.+)$", unreleased, flags=re.MULTILINE)
    assert headings == ["Breaking changes", "Added", "Changed", "Fixed", "Documentation"]


def test_make_help_lists_every_target() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert phony is not None
    listed = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("make ")]
    assert sorted(listed) == sorted(phony.group(1).split())


def test_make_refuses_another_python(tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "constraints.txt").touch()
    done = subprocess.run(
        ["make", "-f", str(ROOT / "Makefile"), f"PYTHON={fake}", ".venv/.installed"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "retain needs Python 3.11 or 3.12" in done.stderr


def test_ci_script_is_sound_and_runs_check_and_test() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)
    text = script.read_text()
    assert "set -euo pipefail" in text
    assert "\nmake check\nmake test\n" in text


def test_tests_run_on_one_thread_and_without_the_user_s_datasets(tmp_path_factory) -> None:
    assert os.environ["OMP_NUM_THREADS"] == "1"
    assert os.environ["MPLBACKEND"] == "Agg"
    datasets = Path(os.environ["MINARI_DATASETS_PATH"])
    assert datasets.is_relative_to(tmp_path_factory.getbasetemp())
    if "torch" in sys.modules:
        assert sys.modules["torch"].get_num_threads() == 1
