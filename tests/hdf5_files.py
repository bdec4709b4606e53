"""Parts of HDF5 files that h5py's own interface does not write."""

from __future__ import annotations

import numpy as np
from h5py import h5d, h5g, h5p, h5s, h5t


def compact(group: h5g.GroupID, name: bytes, values: np.ndarray) -> None:
    """Writes a dataset whose values lie in its header."""
    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_layout(h5d.COMPACT)
    kind, space = h5t.py_create(values.dtype), h5s.create_simple(values.shape)
    h5d.create(group, name, kind, space, properties).write(h5s.ALL, h5s.ALL, values)
