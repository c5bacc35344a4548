"""A very small BERT that needs no download: word pieces made of a log's own texts, random weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

SPECIAL_PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_MAX_WORDS = 2_000


def word_pieces(texts: Sequence[str]) -> tuple[str, ...]:
    """A WordPiece vocabulary of the texts: special pieces, all characters, and the most frequent words.

    Words are what BERT's own tokenizer calls so: lower case, and every Chinese character a word. Deterministic.

    >>> word_pieces(["Ab ab"])[5:]
    ('##a', '##b', 'a', 'ab', 'b')
    """
    normalizer, splitter = BertNormalizer(), BertPreTokenizer()
    words: Counter[str] = Counter()
    for text in texts:
        words.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    letters = {letter for word in words for letter in word}
    frequent = sorted(words, key=lambda word: (-words[word], word))[:_MAX_WORDS]
    return SPECIAL_PIECES + tuple(sorted(letters | {f"##{letter}" for letter in letters} | set(frequent)))
