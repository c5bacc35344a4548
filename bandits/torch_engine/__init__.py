"""The loop on a torch device, and policies written for it."""

from bandits.torch_engine.choice import argmax, nth_true
from bandits.torch_engine.play import play_on_device
from bandits.torch_engine.policy import TorchContext, TorchFeedback, TorchPolicy
from bandits.torch_engine.random import TorchStreams

__all__ = ["TorchContext", "TorchFeedback", "TorchPolicy", "TorchStreams", "argmax", "nth_true", "play_on_device"]
