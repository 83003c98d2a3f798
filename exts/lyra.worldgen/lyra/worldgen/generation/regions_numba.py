"""Compiled inner loops of `regions`: merging of pixels into even regions."""

from __future__ import annotations

import numpy as np

from ..core.compiled import compiled


@compiled()
def merged(first, second, weight, order, count, scale, least):
    """Region number of every pixel, 0, 1, ... in the order of their first pixels.

    Two regions become one where the step between them is no higher than what either has inside, plus `scale` over its
    size (Felzenszwalb and Huttenlocher, "Efficient Graph-Based Image Segmentation", 2004); then regions smaller than
    `least` pixels join the neighbour over the lowest step. Edges `first`, `second`, `weight` are visited in `order`.
    """
    parent = np.arange(count)
    size = np.ones(count, np.int64)
    limit = np.full(count, scale)
    for step in range(2):
        for k in order:
            a, b = first[k], second[k]
            while parent[a] != a:
                parent[a] = parent[parent[a]]
                a = parent[a]
            while parent[b] != b:
                parent[b] = parent[parent[b]]
                b = parent[b]
            if a == b:
                continue
            if step == 0:
                join = weight[k] <= limit[a] and weight[k] <= limit[b]
            else:
                join = size[a] < least or size[b] < least
            if join:
                if b < a:
                    a, b = b, a
                parent[b] = a
                size[a] += size[b]
                limit[a] = weight[k] + scale / size[a]
    number = np.full(count, -1, np.int64)
    out = np.empty(count, np.int64)
    found = 0
    for i in range(count):
        a = i
        while parent[a] != a:
            a = parent[a]
        if number[a] < 0:
            number[a] = found
            found += 1
        out[i] = number[a]
    return out
