"""The environment in which tools/check_evaluation_tools.py runs the evaluation tools of others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import goturn

#: What goturn itself needs there.
OWN = ("numpy", "opencv-python", "h5py", "tqdm", "tomli; python_version < '3.11'")

#: Pins by tool.  got10k needs six and does not say so.
PINS = {
    "got10k": ("got10k==0.1.3", "six", *OWN),
    "vot": ("vot-toolkit==0.7.4", "attributee==0.1.9", "vot-trax==4.0.2", *OWN),
}


class Broken(Exception):
    """A tool ended with an error; the message is what it said last."""


@dataclass
class Environment:
    """A virtual environment, and goturn for it."""

    folder: Path
    package: Path
    """A folder with goturn and nothing else, for PYTHONPATH."""

    def run(self, *command: object) -> str:
        """Runs a program of the environment; gives what it printed.

        Raises:
            Broken: it ended with an error.
        """
        program, *arguments = map(str, command)
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.package),
            "MPLBACKEND": "Agg",
            "PYTHONWARNINGS": "ignore",
        }
        ran = subprocess.run(
            [self.folder / "bin" / program, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            check=False,
        )
        if ran.returncode != 0:
            raise Broken(
                f"{program} {arguments[0]} ended with {ran.returncode}:\n{ran.stdout[-2000:]}"
            )
        return ran.stdout

    def install(self, packages: Sequence[str]) -> str | None:
        """Installs packages; gives the reason if they cannot be."""
        if not (self.folder / "bin" / "python").exists():
            subprocess.run([sys.executable, "-m", "venv", self.folder], check=True)
        try:
            self.run(
                "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages
            )
        except Broken as error:
            return str(error).rstrip().splitlines()[-1]
        return None


def make_environment(folder: Path) -> Environment:
    """An environment in ``folder``, which may have been made before, with this goturn."""
    package = folder / "only-goturn" / "goturn"
    package.mkdir(parents=True, exist_ok=True)
    sources = [*Path(goturn.__file__).parent.iterdir()]
    try:
        from goturn import _cpu

        sources.append(Path(_cpu.__file__))  # elsewhere, where goturn is installed for editing
    except ImportError:
        pass
    for source in sources:
        link = package / source.name
        if source.name != "__pycache__":
            link.unlink(missing_ok=True)
            link.symlink_to(source)
    return Environment(folder / "venv", package.parent)
