"""A policy that owns a reward model and refits it on the log that it made itself."""

from policies.refitted.refitted_model import RefittedModel

__all__ = ["RefittedModel"]
