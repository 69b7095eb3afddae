"""Small versions of benchmarks/releases/bucketing.py."""

import pytest
from benchmarks.releases import bucketing


def test_the_hash_is_the_published_one():
    assert bucketing.published() == len(bucketing.PUBLISHED)
    assert bucketing.smhasher() == bucketing.SMHASHER
    assert [bucketing.murmur3(key, seed) for key, seed, _ in bucketing.PUBLISHED] == [
        value for _, _, value in bucketing.PUBLISHED
    ]
    assert bucketing.agreeing(300) == 300


def test_shares_and_salts_on_few_keys():
    within, largest, nested = bucketing.deviations(range(1, 100, 7), 3000)
    assert (within, nested) == (15, True)
    assert largest < 4
    even, pairwise, pairs = bucketing.independence(3000)
    assert pairs == 45
    assert even > bucketing.LEVEL / len(bucketing.SALTS)
    assert pairwise > bucketing.LEVEL / pairs


@pytest.mark.slow
def test_every_weight():
    within, _, nested = bucketing.shares(20_000)
    assert (within, nested) == (99, True)
