"""Scalar kernels turned into machine code: the loop, and its specialization for one policy and one world."""
