"""What tools/check_evaluation_tools.py runs in the environment of the tools: their own experiments.

::

    python tools/evaluation_tools_inside.py otb-names
    python tools/evaluation_tools_inside.py got10k FOLDER WEIGHTS
    python tools/evaluation_tools_inside.py vot WORKSPACE TRACKER FILE

The second runs our adapter on ``FOLDER/otb`` and ``FOLDER/got10k``; results and reports are in
``FOLDER``, where the toolkit puts them.  The third writes what VOT's toolkit has recorded, by its own
reader, into a JSON file.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def run_got10k(folder: Path, weights: str) -> None:
    """Both experiments, and their reports."""
    from got10k.experiments import ExperimentGOT10k, ExperimentOTB

    from evaluation_layouts import OTB_VERSION
    from goturn.adapters.got10k import TrackerGOTURN

    where = {"result_dir": str(folder / "results"), "report_dir": str(folder / "reports")}
    tracker = TrackerGOTURN(weights, device="cpu", first_pixel=1)
    otb = ExperimentOTB(str(folder / "otb"), version=OTB_VERSION, **where)
    otb.run(tracker)
    otb.report([tracker.name])
    tracker = TrackerGOTURN(weights, device="cpu")
    got10k = ExperimentGOT10k(str(folder / "got10k"), subset="val", **where)
    got10k.run(tracker)
    got10k.report([tracker.name])


def otb_names() -> list[str]:
    """The sequences without which got10k begins to download."""
    from got10k.datasets import OTB

    from evaluation_layouts import OTB_VERSION

    names: list[str] = OTB._OTB__version_dict[OTB_VERSION]
    return names


def recorded_by_vot(workspace: str, tracker: str) -> dict[str, list[list[Any]]]:
    """By sequence and repetition, for each frame a code (0, 1, 2) or the numbers of the region."""
    from vot.region import Special
    from vot.workspace import Workspace

    opened = Workspace.load(workspace)
    (registered,) = opened.registry.resolve(tracker, storage=None)
    experiment = opened.stack.experiments["baseline"]
    found: dict[str, list[list[Any]]] = {}
    for sequence in opened.dataset:
        found[sequence.name] = [
            [
                region.code
                if isinstance(region, Special)
                else [float(n) for n in (region.x, region.y, region.width, region.height)]
                for region in trajectory.regions()
            ]
            for trajectory in experiment.gather(registered, sequence)
        ]
    return found


if __name__ == "__main__":
    os.environ.setdefault("MPLBACKEND", "Agg")
    if sys.argv[1] == "got10k":
        run_got10k(Path(sys.argv[2]), sys.argv[3])
    elif sys.argv[1] == "otb-names":
        print(json.dumps(otb_names()))
    else:
        Path(sys.argv[4]).write_text(json.dumps(recorded_by_vot(sys.argv[2], sys.argv[3])))
