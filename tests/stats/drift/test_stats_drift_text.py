"""Text drift: descriptors agree with counting by hand, tokens add up, and texts are the unit of the test."""

import time
import unicodedata
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from homeostat.errors import InvalidInput
from homeostat.stats.drift import text
from homeostat.stats.drift.text import DESCRIPTORS, describe_texts, token_counts, token_drift

TEXTS = st.lists(st.one_of(st.none(), st.text(max_size=60)), max_size=12)


def by_hand(one):
    if one is None:
        return [np.nan] * 8
    words = one.split()
    # str.split takes the separators \x1c to \x1f for whitespace as isspace does.
    kinds = [
        sum(c.isdigit() for c in one),
        sum(c.isupper() for c in one),
        sum(unicodedata.category(c)[0] in "PS" for c in one),
        sum(c.isspace() for c in one),
        sum(ord(c) > 127 for c in one),
    ]
    mean = sum(map(len, words)) / len(words) if words else np.nan
    return [len(one), len(words), mean, *(kind / len(one) if one else np.nan for kind in kinds)]


@settings(max_examples=60, deadline=None)
@given(texts=TEXTS, piece=st.sampled_from([1, 3, 7, 1_000_000]))
def test_descriptors_are_what_counting_character_by_character_gives(texts, piece):
    before = text.PIECE
    text.PIECE = piece
    try:
        found = describe_texts(texts)
        counts = token_counts(texts, 16)
    finally:
        text.PIECE = before
    assert tuple(found) == DESCRIPTORS
    table = np.array([by_hand(one) for one in texts]).reshape(-1, 8)
    for column, name in enumerate(DESCRIPTORS):
        assert found[name] == pytest.approx(table[:, column], nan_ok=True), name
    if piece == 1_000_000:
        tokens = [token for one in texts if one for token in text._TOKEN.findall(one.lower())]
        expected = np.bincount(
            [zlib.crc32(token.encode("utf-8", "surrogatepass")) % 16 for token in tokens], minlength=16
        )
        assert counts.tolist() == expected.tolist()


def test_long_texts_are_cut_between_tokens():
    before = text.PIECE
    long = "Über die Straße, 12 mal! " * 50
    text.PIECE = 60
    try:
        found, counts = describe_texts([long, "kurz", long]), token_counts([long, "kurz", long], 32)
    finally:
        text.PIECE = before
    assert found["words"].tolist() == [250, 1, 250]
    assert counts.tolist() == token_counts([long, "kurz", long], 32).tolist()
    assert counts.sum() == 501


def test_counts_of_windows_add_up_and_do_not_depend_on_order():
    texts = ["pay now", "see you at noon", None, "Now, pay!", "x" * 40]
    whole = token_counts(texts, 64)
    assert (whole == token_counts(texts[:2], 64) + token_counts(texts[2:], 64)).all()
    assert (whole == token_counts(texts[::-1], 64)).all()
    # The buckets are the same in every process: these two were computed once and for all from the CRC's definition.
    assert token_counts(["pay"], 1 << 24).argmax() == zlib.crc32(b"pay") % (1 << 24)
    assert zlib.crc32(b"123456789") == 0xCBF43926


def test_ten_thousand_texts_take_no_time_worth_mentioning():
    rng = np.random.default_rng(0)
    words = np.array(["".join(chr(97 + c) for c in rng.integers(0, 26, 6)) for _ in range(3000)])
    texts = np.array([" ".join(row) for row in words[rng.integers(0, 3000, (10_000, 15))]], dtype=object)
    describe_texts(texts[:10])
    started = time.process_time()
    describe_texts(texts)
    token_counts(texts, 256)
    # About a fifth of it on a quiet core.
    assert time.process_time() - started < 20


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ("one text", "One text"),
        ([1.5, "a"], "value 0 is of type float"),
        (["a", b"b"], "bytes"),
        (np.array([["a"]]), "dimension"),
    ],
)
def test_what_is_no_text_is_refused(texts, said):
    with pytest.raises(InvalidInput, match=said):
        describe_texts(texts)
    with pytest.raises(InvalidInput, match=said):
        token_counts(texts, 8)


def test_arguments_out_of_range_are_refused():
    for buckets in (0, -1, 1 << 25):
        with pytest.raises(InvalidInput, match="buckets"):
            token_counts(["a"], buckets)
    with pytest.raises(InvalidInput, match="at least one token"):
        token_drift(["", None], ["a"])
    with pytest.raises(InvalidInput, match="permutations"):
        token_drift(["a"], ["b"], permutations=5)


def texts_of(rng, size, vocabulary):
    """Texts that each stick to a topic, so that their tokens are anything but independent."""
    return [" ".join([f"w{topic}"] * 20) for topic in rng.integers(0, vocabulary, size)]


def test_token_drift_keeps_its_level_where_a_test_of_tokens_does_not():
    rng = np.random.default_rng(1)
    runs, ours, naive = 120, 0, 0
    for run in range(runs):
        before, after = texts_of(rng, 60, 10), texts_of(rng, 40, 10)
        ours += token_drift(before, after, buckets=32, permutations=39, rng=run).p <= 0.05
        counts = np.array([token_counts(before, 32), token_counts(after, 32)])
        naive += stats.chi2_contingency(counts[:, counts.sum(axis=0) > 0]).pvalue <= 0.05
    assert ours <= stats.binom.ppf(0.9999, runs, 0.05)
    assert naive / runs > 0.9


def test_token_drift_sees_another_vocabulary_and_says_so():
    rng = np.random.default_rng(2)
    result = token_drift(texts_of(rng, 80, 5), texts_of(rng, 80, 15), permutations=199)
    assert result.p == 0.005
    assert result.estimate > result.threshold > result.expected > 0
    assert (result.n_reference, result.n_current) == (80, 80)
    assert "199 random splits" in result.sentence
