"""Mutated weights files never do worse than ValueError; see fuzz_weights.py for longer runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from thorough import many

FUZZER = Path(__file__).with_name("fuzz_weights.py")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs RLIMIT_AS")
@pytest.mark.parametrize(
    ("mutations", "seed"), [(500, 1), pytest.param(many(10_000), 2, marks=pytest.mark.slow)]
)
def test_mutated_files(tmp_path, mutations, seed):
    command = [sys.executable, str(FUZZER), "--keep", str(tmp_path)]
    command += ["--mutations", str(mutations), "--seed", str(seed)]
    result = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert result.returncode == 0, result.stdout
    assert result.stdout.count("mutations") == 7
