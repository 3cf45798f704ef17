"""The keys of ``p``, each declared once, with the default of most benchmarks; a benchmark takes them with its own.

Keys of one benchmark alone are declared beside it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from eventprop import models, network
from eventprop.backends import devices
from eventprop.parameters.checks import check_together
from eventprop.parameters.declaration import Defaults, Key, at_home, resolve

__all__ = ["ALIASES", "DEAD", "LONG_TRIALS", "METHODS", "OF_OTHERS", "SHARED", "declare", "resolve_benchmark"]

METHODS = ("train", "test", "train_test")
"""What every benchmark can do; some also cross-validate."""

_NEURONS = (("hidden", "hidden0"),)
_SYNAPSES = (("hid_to_hid", "hid_to_hid0"),)


_GENERAL = (
    Key("NAME", "General", "str", "test", "Name of the experiment; results of a name that exists are appended."),
    Key(
        "METHOD",
        "General",
        "str",
        None,
        "What the command line and scans do where they are not told; a run saves here how it was made.",
        optional=True,
        choices=METHODS,
    ),
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
        "SPIKE_TIMING",
        "General",
        "str",
        "grid",
        "When neurons spike: at the ends of steps (grid), as published, or at the true times within steps (exact).",
        choices=tuple(network.SPIKE_TIMINGS),
    ),
    Key(
        "BUILD",
        "General",
        "bool",
        True,
        "Whether GeNN's code is built where that has not been done yet; if not, it is an error. No effect on the CPU "
        "backend.",
    ),
    Key(
        "TIMING",
        "General",
        "bool",
        True,
        "Whether time per epoch (on GeNN, also its kernels') is reported after training.",
    ),
    Key(
        "BACKEND",
        "General",
        "str",
        "auto",
        "What computes the network: this project's own CPU backend (cpu), or GeNN; auto takes GeNN where it is "
        "installed and finds a GPU, else cpu.",
        choices=devices.BACKENDS,
    ),
    Key(
        "PIPELINE",
        "General",
        "bool",
        True,
        "Whether, on GeNN with a GPU, a batch runs backwards while the next one runs forwards, as published: faster, "
        "with gradients one batch late.",
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
)

_EXPERIMENT = (
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
        "Seed of initial weights and time constants, dropout, noise and rewiring; None draws one.",
        optional=True,
        least=0,
    ),
    Key("TRIAL_MS", "Experiment", "float", 1400.0, "Duration of a trial; later spikes are cut off.", "ms", above=0.0),
    Key(
        "N_MAX_SPIKE",
        "Experiment",
        "int",
        1500,
        "Size of GeNN's buffer of each neuron's spikes, over two trials; later ones have no gradient, and a warning "
        "says so. The CPU backend's spike log has no limit.",
        "spikes",
        least=2,
        most=1000000,
    ),
    Key("N_BATCH", "Experiment", "int", 32, "Samples in a batch.", least=1, most=65536),
    Key("N_TRAIN", "Experiment", "int", 7644, "Training samples.", least=1),
    Key(
        "N_VALIDATE",
        "Experiment",
        "int",
        512,
        "Validation samples; 0 for none, and then all samples train (of MNIST's files and Yin-Yang N_TRAIN).",
        least=0,
    ),
    Key("N_EPOCH", "Experiment", "int", 100, "Epochs.", least=1),
    Key("SHUFFLE", "Experiment", "bool", True, "Whether training samples are shuffled anew in each epoch."),
)

_NETWORK = (
    Key("NUM_HIDDEN", "Network", "int", 256, "Neurons in each hidden layer.", least=1, most=65535),
    Key("RECURRENT", "Network", "bool", False, "Whether hidden layers are connected all to all, each with itself."),
    Key("N_HID_LAYER", "Network", "int", 1, "Hidden layers, each fed by the one before.", least=1, most=100),
    Key("N_INPUT_DELAY", "Network", "int", 0, "Delayed copies of all input channels, besides the original.", least=0),
    Key(
        "INPUT_DELAY",
        "Network",
        "float",
        50.0,
        "Delay from one copy to the next, a multiple of DT_MS.",
        "ms",
        above=0.0,
    ),
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
        "Hidden neurons; hetLIF draws time constants around TAU_MEM and TAU_SYN for each, ALIF adapts its threshold.",
        choices=tuple(network.HIDDEN_NEURONS),
    ),
    Key(
        "OUTPUT_NEURON_TYPE",
        "Model",
        "str",
        "LI",
        "Output neurons; hetLI draws time constants for each; first-spike losses take LIF, and LI as LIF.",
        choices=tuple(network.OUTPUT_NEURONS),
    ),
    Key("TAU_B", "Model", "float", 100.0, "Time constant of the adaptation of ALIF neurons.", "ms", above=0.0),
    Key("B_INCR", "Model", "float", 0.1, "What a spike of an ALIF neuron adds to its threshold."),
    Key("B_INIT", "Model", "float", 0.0, "What is added to the threshold of ALIF neurons at the start of a trial."),
    *_weights("INPUT_HIDDEN", 0.078, 0.045, "from input to hidden neurons"),
    *_weights("HIDDEN_OUTPUT", 0.2, 0.37, "from hidden to output neurons"),
    *_weights("HIDDEN_HIDDEN", 0.2, 0.37, "of recurrent connections"),
    *_weights("HIDDEN_HIDDENFWD", 0.02, 0.01, "from one hidden layer to the next"),
    Key(
        "PDROP_INPUT",
        "Model",
        "float",
        0.2,
        "Probability with which an input spike is deleted in training.",
        least=0.0,
        below=1.0,
    ),
    Key(
        "PDROP_HIDDEN",
        "Model",
        "float",
        0.0,
        "Probability with which a hidden spike is dropped in training: the neuron is reset, its spike goes nowhere.",
        least=0.0,
        below=1.0,
    ),
    Key(
        "HIDDEN_NOISE",
        "Model",
        "float",
        0.0,
        "Noise on hidden membranes in training: what 1 ms adds has this standard deviation.",
        "1/sqrt(ms)",
        least=0.0,
    ),
    Key(
        "REG_TYPE",
        "Model",
        "str",
        "none",
        "Regularisation of hidden activity: simple for each neuron, Thomas1 also for each layer.",
        choices=tuple(models.REGULARISERS),
    ),
    Key("LBD_UPPER", "Model", "float", 0.000005, "Strength of regularisation for neurons above NU_UPPER.", least=0.0),
    Key("LBD_LOWER", "Model", "float", 0.001, "Strength of regularisation for neurons below NU_UPPER.", least=0.0),
    Key("NU_UPPER", "Model", "float", 2.0, "Target of spikes per hidden neuron and trial.", "spikes", least=0.0),
    Key("RHO_UPPER", "Model", "float", 5000.0, "Thomas1's target of spikes per layer and trial.", "spikes", least=0.0),
    Key("GLB_UPPER", "Model", "float", 1e-5, "Strength of Thomas1's regularisation above RHO_UPPER.", least=0.0),
    Key(
        "REWIRE_SILENT",
        "Model",
        "bool",
        False,
        "Whether hidden neurons that were silent in an epoch get new feed-forward weights, drawn as at the start.",
    ),
    Key(
        "REWIRE_LIFT",
        "Model",
        "float",
        0.0,
        "What is added to silent neurons' feed-forward weights, in place of new ones; 0 for new ones.",
    ),
)


def _when(key: str, what: str) -> Key:
    return Key(
        f"{key}_EPOCH_TRIAL",
        "Recording",
        "pairs",
        [],
        f"[epoch, trial] pairs at which {what} recorded; None for all of them.",
        optional=True,
    )


_LEARNING = (
    Key("ETA", "Learning", "float", 5e-3, "Learning rate; with 0 nothing is learned.", least=0.0),
    Key("ETA_DECAY", "Learning", "float", 1.0, "Factor on the learning rate at the start of each epoch.", above=0.0),
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
        "Scale of gradients in training: reference divides the loss's by TAU_MEM (max: TRIAL_MS; first spikes: 1), as "
        "published strengths of regularisation expect; true takes them as they are.",
        choices=tuple(network.LOSS_SCALES),
    ),
    Key("TRAIN_TAU", "Learning", "bool", False, "Whether tau_mem and tau_syn of hidden neurons are trained."),
    Key("TRAIN_TAU_B", "Learning", "bool", False, "Whether tau_b of ALIF neurons is trained."),
    Key("MIN_TAU_M", "Learning", "float", 3.0, "Least tau_mem that is trained or drawn.", "ms", above=0.0),
    Key("MIN_TAU_SYN", "Learning", "float", 1.0, "Least tau_syn that is trained or drawn.", "ms", above=0.0),
    Key("MIN_TAU_B", "Learning", "float", 1.0, "Least tau_b that is trained.", "ms", above=0.0),
    Key("TRAIN_TAU_OUTPUT", "Learning", "bool", False, "Whether tau_mem and tau_syn of outputs are trained."),
    Key("TRAIN_W", "Learning", "bool", True, "Whether weights onto hidden neurons are trained."),
    Key("TRAIN_W_OUTPUT", "Learning", "bool", True, "Whether weights onto output neurons are trained."),
)

_RECORDING = (
    Key("W_OUTPUT_EPOCH_TRIAL", "Recording", "pairs", [], "[epoch, trial] pairs after which weights are saved."),
    Key(
        "TAU_OUTPUT_EPOCH_TRIAL", "Recording", "pairs", [], "[epoch, trial] pairs after which time constants are saved."
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
    _when("REC_SPIKES", "spikes are"),
    Key("REC_SPIKES", "Recording", "names", [], "Neuron populations whose spikes are recorded.", renames=_NEURONS),
    _when("REC_NEURONS", "neurons are"),
    Key(
        "REC_NEURONS",
        "Recording",
        "variables",
        [],
        "[population, variable] pairs that are recorded: Isyn, V, lambda_V, lambda_I; of ALIF also B, lambda_B.",
        renames=_NEURONS,
    ),
    _when("REC_SYNAPSES", "synapses are"),
    Key(
        "REC_SYNAPSES",
        "Recording",
        "variables",
        [],
        "[synapse population, variable] pairs that are recorded: w, gradient.",
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
    Key("LOSS_TYPE", "Loss", "str", "sum_weigh_exp", "Loss function.", choices=tuple(models.LOSSES)),
    Key(
        "CUDA_VISIBLE_DEVICES",
        "Loss",
        "bool",
        True,
        "Whether GeNN takes the first GPU that is visible to it, and not the one it finds best; no effect on the CPU.",
    ),
    Key("AVG_SNSUM", "Loss", "bool", False, "Whether regularisation sees spike counts averaged over the batch."),
    Key(
        "AUGMENTATION",
        "Loss",
        "dict",
        {},
        "Changes to training samples, drawn anew in each epoch, in this order: random_shift (channels) or, for "
        "cameras, random_shift_xy (whole cells, in x and in y), random_dilate ([least, most] factor on times), "
        "ID_jitter (s.d. in channels), blend ([probability, ...]: samples of a class joined, until there are N_TRAIN); "
        "NORMALISE_SPIKE_NUMBER thins all samples to the shortest one's spikes.",
    ),
    Key(
        "REDUCED_CLASSES",
        "Loss",
        "ints",
        None,
        "Classes to use; None for all. Labels keep their numbers, and there is an output for every class.",
        optional=True,
    ),
    Key("TAU_0", "Loss", "float", 1.0, "Temperature of the softmax over first spikes.", "ms", above=0.0),
    Key("TAU_1", "Loss", "float", 100.0, "Time scale of the penalty of first_spike_exp.", "ms", above=0.0),
    Key("ALPHA", "Loss", "float", 5e-5, "Strength of the penalty of late first spikes.", least=0.0),
    Key("TAU_ACCUMULATOR", "Loss", "float", 20.0, "Time constant of sum_weigh_input's input average.", "ms", above=0.0),
)

SHARED: tuple[Key, ...] = (*_GENERAL, *_EXPERIMENT, *_NETWORK, *_MODEL, *_LEARNING, *_RECORDING, *_LOSS)

ALIASES = {"TRAIL_MS": "TRIAL_MS", "N_EPOCHS": "N_EPOCH"}

DEAD = {
    **dict.fromkeys(("TAU_MEM_OUTPUT", "NU_LOWER", "SUPER_BATCH", "DEBUG", "READ_BUFFERED", "DOWNLOAD_SHD"), ""),
    **dict.fromkeys(("ETA_FIDDELING", "ETA_REDUCE", "ETA_REDUCE_PERIOD", "TRAIN", "ORIG_NAME"), ""),
    "REGULARISATION": "REG_TYPE",
    "TRAIN_TAUM": "TRAIN_TAU",
    "TAUM_OUTPUT_EPOCH_TRIAL": "TAU_OUTPUT_EPOCH_TRIAL",
}
"""Keys of old scripts that have no effect, with what to use instead."""

OF_OTHERS = {
    **dict.fromkeys((key.name for key in SHARED), ""),
    **dict.fromkeys(
        ("N_TEST", "SPEAKER_LEFT", "EVALUATION", "DATA_SET", "DATA_BUFFER_NAME", "RESCALE_T", "RESCALE_X"), ""
    ),
    **dict.fromkeys(("BALANCE_TRAIN_CLASSES", "BALANCE_EVAL_CLASSES", "PROFILE", "TEST_ST_INTEGRITY"), ""),
    **dict.fromkeys(("T_START_MS", "DOWNSAMPLE", "EVENT_THRESHOLD"), ""),
    **dict.fromkeys(("ENCODING", "NUM_INPUT", "DUPLICATE", "PIXEL_MS", "PERMUTE"), ""),
    **dict.fromkeys(("TRAINING_PLOT", "TRAINING_PLOT_INTERVAL", "FANCY_PLOTS"), ""),
    "DATASET": "DATA_SET",
    "PDROP": "PDROP_HIDDEN",
    "W_REPORT_INTERVAL": "W_OUTPUT_EPOCH_TRIAL",
    "W_EPOCH_INTERVAL": "W_OUTPUT_EPOCH_TRIAL",
    "W_OUTPUT_EPOCH_TRIAL": "W_REPORT_INTERVAL",
}
"""Keys that some benchmarks have, with what to use instead where they have no effect."""


LONG_TRIALS: dict[str, Any] = {
    "INPUT_HIDDEN_MEAN": 0.02,
    "INPUT_HIDDEN_STD": 0.01,
    "HIDDEN_OUTPUT_MEAN": 0.0,
    "HIDDEN_OUTPUT_STD": 0.3,
    "HIDDEN_HIDDEN_MEAN": 0.0,
    "HIDDEN_HIDDEN_STD": 0.02,
    "PDROP_INPUT": 0.1,
    "LBD_UPPER": 2e-9,
    "LBD_LOWER": 2e-9,
    "NU_UPPER": 14.0,
    "RHO_UPPER": 1e4,
    "GLB_UPPER": 1e-8,
    "ETA": 1e-3,
    "LR_EASE_IN_FACTOR": None,
    "TAU_0": 0.5,
    "TAU_1": 100.0,  # 6.4 would make exp(TRIAL_MS / TAU_1) too large a number
    "ALPHA": 3e-3,
}
"""Defaults of the benchmarks whose trials last seconds: event cameras and sequential MNIST."""


def declare(
    own: Sequence[Key],
    defaults: Mapping[str, Any] | None = None,
    without: Sequence[str] = (),
    methods: Sequence[str] = METHODS,
) -> tuple[Key, ...]:
    """The keys of a benchmark, group by group: the shared ones and its own.

    Args:
        defaults: its own defaults of shared keys.
        without: shared keys that it has not.
        methods: what it can do.
    """
    values = defaults or {}
    assert set(values) | set(without) <= {key.name for key in SHARED}
    kept = [key for key in SHARED if key.name not in without]
    found = [replace(key, default=values[key.name]) if key.name in values else key for key in kept]
    found = [replace(key, choices=tuple(methods)) if key.name == "METHOD" else key for key in found]
    groups = list(dict.fromkeys(key.group for key in [*found, *own]))
    return tuple(sorted([*found, *own], key=lambda key: groups.index(key.group)))


def resolve_benchmark(
    p: Mapping[str, Any],
    keys: Sequence[Key],
    num_channels: int | Callable[[Mapping[str, Any]], int],
    aliases: Mapping[str, str] = ALIASES,
    dead: Mapping[str, str] = DEAD,
    own: Callable[[Mapping[str, Any]], list[str]] | None = None,
    owner: tuple[str, str] = ("", ""),
) -> dict[str, Any]:
    """``p`` complete and checked, as a new dict; the caller's is not changed.

    Args:
        num_channels: of the benchmark's input; a function where it depends on what is right in ``p``.
        aliases, dead: as in :func:`eventprop.parameters.declaration.resolve`.
        own: what else is wrong in this benchmark, a line each, given what is right by itself.
        owner: the benchmark's module and class.

    Raises:
        ValueError: everything that is wrong, one line each; or that ``p`` is another benchmark's.
    """
    if isinstance(p, Defaults):
        p.check(owner)
    resolved, problems = resolve(p, keys, aliases, dead, OF_OTHERS)
    resolved = at_home(resolved)
    problems += check_together(resolved, num_channels(resolved) if callable(num_channels) else num_channels)
    problems += own(resolved) if own else []
    if problems:
        raise ValueError("\n".join(problems))
    if resolved["SPK_REC_STEPS"] is None:
        resolved["SPK_REC_STEPS"] = round(resolved["TRIAL_MS"] / resolved["DT_MS"])
    if resolved["CHECKPOINT_BEST"] == "validation" and resolved["N_VALIDATE"] == 0:
        warnings.warn('CHECKPOINT_BEST="validation" with N_VALIDATE=0: train() has nothing to choose by', stacklevel=4)
    if resolved["ETA"] == 0.0:
        warnings.warn("ETA=0: nothing is learned", stacklevel=4)
    if resolved["REWIRE_LIFT"] != 0.0 and not resolved["REWIRE_SILENT"]:
        warnings.warn(f"REWIRE_LIFT={resolved['REWIRE_LIFT']:g} has no effect without REWIRE_SILENT", stacklevel=4)
    return resolved
