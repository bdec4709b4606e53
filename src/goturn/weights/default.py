"""The weights that come with the package; the repository's ``weights/README.md`` says what they are."""

from __future__ import annotations

from pathlib import Path

#: Installed into the package, and where a checkout has them.
NAME = "goturn.h5"
_PACKAGE = Path(__file__).resolve().parents[1]


def default_path() -> Path:
    """The file of the weights that come with goturn.

    Raises:
        FileNotFoundError: this installation has none.
    """
    for folder in (_PACKAGE, _PACKAGE.parents[1] / "weights"):
        if (folder / NAME).is_file():
            return folder / NAME
    raise FileNotFoundError(
        f"this installation of goturn lacks the weights that come with it ({_PACKAGE / NAME}); install "
        "goturn again, or give the path of a weights file"
    )
