"""Sums by cell are the same in either way of making them."""

from __future__ import annotations

import numpy as np
import pytest

from homeostat.stats.experiments import cells


@pytest.mark.parametrize("number", [1, 2, 4, 5])
@pytest.mark.parametrize("blocked", [False, True])
def test_marks_and_counts_agree(monkeypatch, number, blocked):
    rng = np.random.default_rng(number)
    codes = rng.integers(0, number, cells.MANY_UNITS + 7)
    x = rng.normal(size=len(codes))
    ones = (x > 0).astype(float)
    sizes = np.array([1, 5, cells.AT_ONCE // 2, len(codes) - 6 - cells.AT_ONCE // 2]) if blocked else None

    def parts(here):
        return [x[here], ones[here]]

    quick = cells.summed(codes, number, parts, sizes)
    monkeypatch.setattr(cells, "FEW_CELLS", 0)
    counted = cells.summed(codes, number, parts, sizes)
    assert quick.shape == counted.shape == (3, 4 if blocked else 1, number)
    # Whole numbers are exact; others differ by the order of adding at most.
    assert (quick[[0, 2]] == counted[[0, 2]]).all()
    np.testing.assert_allclose(quick[1], counted[1], rtol=0, atol=1e-9)


def test_what_overflows_stays_in_its_cell():
    codes = np.arange(cells.MANY_UNITS) % 2
    large = np.where(codes == 1, np.inf, 1.0)
    assert cells.summed(codes, 2, lambda here: [large[here]])[1].tolist() == [[cells.MANY_UNITS / 2, np.inf]]
