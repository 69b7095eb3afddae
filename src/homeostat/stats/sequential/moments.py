"""Counts, means and central moments of growing samples, merged without a second pass."""

from __future__ import annotations

import numpy as np

from homeostat.stats.sequential.result import Floats


def moments(values: Floats) -> Floats:
    """Count, mean and the sums of second, third and fourth powers about the mean, of the last axis."""
    n = values.shape[-1]
    if n == 0:
        return np.zeros((*values.shape[:-1], 5))
    mean = values.mean(axis=-1)
    centred = values - mean[..., None]
    powers = [(centred**k).sum(axis=-1) for k in (2, 3, 4)]
    return np.stack([np.full_like(mean, n), mean, *powers], axis=-1)


def merged(first: Floats, second: Floats) -> Floats:
    """The moments of both samples together (Pébay 2008)."""
    a, b = first[..., 0], second[..., 0]
    n = a + b
    if not n.any():
        return first
    gap = second[..., 1] - first[..., 1]
    step = gap / n
    m2 = first[..., 2] + second[..., 2] + gap * step * a * b
    m3 = first[..., 3] + second[..., 3] + gap * step**2 * a * b * (a - b)
    m3 += 3 * step * (a * second[..., 2] - b * first[..., 2])
    m4 = first[..., 4] + second[..., 4] + gap * step**3 * a * b * (a * a - a * b + b * b)
    m4 += 6 * step**2 * (a * a * second[..., 2] + b * b * first[..., 2])
    m4 += 4 * step * (a * second[..., 3] - b * first[..., 3])
    return np.stack([n, first[..., 1] + step * b, m2, m3, m4], axis=-1)


def cumulative_moments(values: Floats, included: Floats | None = None) -> tuple[Floats, Floats, Floats, Floats]:
    """Count, mean and the sums of second and fourth powers about it, after each value of the last axis.

    `included` holds 1 for the values that count and 0 for those that do not, such as the other arm's.
    """
    inside = np.ones_like(values) if included is None else included
    total = np.maximum(inside.sum(axis=-1, keepdims=True), 1)
    # Sums of powers cancel badly far from 0; about the overall mean they do not.
    shift = (values * inside).sum(axis=-1, keepdims=True) / total
    y = (values - shift) * inside
    n = np.cumsum(inside, axis=-1)
    safe = np.maximum(n, 1)
    square = y * y
    s1, s2 = np.cumsum(y, axis=-1), np.cumsum(square, axis=-1)
    s3, s4 = np.cumsum(square * y, axis=-1), np.cumsum(square * square, axis=-1)
    mean = s1 / safe
    m2 = s2 - s1 * mean
    # What is left after cancellation is rounding where the values so far are all the same.
    m2 = np.where(m2 > 1e-10 * s2, m2, 0.0)
    m4 = np.maximum(s4 - 4 * mean * s3 + 6 * mean**2 * s2 - 3 * mean**3 * s1, m2 * m2 / safe)
    return n, mean + shift, m2, m4
