"""Training by several processes: their number changes no bit, and one that fails ends them all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulator_SHD import SHD_model
from tests.support.launched import WHY_NOT, mpirun

pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)

TRAIN = """
    import json
    from simulator_SHD import SHD_model
    p = json.loads({p!r})
    SHD_model(p).train(p)
"""
ENGINES = """
    import pickle
    from eventprop.backends.cpu.shared import SharedEngine
    from eventprop.ranks import world
    from tests.backends.cpu.test_threads import everything, make, randomness, same
    expected = pickle.load(open("expected.pickle", "rb"))
    for average in (False, True):
        case = make("LIF, grid", average_counts=average)
        engine = SharedEngine(case.network(), 1, world())
        assert same(everything(case, engine, randomness("LIF, grid")), expected[average])
    print("same")
"""
FAILS = """
    import json, os, signal
    from eventprop import cli, ranks
    from eventprop.backends.cpu.shared import SharedEngine
    from eventprop.ranks import world
    ranks._PATIENCE = 0.5
    sweep, sweeps = SharedEngine._sweep, []

    def fails(self, *arguments):
        sweeps.append(1)
        if world().rank == 1 and len(sweeps) == {after}:
            {how}
        return sweep(self, *arguments)

    SharedEngine._sweep = fails
    raise SystemExit(cli.main("SHD", ["--params", "p.json"]))
"""


SECOND_EPOCH = 1 + 3 + 1 + 2
"""Number of the sweep over its second batch, behind that of the diagnosis, three of training and one of validation: the
checkpoint of the first one is written before rank 0 does its part of the first batch."""


@pytest.fixture
def p(p: dict[str, Any]) -> dict[str, Any]:
    """With all that is random or goes by the whole batch, a last batch of 6 of the 32 samples, and a recorded one."""
    more = {"PDROP_INPUT": 0.1, "PDROP_HIDDEN": 0.1, "HIDDEN_NOISE": 0.01, "TRAIN_TAU": True, "GRAD_CLIP": 1e-3}
    more |= {"AUGMENTATION": {"random_shift": 20.0}, "REWIRE_SILENT": True, "N_BATCH": 32, "N_TRAIN": 70}
    more |= {"REC_SPIKES": ["hidden0"], "REC_SPIKES_EPOCH_TRIAL": [[0, 1]]}
    return {**p, **more, "N_EPOCH": 2, "TRAIN_DATA_SEED": 4, "NUM_THREADS": 1}


def train(ranks: int, p: dict[str, Any]) -> None:
    done = mpirun(ranks, TRAIN.format(p=json.dumps(p)))
    assert done.returncode == 0, done.stderr


def content(p: dict[str, Any]) -> dict[str, Any]:
    """What a run has left, but for the time that it took."""
    folder = Path(p["OUT_DIR"])
    with np.load(folder / f"{p['NAME']}_state_last.npz") as arrays:
        found: dict[str, Any] = {name: arrays[name].tobytes() for name in arrays if name != "meta"}
    found |= {path.name: path.read_bytes() for path in folder.glob("*_spike_*.npy")}
    rows = (folder / f"{p['NAME']}_results.csv").read_text().splitlines()
    time = rows[0].split(",").index("seconds")
    return found | {"results": [[x for n, x in enumerate(row.split(",")) if n != time] for row in rows]}


def epochs_done() -> int:
    with np.load("out/test_state_last.npz") as arrays:
        return int(json.loads(str(arrays["meta"]))["epoch"])


def test_the_number_of_processes_changes_no_bit(p: dict[str, Any]) -> None:
    """Fails if weights, moments, time constants or measures depend on how many processes there were, or on a change of
    their number between two epochs."""
    SHD_model(p).train({**p, "OUT_DIR": "one"})
    expected = content({**p, "OUT_DIR": "one"})
    assert "test_hidden0_spike_t.npy" in expected
    train(2, {**p, "OUT_DIR": "two"})
    assert content({**p, "OUT_DIR": "two"}) == expected
    train(3, {**p, "OUT_DIR": "three", "N_EPOCH": 1})
    assert content({**p, "OUT_DIR": "three"}) != expected
    SHD_model(p).train({**p, "OUT_DIR": "three", "LOAD_LAST": True})
    assert content({**p, "OUT_DIR": "three"}) == expected


def test_engines_that_share_a_batch(tmp_path: Path) -> None:
    """Fails if three engines give other gradients than one of a batch that is cut unevenly, with counts averaged or
    not."""
    import pickle

    from tests.backends.cpu.test_threads import everything, make, randomness

    cases = {average: make("LIF, grid", average_counts=average) for average in (False, True)}
    expected = {a: everything(case, case.engine(1, "float"), randomness("LIF, grid")) for a, case in cases.items()}
    Path("expected.pickle").write_bytes(pickle.dumps(expected))
    done = mpirun(3, ENGINES)
    assert done.returncode == 0 and done.stdout.count("same") == 3, done.stderr


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", ""),
        ("raise MemoryError('no room')", "train_SHD.py: error: rank 1: no room"),
        ("raise TypeError('no sense')", "rank 1 of 2 has failed: TypeError: no sense"),
        (
            "self.set_weights({n: w + 1e-3 for n, w in self.weights().items()})",
            "RuntimeError: weights of rank 1 differ from those of rank 0 after epoch 1",
        ),
    ],
)
def test_one_that_fails_ends_all(how: str, message: str, p: dict[str, Any]) -> None:
    """Fails if others wait for ever for a process that is gone, or go on with one whose weights are others, if nobody
    says which one failed and why, or if the checkpoint of the last good epoch is not there."""
    Path("p.json").write_text(json.dumps(p))
    done = mpirun(2, FAILS.format(how=how, after=SECOND_EPOCH))
    assert done.returncode != 0
    assert message in done.stderr
    assert epochs_done() == 1


def test_samples_of_one_that_run_away(p: dict[str, Any]) -> None:
    """Fails if others wait for samples that one of them cannot present, or if it is not the training's own error."""
    Path("p.json").write_text(json.dumps(p))
    done = mpirun(2, FAILS.format(how="return 2", after=SECOND_EPOCH))
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "error" in line]
    assert line.startswith("train_SHD.py: error: neurons spike without end")
    assert line.endswith("(epoch 1, batch 1)")
    assert epochs_done() == 1


def test_a_fault_of_all_is_told_once(p: dict[str, Any]) -> None:
    """Fails if each process complains about what is wrong for all, or the others are ended for it."""
    Path("p.json").write_text(json.dumps({**p, "N_BATCH": 4}))
    done = mpirun(2, FAILS.format(how="pass", after=0))
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "error" in line]
    assert line == (
        "train_SHD.py: error: 2 processes cannot share N_BATCH=4, of which each gets whole blocks of 4 samples: "
        "take N_BATCH=5 or more, or start at most 1 process"
    )
