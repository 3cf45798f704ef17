"""The CPU engine where the system refuses threads or memory, and in processes that were forked or sent to others.

Each runs in a process of its own, so that one that hangs or crashes is seen as such.
"""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import models
from eventprop.backends import Settings
from eventprop.backends.cpu.engine import CpuEngine
from eventprop.network import Randomness
from eventprop.training.optimiser import adam_parameters
from tests.backends.cpu.test_engine import ADAM, same
from tests.support.small import SIMPLE, Case, gradients_of, random_case

HEAD = f"""
import os, sys
sys.path[:] = {sys.path!r}
import numpy as np
from tests.backends.cpu.test_limits import answers, case, limited
"""


def case(timing: str = "grid") -> Case:
    """Two layers, of sizes that need some memory on the grid."""
    sizes, steps = {"grid": ((300, 200), 300), "exact": ((60, 40), 150)}[timing]
    options = {"recurrent": timing == "grid", "regulariser": "simple", "strengths": SIMPLE, "spike_timing": timing}
    return random_case(1, loss="sum_weigh_input", sizes=sizes, n=16, steps=steps, **options)


def answers(own: Case, engine: CpuEngine) -> list[bytes]:
    """The bits of a batch, its gradients and a first update."""
    own.load(engine)
    shapes = own.network().trained_shapes().items()
    engine.set_optimiser_state({role: {n: np.zeros(s, np.float32) for n, s in shapes} for role in models.ADAM.state})
    result = own.learn(engine)
    found = [result.loss, result.spike_counts, *gradients_of(engine).values(), np.array(engine.gradient_norm())]
    engine.update(adam_parameters(ADAM, 1e-3, 1))
    return [array.tobytes() for array in (*found, *engine.weights().values())]


class limited:
    """Address space for ``more`` bytes than are in use, while it lasts."""

    def __init__(self, more: int) -> None:
        self.more = more

    def __enter__(self) -> None:
        import resource

        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + self.more, resource.RLIM_INFINITY))

    def __exit__(self, *_: object) -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def run(code: str) -> str:
    """What a Python program prints that must end well."""
    code = HEAD + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


LINUX = pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="limits of the address space are Linux's")
FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@LINUX
def test_fewer_threads_than_asked_for() -> None:
    """Fails if making or using an engine hangs where a limit allows fewer threads, if nothing is said, or if results
    depend on how many there are. Memory may run out: then the engine works without the limit."""
    shown = run("""
        import warnings
        own = case("exact")
        expected = answers(own, own.engine(1, "float"))
        for more in (20, 100, 600, 2000):
            with limited(more << 20), warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                engine = own.engine(1024, "float")
                try:
                    assert answers(own, engine) == expected
                except MemoryError:
                    pass
            assert 1 <= engine.num_threads < 1024
            print(told[0].message)
            assert answers(own, engine) == expected
            del engine
        engine = own.engine(20, "float")
        assert engine.num_threads == 20 and answers(own, engine) == expected
    """)
    assert shown.count(" of 1024 threads (NUM_THREADS) work: a limit on memory or processes") == 4


@LINUX
@pytest.mark.parametrize("timing", ["grid", "exact"])
def test_without_memory(timing: str) -> None:
    """Wherever memory runs out, it is a MemoryError; then the engine can be used, and deleted, as if nothing had
    happened, and has no spikes of a batch that failed."""
    shown = run(f"""
        own = case("{timing}")
        own.spikes
        if os.fork() == 0:  # in children, so that none finds memory that another has left
            np.save("expected", np.array(answers(own, own.engine(2, "float")), object), allow_pickle=True)
            os._exit(0)
        os.wait()
        expected = np.load("expected.npy", allow_pickle=True).tolist()
        for more in (0, 1, 2, 4, 8, 16, 32, 4000):
            for threads in (1, 3):
                pid = os.fork()
                if pid == 0:
                    outcome = "enough"
                    engine = own.engine(threads, "float")
                    with limited(more << 18):
                        try:
                            own.learn(engine)
                        except MemoryError:
                            outcome = "too little"
                    if outcome == "too little":
                        try:
                            engine.spikes(0, "hidden0")
                            outcome = "spikes of a failed batch"
                        except IndexError:
                            pass
                    if answers(own, engine) != expected:
                        outcome = "other results"
                    del engine
                    print(outcome, flush=True)
                    os._exit(0)
                status = os.waitpid(pid, 0)[1]
                if status:
                    print("ended with", status, flush=True)
    """)
    assert set(shown.splitlines()) == {"enough", "too little"}


@LINUX
def test_no_memory_for_an_engine() -> None:
    """Making one fails with a MemoryError, or a CompilerError where its code finds no place; the next one is made."""
    run("""
        from eventprop.backends.cache import CompilerError
        own = case("exact")
        failed = 0
        for more in (0, 1, 2, 4, 8, 16, 32):
            try:
                with limited(more << 18):
                    own.engine(3, "float")
            except (MemoryError, CompilerError):
                failed += 1
        assert failed
        assert own.engine(3, "float").num_threads == 3
    """)


@FORK
@pytest.mark.parametrize("threads", [pytest.param(1, marks=pytest.mark.long), 3])
def test_an_engine_in_a_forked_process(threads: int) -> None:
    """Fails if the child waits for the parent's threads: when it uses the engine, deletes it, used or not, or ends; in
    its own children likewise; or if the parent's engine is worse for it."""
    run(f"""
        own = case("exact")
        engine = own.engine({threads}, "float")
        expected = answers(own, engine)

        def child(what):
            pid = os.fork()
            if pid == 0:
                what()
                sys.exit(0)
            status = os.waitpid(pid, 0)[1]
            assert status == 0, status

        def use():
            assert answers(own, engine) == expected

        def delete():
            globals().pop("engine")

        def use_and_delete():
            use()
            delete()

        def grandchild():
            child(use)
            use()
            child(use_and_delete)
            child(delete)

        for what in (use, delete, use_and_delete, grandchild, lambda: None):
            child(what)
            use()
    """)


@FORK
def test_an_engine_in_a_pool_of_forked_processes() -> None:
    """As users have it: several children at once, each with the parent's engine."""
    run("""
        import multiprocessing
        own = case("exact")
        engine = own.engine(2, "float")
        expected = answers(own, engine)

        def same(_):
            return answers(own, engine) == expected

        with multiprocessing.get_context("fork").Pool(3) as pool:
            assert pool.map(same, range(6)) == [True] * 6
        assert same(0)
    """)


def test_an_engine_is_copied_and_sent() -> None:
    """Fails if two objects share one engine, which the first that is deleted would take from the other, or if weights,
    time constants or moments stay behind."""
    own = random_case(2, "hetLIF", sizes=(40, 20), n=4)
    engine = own.engine(2, "float")
    own.learn(engine)
    engine.update(adam_parameters(ADAM, 1e-2, 1))
    own.learn(engine)
    for made in (copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))):
        other = made(engine)
        assert other.num_threads == 2 and same(other.weights(), engine.weights())
        assert all(same(other.optimiser_state()[role], own) for role, own in engine.optimiser_state().items())
        own.learn(other)
        assert same(gradients_of(other), gradients_of(engine))
        del other
    own.learn(engine)


def test_what_a_simulator_keeps_can_be_sent() -> None:
    """Descriptions of networks and settings, which simulators keep, are plain values."""
    network = random_case(1, "ALIF").network()
    for value in (network, Settings(), Randomness(0.1)):
        assert repr(pickle.loads(pickle.dumps(value))) == repr(value)
