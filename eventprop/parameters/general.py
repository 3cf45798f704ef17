"""Keys of the groups General and Experiment: names, places, what computes, trials, samples, epochs."""

from __future__ import annotations

from eventprop import network
from eventprop.backends import devices
from eventprop.parameters.belonging import (
    of_choice,
    of_files,
    of_genn,
    of_learning,
    of_loop,
    of_machine,
    of_network,
    of_places,
    of_samples,
    of_simulator,
    of_spikes,
    of_steps,
    of_timing,
    of_watching,
)

METHODS = ("train", "test", "train_test")
"""What every benchmark can do; some also cross-validate."""

GENERAL = (
    of_files("NAME", "General", "str", "test", "Name of the experiment; results of a name that exists are appended."),
    of_simulator(
        "METHOD",
        "General",
        "str",
        None,
        "What the command line and scans do where they are not told; a run saves here how it was made.",
        optional=True,
        choices=METHODS,
    ),
    of_files("DEBUG_HIDDEN_N", "General", "bool", False, "Whether the results file has columns on hidden activity."),
    of_simulator(
        "VERBOSE",
        "General",
        "int",
        2,
        "What is said: 0 nothing but warnings and errors, 1 a line for each epoch, 2 on a terminal also a bar.",
        least=0,
        most=2,
    ),
    of_files("OUT_DIR", "General", "str", ".", "Folder for results; made if it is missing."),
    of_places(
        "DATA_DIR",
        "General",
        "str",
        "./data",
        "Folder of data sets; missing files are downloaded to it by tonic, if installed.",
    ),
    of_steps("DT_MS", "General", "float", 1.0, "Time step of the simulation.", "ms", above=0.0),
    of_network(
        "SPIKE_TIMING",
        "General",
        "str",
        "grid",
        "When neurons spike: at the ends of steps (grid), as published; at the true times within steps (exact); or "
        "with a reset at the true time, and a spike that leaves at the end of the step (substep).",
        choices=tuple(network.SPIKE_TIMINGS),
    ),
    of_spikes(
        "INPUT_TIMES",
        "General",
        "str",
        "grid",
        "When the input's spikes arrive: at the start of the next step (grid), or at their true times; then DT_MS does "
        'not change the network. These need SPIKE_TIMING="exact".',
        choices=("grid", "true"),
    ),
    of_learning(
        "PRECISION",
        "General",
        "str",
        "float",
        "Of all that is computed: float, or double, which takes twice the time and memory.",
        choices=tuple(network.PRECISIONS),
    ),
    of_machine(
        "BUILD",
        "General",
        "bool",
        True,
        "Whether GeNN's code is built where that has not been done yet; if not, it is an error. No effect on the CPU "
        "backend.",
    ),
    of_timing(
        "TIMING",
        "General",
        "bool",
        True,
        "Whether time per epoch (on GeNN and by several processes also of its parts) is reported after training.",
    ),
    of_machine(
        "BACKEND",
        "General",
        "str",
        "auto",
        "What computes the network: this project's own CPU backend (cpu), or GeNN; auto takes GeNN where it is "
        "installed and finds a GPU and its compiler, else cpu.",
        choices=devices.BACKENDS,
    ),
    of_genn(
        "PIPELINE",
        "General",
        "bool",
        True,
        "Whether, on GeNN with a GPU, a batch runs backwards while the next one runs forwards, as published: faster, "
        "with gradients one batch late.",
    ),
    of_machine(
        "NUM_THREADS",
        "General",
        "int",
        None,
        "Threads of the CPU backend; None takes all cores that the process may use, shared with others of the same "
        "run. It never changes a result.",
        optional=True,
        least=1,
        most=1024,
    ),
)


EXPERIMENT = (
    of_samples(
        "TRAIN_DATA_SEED",
        "Experiment",
        "int",
        123,
        "Seed of splits and shuffling; None draws one.",
        optional=True,
        least=0,
    ),
    of_choice(
        "TEST_DATA_SEED",
        "Experiment",
        "int",
        456,
        "Seed for test data; SHD's test file is taken as it is.",
        optional=True,
        least=0,
    ),
    of_learning(
        "MODEL_SEED",
        "Experiment",
        "int",
        None,
        "Seed of initial weights and time constants, dropout, noise and rewiring; None draws one.",
        optional=True,
        least=0,
    ),
    of_steps(
        "TRIAL_MS", "Experiment", "float", 1400.0, "Duration of a trial; later spikes are cut off.", "ms", above=0.0
    ),
    of_genn(
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
    of_loop("N_BATCH", "Experiment", "int", 32, "Samples in a batch.", least=1, most=65536),
    of_samples("N_TRAIN", "Experiment", "int", 7644, "Training samples.", least=1),
    of_choice(
        "N_VALIDATE",
        "Experiment",
        "int",
        512,
        "Validation samples; 0 for none, and then all samples train (of MNIST's files and Yin-Yang N_TRAIN).",
        least=0,
    ),
    of_watching("N_EPOCH", "Experiment", "int", 100, "Epochs.", least=1),
    of_simulator(
        "EARLY_STOPPING",
        "Experiment",
        "int",
        None,
        "Epochs without a better validation accuracy than the best so far after which training ends before N_EPOCH; "
        "None for no such end.",
        optional=True,
        least=1,
    ),
    of_simulator(
        "CONTINUE",
        "Experiment",
        "bool",
        False,
        "Whether another train of the same object goes on where its last one ended, by N_EPOCH epochs more; otherwise "
        "it starts anew.",
    ),
    of_samples("SHUFFLE", "Experiment", "bool", True, "Whether training samples are shuffled anew in each epoch."),
)
