"""What all tests share: where optional data lies, and small networks to try things on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def data_folder() -> Path:
    """The folder with recorded sequences, weights and golden values: too large for the repository."""
    return Path(os.environ.get("GOTURN_TEST_DATA", REPOSITORY.parent / "shared"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The data folder; the test is skipped where there is none."""
    folder = data_folder()
    if not (folder / "golden").is_dir():
        pytest.skip(f"no test data in {folder}; set GOTURN_TEST_DATA to a folder that has it")
    return folder
