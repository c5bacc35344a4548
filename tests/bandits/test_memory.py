"""What does not fit into memory is said before it is begun, with its size."""

import pytest

from bandits import KernelPolicy, Problem, RandomStreams, memory, simulate
from envs import BernoulliBandit, GaussianBandit
from policies import UCB1, LinUCB

pytestmark = pytest.mark.faults


def test_array_bytes():
    assert memory.array_bytes([(2, 3), (4,)]) == 80
    assert memory.array_bytes([(10, 0)]) == 0
    assert memory.array_bytes([(10,)], itemsize=4) == 40


def test_a_container_may_have_less_than_its_machine(tmp_path, monkeypatch):
    limit, used = tmp_path / "memory.max", tmp_path / "memory.current"
    monkeypatch.setattr(memory, "_CGROUPS", ((str(limit), str(used)),))
    machine = memory.free_memory()
    limit.write_text("5000000\n")
    used.write_text("1000000\n")
    assert memory.free_memory() == 4_000_000
    limit.write_text("max\n")
    assert memory.free_memory() == pytest.approx(machine, rel=0.2)


def test_the_message_has_need_and_room():
    with pytest.raises(ValueError, match=r"^Everything must fit into memory, 2\.0 GiB free\. Got 3,072\.0 GiB\.$"):
        memory.require_memory("Everything", 3 * 2**40, free=2**31)


def test_too_many_replications():
    with pytest.raises(
        ValueError, match=r"^Observations of 10,000,000,000 replications with 2 arms must fit .* Got .* GiB"
    ):
        BernoulliBandit([0.1, 0.2], num_envs=10**10)


def test_too_many_arms():
    with pytest.raises(ValueError, match=r"^The priors of 100,000,000,000 arms must fit .* Got 5,960\.5 GiB"):
        BernoulliBandit(prior=(1.0, 1.0), num_arms=10**11)
    with pytest.raises(ValueError, match=r"^Observations of 1 replications with 100,000,000,000 arms must fit"):
        GaussianBandit(prior=(0.0, 1.0), num_arms=10**11)


@pytest.mark.parametrize("engine", ["fused", "lockstep", "python"])
def test_too_many_snapshots_for_so_many_replications(engine, monkeypatch):
    env = BernoulliBandit([0.1, 0.2], num_envs=100_000)
    monkeypatch.setattr(memory, "free_memory", lambda: 10**8)
    with pytest.raises(
        ValueError, match=r"\d+ snapshots .*must fit into memory, 0\.1 GiB free\. Got 0\.\d GiB"
    ) as error:
        simulate(env, UCB1(), horizon=1000, seed=1, engine=engine)
    assert "100,000 replications" in str(error.value)


class Hoarder(KernelPolicy):
    """Asks for more than there is."""

    kernel = UCB1.kernel

    def __init__(self):
        pass

    def layout(self, problem):
        return UCB1().layout(problem)._replace(shared=10**12)


def test_too_large_a_state():
    with pytest.raises(ValueError, match=r"The state of Hoarder\(\) .* Got 14,901\.2 GiB"):
        simulate(BernoulliBandit([0.1, 0.2]), Hoarder(), horizon=10, seed=1, threads=2)
    with pytest.raises(ValueError, match=r"The state of LinUCB.* in 1,000,000 replications with 1,000 arms"):
        LinUCB().reset(Problem(10**6, 1000, user_dim=64), RandomStreams(1, 1))
