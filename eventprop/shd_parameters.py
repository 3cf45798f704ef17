"""The parameters of the SHD and SSC benchmark, each declared once, and what must hold between them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from eventprop.parameters import Key, resolve

__all__ = ["KEYS", "resolve_shd"]

_SUMS = ("sum", "sum_weigh_linear", "sum_weigh_exp", "sum_weigh_sigmoid")
_NEURONS = (("hidden", "hidden0"),)
_SYNAPSES = (("hid_to_hid", "hid_to_hid0"),)
_LOSSES = ("first_spike", "first_spike_exp", "max", *_SUMS, "sum_weigh_input", "avg_xentropy")


def _later(name: str, group: str, kind: str, default: Any, sentence: str, unit: str = "", **more: Any) -> Key:
    """A key of a feature that is not there yet: only its default is accepted."""
    return Key(name, group, kind, default, sentence, unit, available=(default,), **more)


_GENERAL = (
    Key("NAME", "General", "str", "test", "Name of the experiment; results of a name that exists are appended."),
    Key("DEBUG_HIDDEN_N", "General", "bool", False, "Whether the results file has columns on hidden activity."),
    Key("OUT_DIR", "General", "str", ".", "Folder for results; made if it is missing."),
    Key(
        "DATA_DIR",
        "General",
        "str",
        "./data",
        "Folder of data sets; missing files are downloaded to it by tonic, if installed.",
    ),
    Key("DT_MS", "General", "float", 1.0, "Time step of the simulation.", "ms", above=0.0),
    Key(
        "BUILD",
        "General",
        "bool",
        True,
        "Whether GeNN code is rebuilt; the CPU backend caches its code by content either way.",
    ),
    Key("TIMING", "General", "bool", True, "Whether time per epoch is reported after training."),
    Key(
        "BACKEND",
        "General",
        "str",
        "auto",
        "What computes the network; auto takes the best that is installed.",
        choices=("auto", "cpu", "cuda", "hip", "single_threaded_cpu"),
        available=("auto", "cpu"),
    ),
    Key(
        "NUM_THREADS",
        "General",
        "int",
        None,
        "Threads of the CPU backend; None takes all cores that the process may use. It never changes a result.",
        optional=True,
        least=1,
        most=1024,
    ),
    _later("PROFILE", "General", "bool", False, "Benchmarking mode of the older program."),
    _later("TEST_ST_INTEGRITY", "General", "bool", False, "Debugging plots of spike arrays."),
)

_EXPERIMENT = (
    Key(
        "DATA_SET",
        "Experiment",
        "str",
        "SHD",
        "Data set; DEMO is synthetic, small and needs no download.",
        choices=("SHD", "SSC", "DEMO"),
        available=("SHD", "DEMO"),
    ),
    Key(
        "TRAIN_DATA_SEED",
        "Experiment",
        "int",
        123,
        "Seed of splits and shuffling; None draws one.",
        optional=True,
        least=0,
    ),
    Key(
        "TEST_DATA_SEED",
        "Experiment",
        "int",
        456,
        "Seed for test data; SHD's test file is taken as it is.",
        optional=True,
        least=0,
    ),
    Key(
        "MODEL_SEED",
        "Experiment",
        "int",
        None,
        "Seed of initial weights and input dropout; None draws one.",
        optional=True,
        least=0,
    ),
    Key("TRIAL_MS", "Experiment", "float", 1400.0, "Duration of a trial; later spikes are cut off.", "ms", above=0.0),
    Key(
        "N_MAX_SPIKE",
        "Experiment",
        "int",
        1500,
        "Size of GeNN's buffer of saved spikes, over two trials; the CPU backend's spike log has no limit.",
        "spikes",
        least=2,
    ),
    Key("N_BATCH", "Experiment", "int", 32, "Samples in a batch.", least=1, most=65536),
    Key("N_TRAIN", "Experiment", "int", 7644, "Training samples.", least=1),
    Key("N_VALIDATE", "Experiment", "int", 512, "Validation samples; 0 for none, and then all samples train.", least=0),
    Key("N_EPOCH", "Experiment", "int", 100, "Epochs.", least=1),
    Key("SHUFFLE", "Experiment", "bool", True, "Whether training samples are shuffled anew in each epoch."),
    _later("RESCALE_T", "Experiment", "float", 1.0, "Factor on spike times."),
    _later("RESCALE_X", "Experiment", "float", 1.0, "Factor on channel numbers."),
    _later("BALANCE_TRAIN_CLASSES", "Experiment", "bool", False, "Whether training classes are made equally large."),
    _later("BALANCE_EVAL_CLASSES", "Experiment", "bool", False, "Whether evaluation classes are made equally large."),
    _later("DATA_BUFFER_NAME", "Experiment", "str", "./data/SSC/mySSC", "Prefix of SSC's cache files."),
)

_NETWORK = (
    Key("NUM_HIDDEN", "Network", "int", 256, "Hidden neurons.", least=1, most=65535),
    Key("RECURRENT", "Network", "bool", False, "Whether hidden neurons are connected all to all, themselves included."),
    _later("N_HID_LAYER", "Network", "int", 1, "Hidden layers.", least=1),
    _later("N_INPUT_DELAY", "Network", "int", 0, "Delayed copies of the input.", least=0),
    _later("INPUT_DELAY", "Network", "float", 50.0, "Delay from one copy of the input to the next.", "ms", above=0.0),
)


def _weights(prefix: str, mean: float, sd: float, which: str) -> tuple[Key, Key]:
    return (
        Key(f"{prefix}_MEAN", "Model", "float", mean, f"Mean of initial weights {which}."),
        Key(f"{prefix}_STD", "Model", "float", sd, f"Standard deviation of initial weights {which}.", least=0.0),
    )


_MODEL = (
    Key("TAU_SYN", "Model", "float", 5.0, "Synaptic time constant.", "ms", above=0.0),
    Key("TAU_MEM", "Model", "float", 20.0, "Membrane time constant.", "ms", above=0.0),
    Key("V_THRESH", "Model", "float", 1.0, "Spiking threshold.", above=0.0),
    Key("V_RESET", "Model", "float", 0.0, "Reset potential, below the threshold."),
    Key(
        "HIDDEN_NEURON_TYPE",
        "Model",
        "str",
        "LIF",
        "Hidden neurons.",
        choices=("LIF", "hetLIF", "ALIF"),
        available=("LIF",),
    ),
    Key("OUTPUT_NEURON_TYPE", "Model", "str", "LI", "Output neurons.", choices=("LI", "hetLI"), available=("LI",)),
    _later("TAU_B", "Model", "float", 100.0, "Time constant of adaptation of ALIF neurons.", "ms", above=0.0),
    _later("B_INCR", "Model", "float", 0.1, "Increment of the adaptation at a spike."),
    _later("B_INIT", "Model", "float", 0.0, "Adaptation at the start of a trial."),
    *_weights("INPUT_HIDDEN", 0.078, 0.045, "from input to hidden neurons"),
    *_weights("HIDDEN_OUTPUT", 0.2, 0.37, "from hidden to output neurons"),
    *_weights("HIDDEN_HIDDEN", 0.2, 0.37, "of recurrent connections"),
    _later("HIDDEN_HIDDENFWD_MEAN", "Model", "float", 0.02, "Mean of initial weights between hidden layers."),
    _later(
        "HIDDEN_HIDDENFWD_STD", "Model", "float", 0.01, "Standard deviation of initial weights between hidden layers."
    ),
    Key(
        "PDROP_INPUT",
        "Model",
        "float",
        0.2,
        "Probability with which an input spike is deleted in training.",
        least=0.0,
        below=1.0,
    ),
    _later("PDROP_HIDDEN", "Model", "float", 0.0, "Probability with which a hidden spike is suppressed in training."),
    _later("HIDDEN_NOISE", "Model", "float", 0.0, "Membrane noise of hidden neurons in training.", "1/sqrt(ms)"),
    Key(
        "REG_TYPE",
        "Model",
        "str",
        "none",
        "Regularisation of hidden activity.",
        choices=("none", "simple", "Thomas1"),
        available=("none", "simple"),
    ),
    Key("LBD_UPPER", "Model", "float", 0.000005, "Strength of regularisation for neurons above NU_UPPER.", least=0.0),
    Key("LBD_LOWER", "Model", "float", 0.001, "Strength of regularisation for neurons below NU_UPPER.", least=0.0),
    Key("NU_UPPER", "Model", "float", 2.0, "Target of spikes per hidden neuron and trial.", "spikes", least=0.0),
    _later("RHO_UPPER", "Model", "float", 5000.0, "Target of spikes of the hidden layer per trial.", "spikes"),
    _later("GLB_UPPER", "Model", "float", 1e-5, "Strength of regularisation by the hidden layer's spikes."),
    _later("REWIRE_SILENT", "Model", "bool", False, "Whether silent hidden neurons are rewired."),
    _later("REWIRE_LIFT", "Model", "float", 0.0, "What is added to weights onto silent neurons in place of rewiring."),
)

_LEARNING = (
    Key("ETA", "Learning", "float", 5e-3, "Learning rate.", above=0.0),
    Key("ADAM_BETA1", "Learning", "float", 0.9, "Adam's decay of the mean gradient.", least=0.0, below=1.0),
    Key("ADAM_BETA2", "Learning", "float", 0.999, "Adam's decay of the mean squared gradient.", least=0.0, below=1.0),
    Key("ADAM_EPS", "Learning", "float", 1e-8, "Adam's epsilon.", least=0.0),
    Key(
        "LR_EASE_IN_FACTOR",
        "Learning",
        "float",
        1.05,
        "The rate starts at ETA/1000 and grows by this factor with each update; None for no ease-in.",
        optional=True,
        above=1.0,
    ),
    Key("EMA_ALPHA1", "Learning", "float", 0.8, "Decay of the fast average of accuracy.", least=0.0, below=1.0),
    Key("EMA_ALPHA2", "Learning", "float", 0.95, "Decay of the slow average of accuracy.", least=0.0, below=1.0),
    Key(
        "EMA_WHICH",
        "Learning",
        "str",
        "validation",
        "Accuracy that the schedule of the rate goes by.",
        choices=("validation", "training"),
    ),
    Key("ETA_FAC", "Learning", "float", 0.5, "Factor on the rate where accuracy stops improving.", above=0.0, most=1.0),
    Key("MIN_EPOCH_ETA_FIXED", "Learning", "int", 300, "Epochs for which the rate stays, at least.", "epochs", least=0),
    Key(
        "GRAD_CLIP",
        "Learning",
        "float",
        0.0,
        "Largest norm of a batch's gradient, longer ones are shortened; 0 for no clip.",
        least=0.0,
    ),
    Key(
        "MIN_DENOMINATOR",
        "Learning",
        "float",
        0.1,
        "Bound from below of I - V at a spike, by which the adjoint's jump is divided; 0 for none.",
        least=0.0,
    ),
    Key(
        "LOSS_SCALE",
        "Learning",
        "str",
        "reference",
        "Scale of gradients in training: reference divides the loss's by TAU_MEM, as published strengths of "
        "regularisation expect; true takes them as they are.",
        choices=("reference", "true"),
    ),
    _later("TRAIN_TAU", "Learning", "bool", False, "Whether hidden time constants are trained."),
    _later("MIN_TAU_M", "Learning", "float", 3.0, "Lower bound of membrane time constants.", "ms"),
    _later("MIN_TAU_SYN", "Learning", "float", 1.0, "Lower bound of synaptic time constants.", "ms"),
    _later("TRAIN_TAU_OUTPUT", "Learning", "bool", False, "Whether time constants of the outputs are trained."),
    Key("TRAIN_W", "Learning", "bool", True, "Whether weights onto hidden neurons are trained."),
    Key("TRAIN_W_OUTPUT", "Learning", "bool", True, "Whether weights onto output neurons are trained."),
)

_RECORDING = (
    _later("W_OUTPUT_EPOCH_TRIAL", "Recording", "pairs", [], "[epoch, trial] pairs at which weights are saved."),
    _later(
        "TAU_OUTPUT_EPOCH_TRIAL", "Recording", "pairs", [], "[epoch, trial] pairs at which time constants are saved."
    ),
    Key(
        "SPK_REC_STEPS",
        "Recording",
        "int",
        None,
        "Size of GeNN's spike recording buffer, a divisor of the steps of a trial; None for all of them.",
        "steps",
        optional=True,
        least=1,
    ),
    _later("REC_SPIKES_EPOCH_TRIAL", "Recording", "pairs", [], "[epoch, trial] pairs at which spikes are recorded."),
    _later("REC_SPIKES", "Recording", "names", [], "Neuron populations whose spikes are recorded.", renames=_NEURONS),
    _later("REC_NEURONS_EPOCH_TRIAL", "Recording", "pairs", [], "[epoch, trial] pairs at which neurons are recorded."),
    _later(
        "REC_NEURONS",
        "Recording",
        "variables",
        [],
        "[population, variable] pairs that are recorded.",
        renames=_NEURONS,
    ),
    _later(
        "REC_SYNAPSES_EPOCH_TRIAL", "Recording", "pairs", [], "[epoch, trial] pairs at which synapses are recorded."
    ),
    _later(
        "REC_SYNAPSES",
        "Recording",
        "variables",
        [],
        "[synapse population, variable] pairs that are recorded.",
        renames=_SYNAPSES,
    ),
    Key("WRITE_TO_DISK", "Recording", "bool", True, "Whether anything is written; False writes nothing at all."),
    Key("LOAD_LAST", "Recording", "bool", False, "Go on from the last checkpoint as if the run had not stopped."),
    Key("LOAD_BEST", "Recording", "bool", False, "Go on from the best checkpoint; it wins over LOAD_LAST."),
    Key("CHECKPOINT", "Recording", "bool", True, "Whether a checkpoint is written after every epoch."),
    Key(
        "CHECKPOINT_BEST",
        "Recording",
        "str",
        "neither",
        "Accuracy that decides which epoch's checkpoint is kept as the best.",
        choices=("neither", "validation", "training"),
    ),
    Key(
        "CHECKPOINT_NAME",
        "Recording",
        "str",
        None,
        "NAME of the run to load from; None for this run's own.",
        optional=True,
    ),
    Key("COLLECT_CONFUSION", "Recording", "bool", False, "Whether confusion matrices are collected."),
    Key("REC_PREDICTIONS", "Recording", "bool", False, "Whether predictions are recorded."),
)

_LOSS = (
    Key("LOSS_TYPE", "Loss", "str", "sum_weigh_exp", "Loss function.", choices=_LOSSES, available=_SUMS),
    Key(
        "EVALUATION",
        "Loss",
        "str",
        "random",
        "How the validation set is formed.",
        choices=("random", "speaker", "validation_set"),
        available=("random", "speaker"),
    ),
    Key(
        "SPEAKER_LEFT",
        "Loss",
        "ints",
        [0],
        "Speakers to leave out, numbers in the ascending list of the training file's.",
    ),
    Key(
        "CUDA_VISIBLE_DEVICES",
        "Loss",
        "bool",
        True,
        "Whether GeNN's manual choice of the CUDA device is used; no effect on the CPU.",
    ),
    Key("AVG_SNSUM", "Loss", "bool", False, "Whether regularisation sees spike counts averaged over the batch."),
    Key("REDUCED_CLASSES", "Loss", "ints", None, "Classes to use; None for all.", optional=True),
    _later("TAU_0", "Loss", "float", 1.0, "Softmin temperature of the first-spike losses.", "ms"),
    _later("TAU_1", "Loss", "float", 100.0, "Time scale of the penalty of first_spike_exp.", "ms"),
    _later("ALPHA", "Loss", "float", 5e-5, "Strength of the penalty of late first spikes."),
    _later("TAU_ACCUMULATOR", "Loss", "float", 20.0, "Time constant of the input average of sum_weigh_input.", "ms"),
    Key(
        "AUGMENTATION",
        "Loss",
        "dict",
        {},
        "Augmentations of training data.",
        available=({}, {"NORMALISE_SPIKE_NUMBER": False}),
    ),
)

KEYS: tuple[Key, ...] = (*_GENERAL, *_EXPERIMENT, *_NETWORK, *_MODEL, *_LEARNING, *_RECORDING, *_LOSS)

ALIASES = {"TRAIL_MS": "TRIAL_MS", "DATASET": "DATA_SET", "N_EPOCHS": "N_EPOCH"}

DEAD = {
    **dict.fromkeys(
        ("TAU_MEM_OUTPUT", "NU_LOWER", "SUPER_BATCH", "DEBUG", "READ_BUFFERED", "DOWNLOAD_SHD", "ETA_DECAY"), ""
    ),
    **dict.fromkeys(("ETA_FIDDELING", "ETA_REDUCE", "ETA_REDUCE_PERIOD", "TRAIN", "ORIG_NAME"), ""),
    "REGULARISATION": "REG_TYPE",
    "W_REPORT_INTERVAL": "W_OUTPUT_EPOCH_TRIAL",
    "W_EPOCH_INTERVAL": "W_OUTPUT_EPOCH_TRIAL",
    "TRAIN_TAUM": "TRAIN_TAU",
    "TAUM_OUTPUT_EPOCH_TRIAL": "TAU_OUTPUT_EPOCH_TRIAL",
}


def resolve_shd(p: Mapping[str, Any]) -> dict[str, Any]:
    """``p`` complete and checked, as a new dict; the caller's is not changed.

    Raises:
        ValueError: everything that is wrong, one line each.
    """
    resolved, problems = resolve(p, KEYS, ALIASES, DEAD)
    problems += _check_together(resolved)
    if problems:
        raise ValueError("\n".join(problems))
    if resolved["SPK_REC_STEPS"] is None:
        resolved["SPK_REC_STEPS"] = round(resolved["TRIAL_MS"] / resolved["DT_MS"])
    if resolved["CHECKPOINT_BEST"] == "validation" and resolved["N_VALIDATE"] == 0:
        warnings.warn('CHECKPOINT_BEST="validation" with N_VALIDATE=0: train() has nothing to choose by', stacklevel=3)
    return resolved


def _check_together(p: Mapping[str, Any]) -> list[str]:
    """What no key can check alone; a key that is wrong by itself is absent and takes no part."""
    problems = []
    if {"TRIAL_MS", "DT_MS"} <= p.keys():
        problems += _check_steps(p["TRIAL_MS"], p["DT_MS"], p.get("SPK_REC_STEPS"))
    if {"V_RESET", "V_THRESH"} <= p.keys() and p["V_RESET"] >= p["V_THRESH"]:
        problems.append(f"V_RESET={p['V_RESET']:g} must be below V_THRESH={p['V_THRESH']:g}")
    for key in ("NAME", "CHECKPOINT_NAME"):
        value = p.get(key)
        if value is not None and (not value.strip() or any(c in value for c in "/\\\0") or value in (".", "..")):
            problems.append(f"{key}={value!r} must be a file name without slashes")
    for key in ("SPEAKER_LEFT", "REDUCED_CLASSES"):
        values = p.get(key)
        if values is not None and (not values or len(set(values)) < len(values) or min(values) < 0):
            problems.append(f"{key}={values} must hold different whole numbers from 0, at least one")
    return problems


def _check_steps(trial_ms: float, dt_ms: float, spk_rec_steps: int | None) -> list[str]:
    """A trial is a whole number of steps that fits 16 bits, and the recording buffer divides it."""
    problems = []
    ratio = trial_ms / dt_ms
    if ratio > 1e9:
        return [f"TRIAL_MS={trial_ms:g} and DT_MS={dt_ms:g} make {ratio:g} steps; 3 to 65535 are possible"]
    steps = round(ratio)
    if abs(steps * dt_ms - trial_ms) > 1e-6 * trial_ms:
        near = max(3, steps) * dt_ms
        problems.append(f"TRIAL_MS={trial_ms:.10g} is no whole multiple of DT_MS={dt_ms:.10g}; {near:.10g} would be")
    if not 3 <= steps <= 65535:
        problems.append(f"TRIAL_MS={trial_ms:g} and DT_MS={dt_ms:g} make {steps} steps; 3 to 65535 are possible")
    elif spk_rec_steps is not None and steps % spk_rec_steps:
        problems.append(f"SPK_REC_STEPS={spk_rec_steps} does not divide the {steps} steps of a trial")
    return problems
