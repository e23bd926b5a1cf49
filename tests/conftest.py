"""What every test can rely on: one thread, no window, and datasets in a temporary folder.

Tests that take long and reach no line that others do not are marked `no_cover`: measuring which
lines are run would make them a third slower.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import hypothesis
import pytest

# Small tensors gain nothing from threads, and tests that run side by side lose by them. Set before
# torch is imported, which most test files never do; child processes inherit it.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
os.environ["MPLBACKEND"] = "Agg"

hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_collection_finish() -> None:
    torch = sys.modules.get("torch")
    if torch is not None:  # a plugin may have imported it before this file was read
        torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _datasets_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps Minari away from the user's own datasets; each worker has its own folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(tmp_path_factory.mktemp("datasets")))
        yield
