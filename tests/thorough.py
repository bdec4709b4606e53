"""How long tests look for trouble: a tenth as long as they could, unless asked."""

from __future__ import annotations

import os


def many(count: int, share: int = 10) -> int:
    """``count`` where ``GOTURN_TEST_THOROUGH=1`` is in the environment, elsewhere a tenth of it, or such
    a share.
    """
    return count if os.environ.get("GOTURN_TEST_THOROUGH") == "1" else count // share
