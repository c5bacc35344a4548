"""Token ids of pairs of texts: each distinct text is tokenized once, pairs are put together from flat arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from bandits.reward_models.text_columns import PairColumns, Side, TextColumns

IntArray = NDArray[np.int64]

SOFT_TOKEN = -1  # stands for a token that is no word, see `SoftTokens`
_TEXTS_AT_ONCE = 4096  # an encoding holds far more than its ids


@dataclass(frozen=True, eq=False)
class Template:
    """The special tokens around the texts of a pair, and the segment of each of its five pieces.

    Attributes:
        before: Token ids in front of the first text.
        between: Token ids between the texts.
        after: Token ids behind the last text.
        segments: Segment of `before`, the first text, `between`, the second text and `after`, shape (5,).
    """

    before: list[int]
    between: list[int]
    after: list[int]
    segments: IntArray

    @classmethod
    def of_pair(cls, tokenizer: Tokenizer, separator: int | None = None) -> Template:
        """What the tokenizer puts around a user's and an item's text; `separator` where it puts nothing behind one."""
        own = cls._of(tokenizer.encode("a", "a"), last=1)
        between, after = (_or_separator(piece, separator) for piece in (own.between, own.after))
        return replace(own, between=between, after=after)

    @classmethod
    def of_single(cls, tokenizer: Tokenizer, separator: int | None = None) -> Template:
        """What the tokenizer puts around an item's text alone: the first text is empty."""
        own = cls._of(tokenizer.encode("a"), last=0)
        return replace(own, after=_or_separator(own.after, separator))

    @classmethod
    def _of(cls, encoding: Encoding, last: int) -> Template:
        owner, ids, segment = encoding.sequence_ids, encoding.ids, encoding.type_ids
        texts = [place for place, text in enumerate(owner) if text is not None]
        item = [place for place in texts if owner[place] == last]
        user = [place for place in texts if owner[place] != last] or [item[0] - 1]
        pieces = [range(texts[0]), user, range(user[-1] + 1, item[0]), item, range(item[-1] + 1, len(ids))]
        before, _, between, _, after = ([ids[place] for place in piece] for piece in pieces)
        segments = np.array([segment[piece[0]] if len(piece) else 0 for piece in pieces], dtype=np.int64)
        if any(segment[place] != segments[number] for number, piece in enumerate(pieces) for place in piece):
            raise ValueError(f"The special tokens of each place must have one segment. Got {encoding.type_ids}.")
        return cls(before, between, after, segments)


@dataclass(frozen=True, eq=False)
class PieceColumns:
    """What is known of users or of items beside their text.

    Attributes:
        columns: Numbers, then embeddings, shape (K, F + E).
        numbers: How many numbers, F.
        row: Row of `columns` of each piece of `PairTokens`, shape (S,); -1 for those that are no such text.
    """

    columns: NDArray[np.float32]
    numbers: int
    row: IntArray

    @classmethod
    def of(cls, columns: TextColumns, number: Mapping[str, int], texts: Sequence[str], pieces: int) -> PieceColumns:
        """Columns of texts, whose pieces are told by `number`."""
        distinct = list(dict.fromkeys(texts))
        row = np.full(pieces, -1, dtype=np.int64)
        rows = columns.rows(distinct)
        row[[number[text] for text in distinct]] = rows
        return cls(columns.values.astype(np.float32), len(columns.numbers), row)


@dataclass(frozen=True, eq=False)
class PairTokens:
    """Token ids of `n` rows of user and item, cut to `max_length` as the tokenizer cuts pairs ("longest first").

    Attributes:
        pool: Token ids of all pieces, one piece after another, each cut to `max_length`.
        start: Where each piece begins in `pool`, shape (S,). The first six pieces are `before`, `between` and `after`
            of the template of a pair and of that of an item alone; then come the texts.
        size: Number of tokens of each piece before it was cut, shape (S,).
        segments: Segments of the two templates' pieces, shape (2, 5).
        user: Piece of each row's user, shape (n,); -1 where the item stands alone.
        item: Piece of each row's item, shape (n,).
        max_length: Most tokens of a row, special ones included.
        padding: Token id that fills up shorter rows.
        columns: What is known beside the texts of a pair, by `user` and `item`; empty if nothing.
    """

    pool: IntArray
    start: IntArray
    size: IntArray
    segments: IntArray
    user: NDArray[np.int32]
    item: NDArray[np.int32]
    max_length: int
    padding: int
    columns: Mapping[Side, PieceColumns] = field(default_factory=dict)

    @cached_property
    def lengths(self) -> NDArray[np.int16]:
        """Number of tokens of each row, special ones included, shape (n,)."""
        lengths: NDArray[np.int16] = np.minimum(self._uncut(), self.max_length).astype(np.int16)
        return lengths

    @property
    def num_cut(self) -> int:
        """Number of rows that were longer than `max_length`."""
        return int((self._uncut() > self.max_length).sum())

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of all that the network gets to see, as 64 hexadecimal digits."""
        digest = hashlib.sha256(f"{self.max_length} {self.padding} {len(self.size)} {len(self.item)}\n".encode())
        for array in (self.pool, self.size, self.segments, self.user, self.item):
            digest.update(np.ascontiguousarray(array).data)
        for beside in self.columns.values():
            digest.update(beside.columns.tobytes() + beside.row.tobytes())
        return digest.hexdigest()

    def take(self, rows: IntArray) -> PairTokens:
        """Some of the rows."""
        return replace(self, user=self.user[rows], item=self.item[rows])

    def alone(self, texts: NDArray[np.int32]) -> PairTokens:
        """Rows of single texts, given by their pieces, such as values of `user` and `item`."""
        return replace(self, user=np.full(len(texts), -1, dtype=np.int32), item=texts)

    def beside(self, rows: IntArray, device: torch.device) -> torch.Tensor:
        """What is known beside the texts of some rows, in the order of `PairColumns`, shape (B, F + E)."""
        pieces = {"user": self.user, "item": self.item}
        found = [(one.columns[one.row[pieces[side][rows]]], one.numbers) for side, one in self.columns.items()]
        parts = [values[:, :numbers] for values, numbers in found] + [values[:, numbers:] for values, numbers in found]
        return torch.from_numpy(np.hstack(parts)).to(device)

    def ids(self, row: int) -> list[int]:
        """Token ids of one row, special ones included."""
        ids: list[int] = self._flat(np.array([row]))[0].tolist()
        return ids

    def places(self, row: int) -> tuple[range, range]:
        """Where the user's and the item's tokens stand in one row; the user's are none where the item stands alone."""
        ends = np.cumsum(self._counts(np.array([row]))[0]).tolist()
        return range(ends[0], ends[1]), range(ends[2], ends[3])

    def batch(self, rows: IntArray, device: torch.device) -> dict[str, torch.Tensor]:
        """Arguments of BERT for some of the rows, padded to the longest of them; each of shape (B, longest).

        There is no `attention_mask` when nothing is padded. Copies to a GPU do not wait for the work queued there.
        """
        lengths = self.lengths[rows]
        shape = len(rows), int(lengths.max())
        ids, segments = self._flat(rows)
        if len(ids) == shape[0] * shape[1]:
            arrays = {"input_ids": ids.reshape(shape), "token_type_ids": segments.reshape(shape)}
        else:
            filled = np.arange(shape[1]) < lengths[:, np.newaxis]
            arrays = {
                "input_ids": np.full(shape, self.padding, dtype=np.int64),
                "token_type_ids": np.zeros(shape, dtype=np.int64),
                "attention_mask": filled.astype(np.int64),
            }
            arrays["input_ids"][filled], arrays["token_type_ids"][filled] = ids, segments
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        if device.type == "cpu":
            return tensors
        return {name: tensor.pin_memory().to(device, non_blocking=True) for name, tensor in tensors.items()}

    def _uncut(self) -> IntArray:
        """Number of tokens that each row would have without a limit, shape (n,)."""
        special = self.size[:6].reshape(2, 3).sum(axis=1)
        alone = self.user < 0
        texts = np.where(alone, 0, self.size[self.user]) + self.size[self.item]
        tokens: IntArray = texts + special[alone.astype(np.intp)]
        return tokens

    def _counts(self, rows: IntArray) -> IntArray:
        """Number of tokens that the five pieces of each row keep, shape (B, 5)."""
        user, item = self.user[rows], self.item[rows]
        special = self.size[:6].reshape(2, 3)
        room = self.max_length - special.sum(axis=1)
        counts = np.empty((len(item), 5), dtype=np.int64)
        alone = (user < 0).astype(np.intp)
        counts[:, ::2] = special[alone]
        counts[:, 1], counts[:, 3] = kept(np.where(user < 0, 0, self.size[user]), self.size[item], room[alone])
        return counts

    def _flat(self, rows: IntArray) -> tuple[IntArray, IntArray]:
        """Ids and segments of the rows' tokens, row after row, each of shape (number of tokens,)."""
        counts = self._counts(rows)
        alone = (self.user[rows] < 0).astype(np.intp)
        starts = np.empty_like(counts)
        starts[:, ::2] = self.start[:6].reshape(2, 3)[alone]
        starts[:, 1], starts[:, 3] = self.start[self.user[rows]], self.start[self.item[rows]]
        size = counts.ravel()
        ends = np.cumsum(size)
        places = np.arange(ends[-1]) + np.repeat(starts.ravel() - (ends - size), size)
        return self.pool[places], np.repeat(self.segments[alone].ravel(), size)


class PairTokenizer:
    """Makes `PairTokens` with the rules of a tokenizer; texts are cut at their ends.

    Args:
        tokenizer: The rules; padding and truncation that it may remember are ignored.
        max_length: Most tokens of a row, special ones included.
        padding: Token id that fills up shorter rows.
        separator: Token id for behind a text where the tokenizer itself puts nothing there, as GPT-2's: the texts would
            run into each other, and a row of empty texts would have no token.
        columns: What is known of users and items beside their texts; None if nothing.
        soft_tokens: Number of tokens that are no words; they stand before the texts, behind a special token if one
            stands there.

    Raises:
        ValueError: When the tokenizer puts nothing behind a text and there is no `separator`, or when soft and special
            tokens leave no room for two tokens of text.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        max_length: int,
        padding: int,
        separator: int | None = None,
        columns: PairColumns | None = None,
        soft_tokens: int = 0,
    ) -> None:
        self._rules = Tokenizer.from_str(tokenizer.to_str())
        self._rules.no_padding()
        self._rules.no_truncation()
        templates = Template.of_pair(self._rules, separator), Template.of_single(self._rules, separator)
        self._templates = tuple(replace(form, before=form.before + [SOFT_TOKEN] * soft_tokens) for form in templates)
        around = max(len(form.before) + len(form.between) + len(form.after) for form in self._templates)
        if max_length < around + 2:
            raise ValueError(
                f"`max_length` must be at least {around + 2}: {around} tokens stand around the texts, {soft_tokens} of "
                f"them soft. Got {max_length}."
            )
        self._max_length, self._padding = max_length, padding
        self._columns = columns

    def rules(self) -> str:
        """The tokenizer's rules and the tokens around texts, as text."""
        around = [(form.before, form.between, form.after) for form in self._templates]
        return f"{self._rules.to_str()}\n{around}"

    def rows(self, users: Sequence[str], items: Sequence[str]) -> PairTokens:
        """Rows of user and item text, both of length n; rows with an empty user hold the item alone.

        Raises:
            ValueError: When there are columns beside the text, and a user or an item is none of theirs.
        """
        texts = dict.fromkeys(chain(users, items))
        special = [part for form in self._templates for part in (form.before, form.between, form.after)]
        pieces = list(chain(special, self._encode(list(texts))))
        size = np.array([len(piece) for piece in pieces], dtype=np.int64)
        stored = np.minimum(size, self._max_length)
        number = {text: place for place, text in enumerate(texts, start=len(special))}
        known = () if self._columns is None else self._columns.sides
        given: dict[Side, Sequence[str]] = {"user": users, "item": items}
        return PairTokens(
            pool=np.fromiter(
                chain.from_iterable(piece[: self._max_length] for piece in pieces), dtype=np.int64, count=stored.sum()
            ),
            start=np.cumsum(stored) - stored,
            size=size,
            segments=np.stack([form.segments for form in self._templates]),
            user=np.array([number[text] if text else -1 for text in users], dtype=np.int32),
            item=np.array([number[text] for text in items], dtype=np.int32),
            max_length=self._max_length,
            padding=self._padding,
            columns={side.of: PieceColumns.of(side, number, given[side.of], len(size)) for side in known},
        )

    def product(self, users: Sequence[str], items: Sequence[str]) -> PairTokens:
        """Every user with every item: row `u * K + k` holds user u and item k."""
        once = self.rows(users, items)  # no rows yet: U users, K items
        return replace(once, user=np.repeat(once.user, len(items)), item=np.tile(once.item, len(users)))

    def _encode(self, texts: list[str]) -> Iterator[list[int]]:
        for first in range(0, len(texts), _TEXTS_AT_ONCE):
            part = texts[first : first + _TEXTS_AT_ONCE]
            for encoding in self._rules.encode_batch_fast(part, add_special_tokens=False):
                yield encoding.ids


def _or_separator(piece: list[int], separator: int | None) -> list[int]:
    if piece:
        return piece
    if separator is None:
        raise ValueError(
            "The tokenizer must put a token behind each text, or have a `sep_token` or an `eos_token`. Got neither."
        )
    return [separator]


def kept(first: IntArray, second: IntArray, room: IntArray) -> tuple[IntArray, IntArray]:
    """How many tokens of two texts are kept when both together have `room`: the longer one is cut first.

    >>> kept(np.array([3, 9, 9]), np.array([4, 2, 8]), np.array([8, 8, 9]))
    (array([3, 6, 5]), array([4, 2, 4]))
    """
    short = np.minimum(np.minimum(first, second), room // 2)
    long = np.minimum(np.maximum(first, second), room - short)
    return np.where(first > second, long, short), np.where(first > second, short, long)
