"""A/B designs: how a split is really run, when it ends, and what is shipped."""

from policies.ab.always_valid import AlwaysValidABTest
from policies.ab.bayesian import BayesianABTest
from policies.ab.branch_test import BranchTest
from policies.ab.design import ABDesign
from policies.ab.fixed_horizon import ABTest
from policies.ab.group_sequential import GroupSequentialABTest
from policies.ab.ramp_up import RampUpABTest

__all__ = [
    "ABDesign",
    "ABTest",
    "AlwaysValidABTest",
    "BayesianABTest",
    "BranchTest",
    "GroupSequentialABTest",
    "RampUpABTest",
]
