"""Stops of every kind, and what is there afterwards: trained checkpoints, recordings, results, pictures."""

from __future__ import annotations

import io
import json
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simulator_SHD
import simulator_yinyang
from eventprop import cli
from eventprop.training import checkpoint, trainer
from simulator_SHD import SHD_model
from simulator_yinyang import yinyang

TINY: dict[str, Any] = {"N_TRAIN": 40, "N_TEST": 10, "NUM_HIDDEN": 20, "N_BATCH": 20, "MODEL_SEED": 1, "DT_MS": 1.0}
TINY |= {"NUM_THREADS": 1, "TIMING": False, "OUT_DIR": "out", "NAME": "k", "N_EPOCH": 2, "ETA_DECAY": 1.0}
TINY |= {"HIDDEN_OUTPUT_MEAN": 1.5}


def p(**change: Any) -> dict[str, Any]:
    return {**simulator_yinyang.p, **TINY, **change}


def run(**change: Any) -> yinyang:
    mn = yinyang(p(**change))
    mn.train(p(**change))
    return mn


def words(**change: Any) -> list[str]:
    return [f"{key}={json.dumps(value)}" for key, value in {**TINY, **change}.items()]


def epochs() -> dict[str, int]:
    """Completed epochs of the checkpoints in "out"."""
    return {path.name: checkpoint.trained_epochs(path) for path in sorted(Path("out").glob("*.npz"))}


def files_of(folder: str) -> dict[str, bytes]:
    """What a run left, but for seconds."""
    kept = {path.name: path.read_bytes() for path in Path(folder).glob("*.npy")}
    lines = (Path(folder) / "k_results.txt").read_text().splitlines()
    return {**kept, "results": "\n".join(line.rsplit(" ", 1)[0] for line in lines).encode()}


class Stop(Exception):
    pass


def stop_in_epoch(monkeypatch: pytest.MonkeyPatch, epoch: int, error: type[BaseException], **change: Any) -> None:
    """A run that ends in its epoch number ``epoch``, before that is complete."""
    learn: Callable[..., Any] = trainer._learn

    def stopping(engine: Any, p: Any, state: Any, where: str) -> None:
        if state.epoch == epoch and state.updates:
            raise error
        learn(engine, p, state, where)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "_learn", stopping)
        with pytest.raises(error):
            run(**change)


def test_failed_starts_lose_nothing_that_was_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without LOAD_LAST, three times: no compiler, Ctrl-C, an error. Then LOAD_LAST goes on to the bits of an unbroken
    run. Fails if a start writes over, or takes away, a trained checkpoint or the parameters that belong to it."""
    run(N_EPOCH=4, OUT_DIR="whole")
    run()
    before = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    with monkeypatch.context() as patch:
        patch.setenv("CXX", "/nowhere")
        patch.setenv("EVENTPROP_CACHE", "empty")
        assert cli.main("yinyang", ["train", *words()]) == 1
    stop_in_epoch(monkeypatch, 0, KeyboardInterrupt)
    stop_in_epoch(monkeypatch, 0, Stop)
    assert epochs()["k_state_last.npz"] == 2
    assert before.items() <= {path.name: path.read_bytes() for path in Path("out").iterdir()}.items()
    run(N_EPOCH=4, LOAD_LAST=True)
    assert files_of("out") == files_of("whole")


def test_earlier_checkpoints_are_kept_and_numbered() -> None:
    """Each new run under an old NAME leaves the ones before, whole, with their histories."""
    kept = []
    for eta in (0.001, 0.002, 0.003):
        run(ETA=eta, CHECKPOINT_BEST="training")
        kept.append(Path("out/k_state_last.npz").read_bytes())
    names = ("k_state_last_previous_1.npz", "k_state_last_previous_2.npz", "k_state_last.npz")
    assert [Path("out", name).read_bytes() for name in names] == kept
    for eta, name in zip((0.001, 0.002, 0.003), names, strict=True):
        state, saved = checkpoint.load(Path("out", name), run(WRITE_TO_DISK=False)._network)
        assert saved["ETA"] == eta and [r["epoch"] for r in state.history] == [0, 1]
        assert state.history[0]["learning_rate"] == eta
    assert Path("out/k_state_best_previous_2.npz").exists()
    assert not Path("out/k_state_start.npz").exists()


def test_a_start_with_other_settings_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in its first epoch, a new run of an old NAME goes on, and not the old one under its settings."""
    run(ETA=0.001, OUT_DIR="out")
    run(ETA=0.01, OUT_DIR="whole")
    old = Path("out/k_state_last.npz").read_bytes()
    stop_in_epoch(monkeypatch, 0, Stop, ETA=0.01)
    assert Path("out/k_state_last.npz").read_bytes() == old
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".* no better than chance")
        run(ETA=0.01, LOAD_LAST=True)
    assert Path("out/k_w_input_hidden_last.npy").read_bytes() == Path("whole/k_w_input_hidden_last.npy").read_bytes()
    assert Path("out/k_state_last_previous_1.npz").read_bytes() == old
    assert json.loads(Path("out/k.json").read_text())["ETA"] == 0.01
    assert len(Path("out/k_results.txt").read_text().splitlines()) == 4


def test_recordings_of_epochs_before_a_stop_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spikes, voltages and weights: the files and what is returned are those of an unbroken run."""
    change: dict[str, Any] = {"REC_SPIKES": ["hidden", "input"], "REC_NEURONS": [["output", "V"]], "N_EPOCH": 4}
    change |= {"REC_SYNAPSES": [["hid_to_out", "w"]], "REC_NEURONS_EPOCH_TRIAL": [[0, 1], [3, 0]]}
    change |= {"COLLECT_CONFUSION": True, "REC_PREDICTIONS": True}
    whole = yinyang(p(OUT_DIR="whole", **change)).train(p(OUT_DIR="whole", **change))
    stop_in_epoch(monkeypatch, 2, Stop, **change)
    assert not Path("out/k_hidden_spike_t.npy").exists()
    resumed = yinyang(p(**change)).train(p(LOAD_LAST=True, **change))
    assert files_of("out") == files_of("whole")
    assert "k_hidden_spike_t.npy" in files_of("out") and resumed.spike_t["hidden"].size > 100
    for a, b in zip(resumed[:4], whole[:4], strict=True):
        assert a.keys() == b.keys() and all(np.array_equal(a[name], b[name], equal_nan=True) for name in a)
    shape = "recorded with DT_MS=1.0, and recordings with DT_MS=2.0 have another shape"
    with pytest.warns(UserWarning, match="DT_MS 1.0 -> 2.0"), pytest.raises(ValueError, match=shape):
        run(LOAD_LAST=True, **{**change, "N_EPOCH": 5, "DT_MS": 2.0})


def test_a_run_that_stopped_behind_its_last_epoch_gets_its_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train_test", *words()]
    assert cli.main("yinyang", arguments) == 0
    first = capsys.readouterr().out
    pictures = {path.name: path.read_bytes() for path in Path("out").glob("*.png")}
    assert {"k_raster.png", "k_confusion.png", "k_learning.png"} <= pictures.keys()
    for name in pictures:
        Path("out", name).unlink()
    assert cli.main("yinyang", [*arguments, "LOAD_LAST=true"]) == 0
    again = capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in Path("out").glob("*.png")} == pictures
    line = next(line for line in first.splitlines() if line.startswith("test accuracy"))
    assert line in again.splitlines() and "nothing is left to train" in again


def test_a_checkpoint_does_not_grow() -> None:
    """Its size is that of the first epoch, whatever was collected; history is in the journal."""
    sizes = {}
    for n in (2, 40):
        run(N_EPOCH=n, COLLECT_CONFUSION=True, REC_PREDICTIONS=True, NAME=f"n{n}")
        sizes[n] = Path(f"out/n{n}_state_last.npz").stat().st_size
    assert abs(sizes[40] - sizes[2]) < 100
    assert len(np.load("out/n40_predictions_train.npy")) == 40


def test_results_are_appended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that somebody added while the run was at it stays, and a line that was cut short is made whole."""
    each: list[str] = []
    original = trainer.epoch_record

    def noting(epoch: int, *rest: Any) -> Any:
        if epoch == 2:
            each.append(Path("out/k_results.txt").read_text())
            with Path("out/k_results.txt").open("a") as file:
                file.write("# mine\n")
        return original(epoch, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "epoch_record", noting)
        run(N_EPOCH=3)
    lines = Path("out/k_results.txt").read_text().splitlines()
    assert len(each[0].splitlines()) == 2 and lines[2] == "# mine" and [x[0] for x in lines] == ["0", "1", "#", "2"]
    run(N_EPOCH=2, NAME="short")
    path = Path("out/short_results.csv")
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    run(N_EPOCH=2, NAME="short", LOAD_LAST=True)
    assert path.read_bytes() == whole


def test_ease_in_can_be_switched_off_when_going_on() -> None:
    """The rate is the nominal one from then on."""
    run(N_EPOCH=1, LR_EASE_IN_FACTOR=1.05)
    with pytest.warns(UserWarning, match=r"LR_EASE_IN_FACTOR 1\.05 -> None"):
        mn = run(N_EPOCH=2, LR_EASE_IN_FACTOR=None, LOAD_LAST=True)
    rates = [record["learning_rate"] for record in mn.history]
    assert rates[0] < 1e-3 * p()["ETA"] * 1.05**3 and rates[1] == p()["ETA"]


def changed(path: Path, change: Callable[[dict[str, Any], dict[str, np.ndarray]], None]) -> None:
    """Edit meta data and arrays of a checkpoint, as somebody could with NumPy."""
    with np.load(path) as file:
        arrays = dict(file)
    meta = json.loads(str(arrays.pop("meta")))
    change(meta, arrays)
    np.savez(path, meta=np.array(json.dumps(meta)), **arrays)  # type: ignore[arg-type]


WRONG = [
    "meta.pop('p')",
    "meta.update(p=[])",
    "meta.pop('rate')",
    "meta.update(rate=3)",
    "meta.update(rate={**meta['rate'], 'working': 'fast'})",
    "meta.update(rate={**meta['rate'], 'colour': 1})",
    "meta.update(rate={**meta['rate'], 'working': float('nan')})",
    "meta.update(places={'a': 3})",
    "meta.update(places=None)",
    "meta.update(epoch='1')",
    "meta.update(epoch=-1)",
    "meta.update(updates=None)",
    "meta.pop('best')",
    "meta.update(seconds=True)",
    "meta.update(journal=3)",
    "meta.update(journal={**meta['journal'], 'checksum': 1})",
    "meta.update(format=99)",
    "meta.update(format='3')",
    "meta.update(history=3)",
    "arrays.pop('w/in_to_hid')",
    "arrays.pop('m/in_to_hid')",
    "[arrays.pop(n) for n in list(arrays) if n.startswith('v/')]",
    "arrays.update({'w/in_to_hid': arrays['w/in_to_hid'].T})",
    "arrays.update({'w/in_to_hid': arrays['w/in_to_hid'].astype(complex)})",
    "arrays.update({'w/in_to_hid': arrays['w/in_to_hid'].astype(str)})",
    "arrays.update({'m/in_to_hid': arrays['m/in_to_hid'] + np.inf})",
    "arrays.update({'v/hid_to_out': arrays['v/hid_to_out'].astype(int)})",
    "arrays.update({'x/hid_to_out': arrays['v/hid_to_out']})",
]


@pytest.mark.parametrize("code", WRONG)
def test_contents_of_another_form_are_named(code: str) -> None:
    """What somebody edited, or another program wrote, is one error with the file's name, and nothing is written."""
    run(N_EPOCH=1)
    path = Path("out/k_state_last.npz")
    changed(path, lambda meta, arrays: exec(code, {"meta": meta, "arrays": arrays, "np": np}))
    before = {file.name: file.read_bytes() for file in Path("out").iterdir()}
    with pytest.raises(ValueError, match=r"^out/k_(state_last\.npz|journal\.bin)"):
        run(N_EPOCH=2, LOAD_LAST=True)
    assert {file.name: file.read_bytes() for file in Path("out").iterdir()} == before


def test_seeds_of_a_checkpoint_are_whole_numbers() -> None:
    run(N_EPOCH=1, MODEL_SEED=None)
    changed(Path("out/k_state_last.npz"), lambda meta, _: meta["p"].update(MODEL_SEED="x"))
    with pytest.raises(ValueError, match=r"k_state_last\.npz has no whole numbers for TRAIN_DATA_SEED"):
        run(N_EPOCH=2, MODEL_SEED=None, LOAD_LAST=True)


def test_a_checkpoint_of_an_earlier_version_goes_on() -> None:
    """Format 2, with history and collected arrays inside, and numpy 1.26's stray array: the bits of an unbroken run."""
    run(N_EPOCH=4, OUT_DIR="whole", COLLECT_CONFUSION=True)
    run(N_EPOCH=2, COLLECT_CONFUSION=True)
    path = Path("out/k_state_last.npz")
    state, _ = checkpoint.load(path, run(WRITE_TO_DISK=False)._network)

    def older(meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        del meta["journal"], meta["p"]["METHOD"]
        meta |= {"format": 2, "history": state.history}
        arrays |= {f"collected/{name}": np.stack(rows) for name, rows in state.collected.items()}
        arrays["allow_pickle"] = np.array(False)

    changed(path, older)
    Path("out/k_journal.bin").unlink()
    run(N_EPOCH=3, LOAD_LAST=True, COLLECT_CONFUSION=True)
    run(N_EPOCH=4, LOAD_LAST=True, COLLECT_CONFUSION=True)
    assert files_of("out") == files_of("whole")


def test_a_simulator_can_be_sent_to_another_process() -> None:
    """Pickled and read back it predicts, tests and trains alike; the data set is not part of what is sent."""
    mn = run()
    sent = pickle.dumps(mn)
    copy = pickle.loads(sent)
    assert all(np.array_equal(copy.weights()[name], w) for name, w in mn.weights().items())
    assert [r["train_loss"] for r in copy.history] == [r["train_loss"] for r in mn.history]
    assert copy.test(p(WRITE_TO_DISK=False))[4] == mn.test(p(WRITE_TO_DISK=False))[4]
    many = yinyang(p(N_TRAIN=4000))
    assert len(pickle.dumps(many)) < len(sent) + 100_000


def test_train_test_says_what_it_trains_on(small_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """N_TRAIN has no effect there: a line says so, and the saved parameters have the number and the method."""
    q = {**simulator_SHD.p, "DATA_DIR": str(small_data), "NUM_HIDDEN": 8, "DT_MS": 5.0, "TRIAL_MS": 700.0}
    q |= {"N_TRAIN": 30, "N_EPOCH": 1, "MODEL_SEED": 1, "INPUT_HIDDEN_MEAN": 0.05}
    SHD_model(q).train_test(q)
    assert "120 samples train, not N_TRAIN=30: train_test takes the whole training file" in capsys.readouterr().out
    saved = json.loads(Path("test.json").read_text())
    assert (saved["N_TRAIN"], saved["METHOD"]) == (120, "train_test")
    SHD_model(saved).train_test({**saved, "NAME": "again"})
    assert "not N_TRAIN" not in capsys.readouterr().out
    first, again = (np.load(f"{name}_w_input_hidden_last.npy") for name in ("test", "again"))
    assert np.array_equal(first, again)
    SHD_model({**q, "N_VALIDATE": 0}).train({**q, "N_VALIDATE": 0, "NAME": "all"})
    assert "not N_TRAIN=30: with N_VALIDATE=0" in capsys.readouterr().out


def test_transposed_flat_weights_are_refused() -> None:
    """As many numbers in another order are other weights."""
    mn = run()
    Path("out/k_state_last.npz").unlink()
    weights = mn.weights()["in_to_hid"]
    path = Path("out/k_w_input_hidden_last.npy")
    np.save(path, weights)
    assert np.array_equal(checkpoint._read_flat(path, (5, 20)), weights)
    for wrong in (weights.T, weights.reshape(5, 20, 1), weights.reshape(10, 10)):
        np.save(path, wrong)
        with pytest.raises(ValueError, match=r"k_w_input_hidden_last\.npy must hold 100 finite numbers, in one row or"):
            yinyang(p()).predict(p(LOAD_LAST=True), [{"x": [0], "t": [1.0]}])


def test_a_damaged_checkpoint_is_not_overwritten_by_a_new_run() -> None:
    """It cannot be told from a trained one, so it is kept."""
    run()
    Path("out/k_state_last.npz").write_bytes(b"damaged")
    run()
    assert Path("out/k_state_last_previous_1.npz").read_bytes() == b"damaged"


def test_archives_are_read_whole(tmp_path: Path) -> None:
    """One changed byte anywhere in the arrays of a checkpoint is found by the archive's checksum."""
    run(N_EPOCH=1)
    path = Path("out/k_state_last.npz")
    data = path.read_bytes()
    with np.load(io.BytesIO(data)) as file:
        at = data.index(file["w/in_to_hid"].tobytes())
    path.write_bytes(data[: at + 7] + bytes([data[at + 7] ^ 1]) + data[at + 8 :])
    with pytest.raises(ValueError, match=r"k_state_last\.npz is not a whole checkpoint.*CRC"):
        run(N_EPOCH=2, LOAD_LAST=True)
