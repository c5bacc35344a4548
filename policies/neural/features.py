"""What models of this package see of a user."""

from __future__ import annotations

import torch
from torch import Tensor


def with_constant(user: Tensor, dtype: torch.dtype) -> Tensor:
    """The constant 1 and the user's features; `user` has shape (B, D), the result (B, D + 1)."""
    return torch.nn.functional.pad(user.to(dtype), (1, 0), value=1.0)
