"""Where a result comes from: versions, commit, hardware, command and time."""

from __future__ import annotations

import datetime
import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("retain", "torch", "numpy", "gymnasium")
"""The distributions whose versions are recorded."""


def provenance() -> dict[str, Any]:
    """Returns what is needed to make a result again, as plain values fit for JSON.

    Returns:
        A dict with `versions` (by package, None where a package is not installed), `commit`,
        `hardware` (`cpu`, `cores`, `memory_gib`, `accelerator`), `platform`, `command`, and `time`
        (UTC, ISO 8601, whole seconds).
    """
    return {
        "versions": versions(),
        "commit": commit(),
        "hardware": hardware(),
        "platform": platform.platform(),
        "command": command_line(),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def versions() -> dict[str, str | None]:
    """Returns the versions of Python and of the packages in `PACKAGES`, importing none of them."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            # A source tree on the path that was never installed still knows its own version.
            found[package] = getattr(sys.modules.get(package), "__version__", None)
    return found


def commit(folder: Path | None = None) -> str | None:
    """Returns the commit of a source folder.

    Args:
        folder: A folder of tracked files; by default that of the package `retain`.

    Returns:
        The full hash, with the suffix "-dirty" if anything in the folder differs from the commit
        (new files included, ignored ones not); None if the folder is not part of a checkout.
    """
    folder = folder or Path(__file__).resolve().parent.parent
    # A package installed inside some other project's checkout is not tracked by it: without this
    # test it would get that project's commit.
    if not _git(folder, "ls-files", "--", "."):
        return None
    head = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    if not head:
        return None
    return f"{head}-dirty" if _git(folder, "status", "--porcelain", "--", ".") else head


def _git(folder: Path, *arguments: str) -> str | None:
    """Runs git in a folder; returns its output, or None if git is missing or refuses."""
    # Inside a git hook, variables such as GIT_DIR would point git at another repository.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def hardware() -> dict[str, Any]:
    """Returns the processor, the cores this process may use, the memory, and the accelerator.

    The accelerator is None unless torch is already imported: to ask for it would cost the import.
    """
    return {
        "cpu": _cpu_model(),
        "cores": _cores(),
        "memory_gib": _memory_gib(),
        "accelerator": _accelerator(),
    }


def _cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    try:
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine() or None


def _cores() -> int | None:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    except (AttributeError, OSError, ValueError):
        return None


def _accelerator() -> str | None:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return str(torch.cuda.get_device_name())


def command_line(arguments: list[str] | None = None) -> str:
    """Returns the command line as typed, fit to be published.

    Absolute paths, which say more of the machine than of the run, are cut to their last part. A
    Python program that uses the library is written as `python name.py ...`.

    Args:
        arguments: The program and its arguments; by default `sys.argv`.
    """
    program, *rest = arguments or sys.argv or ["retain"]
    return " ".join([_program(program), shlex.join(map(_shorten, rest))]).strip()


def _program(path: str) -> str:
    name = Path(path).name.removesuffix(".exe")
    if name == "__main__.py":
        module = Path(path).parent.name
        return "retain" if module in ("retain", "cli") else f"python -m {module}"
    if name in ("", "-c", "-m"):  # an interactive session, or code given on the command line
        return "python"
    return f"python {shlex.quote(name)}" if name.endswith(".py") else shlex.quote(name)


def _shorten(argument: str) -> str:
    flag, equals, value = argument.partition("=")
    if equals and flag.startswith("-"):
        return f"{flag}={_shorten(value)}"
    path = Path(argument)
    return path.name if path.is_absolute() and path.name else argument
