"""Groups that must stay together: connected components of rows that share a value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def joined_groups(names: pd.Series[str], shared: Sequence[pd.Series[str]]) -> NDArray[np.object_]:
    """Name each row's group after joining all groups that share a value of any key.

    Rows are nodes, and so is every distinct value of every key; a row is linked to its values; groups are the connected
    components. A joined group is called by the smallest of its members' names.

    Args:
        names: Name of each row's own group, length n.
        shared: Keys of length n; empty or missing values link nothing.

    Returns:
        The joined group's name of each row, shape (n,).

    >>> joined_groups(pd.Series(["b", "a", "c"]), [pd.Series(["same", "same", ""])]).tolist()
    ['a', 'a', 'c']
    """
    rows = len(names)
    sources, targets, nodes = [], [], rows
    for key in [names, *shared]:
        codes, values = pd.factorize(key.mask(key == ""))
        linked = codes >= 0
        sources.append(np.flatnonzero(linked))
        targets.append(nodes + codes[linked])
        nodes += len(values)
    source, target = np.concatenate(sources), np.concatenate(targets)
    links = coo_array((np.ones(len(source), dtype=np.int8), (source, target)), shape=(nodes, nodes))
    labels = connected_components(links, directed=False)[1][:rows]
    frame = pd.DataFrame({"label": labels, "name": names.to_numpy(dtype=object)})
    return frame.groupby("label")["name"].transform("min").to_numpy(dtype=object)
