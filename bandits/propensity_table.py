"""The propensity table: how likely each simulated user is to click on each item."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class PropensityTable:
    """Click probabilities of `U` users on `K` items, in each of `W` worlds.

    The stored table, not the model that filled it, is the unit of reproducibility: `content_hash` goes into every
    result. Worlds with fewer items than `K` are padded on the right: `num_items` says how many are real, and padded
    entries of `p` are 0.

    Args:
        p: Click probabilities, shape (W, U, K), stored as float32, in [0, 1].
        user_ids: Unique ids of the users, length U.
        user_texts: What is known of each user as text, length U; empty strings where there are no users.
        item_ids: Ids of the items of each world, shape (W, K); unique within a world, "" where padded.
        item_texts: Texts of the items of each world, shape (W, K); "" where padded.
        num_items: Number of real items in each world, shape (W,).
        world_ids: Unique names of the worlds, length W.
        outcome: Name of the outcome that `p` is the probability of.
        provenance: What the numbers came from (hashes of weights, tokenizer, template, calibrator, ...), text to text.

    Raises:
        ValueError: When shapes disagree, an id is repeated, or a probability lies outside [0, 1].
    """

    p: NDArray[np.float32]
    user_ids: tuple[str, ...]
    user_texts: tuple[str, ...]
    item_ids: NDArray[np.str_]
    item_texts: NDArray[np.str_]
    num_items: NDArray[np.int64]
    world_ids: tuple[str, ...]
    outcome: str = "click"
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.p.ndim != 3:
            raise ValueError(f"`p` must have shape (W, U, K). Got shape {self.p.shape}.")
        object.__setattr__(self, "p", np.ascontiguousarray(self.p, dtype=np.float32))
        worlds, users, items = self.p.shape
        for name, value, expected in [
            ("user_ids", (len(self.user_ids),), (users,)),
            ("user_texts", (len(self.user_texts),), (users,)),
            ("item_ids", self.item_ids.shape, (worlds, items)),
            ("item_texts", self.item_texts.shape, (worlds, items)),
            ("num_items", self.num_items.shape, (worlds,)),
            ("world_ids", (len(self.world_ids),), (worlds,)),
        ]:
            if value != expected:
                raise ValueError(f"`{name}` must have shape {expected} to match `p` {self.p.shape}. Got {value}.")
        if not np.all((self.p >= 0) & (self.p <= 1)):
            raise ValueError(f"`p` must lie in [0, 1]. Got values in [{self.p.min()}, {self.p.max()}].")
        if not np.all((self.num_items >= 1) & (self.num_items <= items)):
            raise ValueError(
                f"`num_items` must lie in [1, {items}]. Got {self.num_items.min()}..{self.num_items.max()}."
            )
        _require_unique("user_ids", self.user_ids)
        _require_unique("world_ids", self.world_ids)
        for world, count in enumerate(self.num_items):
            _require_unique(f"item_ids[{world}]", tuple(self.item_ids[world, :count].tolist()))

    @classmethod
    def single_world(
        cls,
        p: NDArray[np.floating],
        *,
        user_texts: tuple[str, ...] = (),
        item_texts: tuple[str, ...] = (),
        user_ids: tuple[str, ...] = (),
        item_ids: tuple[str, ...] = (),
        provenance: Mapping[str, str] | None = None,
    ) -> PropensityTable:
        """A table of one world from probabilities of shape (U, K).

        Ids default to `user-0 ...` and `item-0 ...`, texts to empty strings.

        >>> PropensityTable.single_world(np.array([[0.1, 0.2]])).p.shape
        (1, 1, 2)
        """
        p = np.asarray(p)
        if p.ndim != 2:
            raise ValueError(f"`p` must have shape (U, K). Got shape {p.shape}.")
        users, items = p.shape
        return cls(
            p=p[np.newaxis].astype(np.float32),
            user_ids=user_ids or tuple(f"user-{u}" for u in range(users)),
            user_texts=user_texts or ("",) * users,
            item_ids=np.array([item_ids or tuple(f"item-{k}" for k in range(items))], dtype=np.str_),
            item_texts=np.array([item_texts or ("",) * items], dtype=np.str_),
            num_items=np.array([items], dtype=np.int64),
            world_ids=("world-0",),
            provenance=dict(provenance or {}),
        )

    @classmethod
    def interleaved(cls, tables: Mapping[str, PropensityTable]) -> PropensityTable:
        """The worlds of several tables of the same users and items as the worlds of one: several beliefs about them.

        World w of table m of M becomes world `w * M + m`, so replication r of a simulation, which lives in world
        `r % W`, lives in a world of table `r % M`.

        Args:
            tables: Name of each belief to its table. The names are appended to those of the worlds; of provenance,
                whatever differs is listed.

        Raises:
            ValueError: When there is no table, or users, items, worlds or outcomes differ.

        >>> low, high = (PropensityTable.single_world(np.array([[p, 2 * p]])) for p in (0.1, 0.2))
        >>> both = PropensityTable.interleaved({"low": low, "high": high})
        >>> both.world_ids, both.p[:, 0, 0]
        (('world-0 low', 'world-0 high'), array([0.1, 0.2], dtype=float32))
        """
        if not tables:
            raise ValueError("`tables` must hold at least one table. Got none.")
        first, count = next(iter(tables.values())), len(tables)
        for name, table in tables.items():
            same = (
                (table.user_ids, table.user_texts, table.world_ids, table.outcome)
                == (first.user_ids, first.user_texts, first.world_ids, first.outcome)
                and np.array_equal(table.item_ids, first.item_ids)
                and np.array_equal(table.item_texts, first.item_texts)
            )
            if not same:
                raise ValueError(
                    f"`tables` must have the same users, items, worlds and outcome. Got others in {name!r}."
                )
        return cls(
            p=np.stack([table.p for table in tables.values()], axis=1).reshape(-1, *first.p.shape[1:]),
            user_ids=first.user_ids,
            user_texts=first.user_texts,
            item_ids=np.repeat(first.item_ids, count, axis=0),
            item_texts=np.repeat(first.item_texts, count, axis=0),
            num_items=np.repeat(first.num_items, count),
            world_ids=tuple(f"{world} {name}" for world in first.world_ids for name in tables),
            outcome=first.outcome,
            provenance={
                key: "; ".join(
                    dict.fromkeys(table.provenance[key] for table in tables.values() if key in table.provenance)
                )
                for key in first.provenance
            },
        )

    def __repr__(self) -> str:
        worlds, users, items = self.p.shape
        return f"PropensityTable(W={worlds}, U={users}, K={items}, content_hash={self.content_hash[:12]!r})"

    @property
    def content_hash(self) -> str:
        """SHA-256 of everything in the table, as 64 hexadecimal digits."""
        digest = hashlib.sha256(np.ascontiguousarray(self.p).tobytes())
        digest.update(json.dumps(self._header(), sort_keys=True).encode())
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write `p.npy` and `table.json` into `folder`, which is created."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "p.npy", self.p)
        header = self._header() | {"content_hash": self.content_hash}
        (folder / "table.json").write_text(json.dumps(header, ensure_ascii=False, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> PropensityTable:
        """Read a table that `save` wrote, and check its bytes against the stored hash.

        Raises:
            FileNotFoundError: When there is no table in `folder`.
            ValueError: When the content does not have the hash that was stored with it.
        """
        header = json.loads((folder / "table.json").read_text(encoding="utf-8"))
        expected = header.pop("content_hash")
        table = cls(
            p=np.load(folder / "p.npy"),
            user_ids=tuple(header["user_ids"]),
            user_texts=tuple(header["user_texts"]),
            item_ids=np.array(header["item_ids"], dtype=np.str_),
            item_texts=np.array(header["item_texts"], dtype=np.str_),
            num_items=np.array(header["num_items"], dtype=np.int64),
            world_ids=tuple(header["world_ids"]),
            outcome=header["outcome"],
            provenance=header["provenance"],
        )
        if table.content_hash != expected:
            raise ValueError(f"The table in {folder} must have hash {expected}. Got {table.content_hash}: damaged?")
        return table

    def _header(self) -> dict[str, object]:
        return {
            "user_ids": list(self.user_ids),
            "user_texts": list(self.user_texts),
            "item_ids": self.item_ids.tolist(),
            "item_texts": self.item_texts.tolist(),
            "num_items": self.num_items.tolist(),
            "world_ids": list(self.world_ids),
            "outcome": self.outcome,
            "provenance": dict(self.provenance),
            "shape": list(self.p.shape),
        }


def _require_unique(name: str, ids: tuple[str, ...]) -> None:
    seen: set[str] = set()
    for identifier in ids:
        if identifier in seen:
            raise ValueError(f"`{name}` must be unique. Got {identifier!r} twice.")
        seen.add(identifier)
