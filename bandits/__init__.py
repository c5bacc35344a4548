"""Bandit policies against simulated users: nouns, engine, randomness, reward models, statistics and plots."""

from bandits.core import Context, Feedback, Policy, Problem
from bandits.engine import simulate
from bandits.kernel import ComposedKernel, Kernel, Layout, ScalarContext, ScalarFeedback, State, World, WorldKernel
from bandits.kernel_policy import KernelPolicy
from bandits.machine_code import jit
from bandits.propensity_table import PropensityTable
from bandits.random_streams import RandomStreams
from bandits.scalar_policy import ScalarPolicy
from bandits.trace import Trace

__all__ = [
    "ComposedKernel",
    "Context",
    "Feedback",
    "Kernel",
    "KernelPolicy",
    "Layout",
    "Policy",
    "Problem",
    "PropensityTable",
    "RandomStreams",
    "ScalarContext",
    "ScalarFeedback",
    "ScalarPolicy",
    "State",
    "Trace",
    "World",
    "WorldKernel",
    "jit",
    "simulate",
]
