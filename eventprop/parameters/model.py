"""Keys of the groups Network, Model and Loss: layers, neurons, weights, regularisation, loss."""

from __future__ import annotations

from eventprop import description, models, network
from eventprop.parameters.belonging import (
    of_classes,
    of_declarations,
    of_learning,
    of_loop,
    of_machine,
    of_network,
    of_samples,
    of_start,
)
from eventprop.parameters.declaration import Key
from eventprop.parameters.neurons import neuron_keys


def _weights(prefix: str, mean: float, sd: float, which: str) -> tuple[Key, ...]:
    return (
        of_learning(f"{prefix}_MEAN", "Model", "float", mean, f"Mean of initial weights {which}."),
        of_learning(
            f"{prefix}_STD", "Model", "float", sd, f"Standard deviation of initial weights {which}.", least=0.0
        ),
        of_network(
            f"{prefix}_P",
            "Model",
            "float",
            1.0,
            f"Probability with which each of the synapses {which} is there; the others stay silent.",
            above=0.0,
            most=1.0,
        ),
    )


NETWORK = (
    of_network(
        "NUM_HIDDEN", "Network", "int", 256, "Neurons in each hidden layer.", least=1, most=65535, per_layer=True
    ),
    of_network(
        "RECURRENT",
        "Network",
        "bool",
        False,
        "Whether hidden layers are connected all to all, each with itself.",
        per_layer=True,
    ),
    of_network("N_HID_LAYER", "Network", "int", 1, "Hidden layers, each fed by the one before.", least=1, most=100),
    of_network(
        "N_INPUT_DELAY", "Network", "int", 0, "Delayed copies of all input channels, besides the original.", least=0
    ),
    of_network(
        "INPUT_DELAY",
        "Network",
        "float",
        50.0,
        "Delay from one copy to the next, a multiple of DT_MS.",
        "ms",
        above=0.0,
    ),
)


MODEL = (
    of_network("TAU_SYN", "Model", "float", 5.0, "Synaptic time constant.", "ms", above=0.0),
    of_network("TAU_MEM", "Model", "float", 20.0, "Membrane time constant.", "ms", above=0.0),
    of_network("V_THRESH", "Model", "float", 1.0, "Spiking threshold.", above=0.0),
    of_network("V_RESET", "Model", "float", 0.0, "Reset potential, below the threshold."),
    of_network(
        "HIDDEN_NEURON_TYPE",
        "Model",
        "str",
        "LIF",
        "Hidden neurons, of models.NEURONS; hetLIF draws time constants around TAU_MEM and TAU_SYN for each.",
        choices=description.hidden_neurons,
        per_layer=True,
    ),
    of_network(
        "OUTPUT_NEURON_TYPE",
        "Model",
        "str",
        "LI",
        "Output neurons; hetLI draws time constants for each; first-spike losses take LIF, and LI as LIF.",
        choices=tuple(description.OUTPUT_NEURONS),
    ),
    *neuron_keys(models.NEURONS.values(), ("TAU_MEM", "TAU_SYN", "V_THRESH", "V_RESET")),
    of_declarations(
        "NEURONS",
        "Model",
        "dict",
        {},
        "Declarations of neurons of one's own by name; a run's saved settings have that of its HIDDEN_NEURON_TYPE.",
    ),
    of_network(
        "TRAIN_PARAMETERS",
        "Model",
        "dict",
        {},
        "Parameters of neurons that are trained besides those of TRAIN_TAU...: population (hidden0, ..., hidden for "
        'all hidden layers, output) and a list of names, as in {"hidden": ["v_thresh"]}.',
    ),
    of_network(
        "HETEROGENEOUS",
        "Model",
        "dict",
        {},
        "Parameters that are drawn for each neuron: population and a list of names, or names with a distribution: "
        "gamma (shape; the default, with 3), normal (s.d.) or uniform (least, most).",
    ),
    of_network(
        "PARAMETER_BOUNDS",
        "Model",
        "dict",
        {},
        "Bounds of trained and drawn parameters by name, [least, most], where those of the declaration do not suit.",
    ),
    *_weights("INPUT_HIDDEN", 0.078, 0.045, "from input to hidden neurons"),
    *_weights("HIDDEN_OUTPUT", 0.2, 0.37, "from hidden to output neurons"),
    *_weights("HIDDEN_HIDDEN", 0.2, 0.37, "of recurrent connections"),
    *_weights("HIDDEN_HIDDENFWD", 0.02, 0.01, "from one hidden layer to the next"),
    of_declarations(
        "MASKS",
        "Model",
        "str",
        None,
        "File (.npz) with a boolean array (n_pre, n_post) for each synapse population of which not all synapses are "
        "there, by its name (in_to_hid, ...), in place of those drawn.",
        optional=True,
    ),
    of_start(
        "WEIGHT_INIT",
        "Model",
        "str",
        "normal",
        "Initial weights: of the means and standard deviations above (normal), or such that potentials fluctuate below "
        "and above the threshold, measured with the training data (fluctuation).",
        choices=network.WEIGHT_INITS,
    ),
    of_start(
        "FLUCTUATION_MEAN",
        "Model",
        "float",
        0.0,
        "Mean of potentials at the start with WEIGHT_INIT=fluctuation, where 0 is rest and 1 the threshold.",
        least=0.0,
        most=10.0,
    ),
    of_start(
        "FLUCTUATION_STD",
        "Model",
        "float",
        1.0,
        "Standard deviation of potentials at the start, likewise.",
        above=0.0,
        most=100.0,
    ),
    of_start(
        "FLUCTUATION_RECURRENT",
        "Model",
        "float",
        0.1,
        "Which part of the variance of potentials recurrent connections make at the start, likewise.",
        least=0.0,
        below=1.0,
    ),
    of_loop(
        "PDROP_INPUT",
        "Model",
        "float",
        0.2,
        "Probability with which an input spike is deleted in training.",
        least=0.0,
        below=1.0,
    ),
    of_loop(
        "PDROP_HIDDEN",
        "Model",
        "float",
        0.0,
        "Probability with which a hidden spike is dropped in training: the neuron is reset, its spike goes nowhere.",
        least=0.0,
        below=1.0,
        per_layer=True,
    ),
    of_loop(
        "HIDDEN_NOISE",
        "Model",
        "float",
        0.0,
        "Noise on hidden membranes in training: what 1 ms adds has this standard deviation.",
        "1/sqrt(ms)",
        least=0.0,
        per_layer=True,
    ),
    of_learning(
        "REG_TYPE",
        "Model",
        "str",
        "none",
        "Regularisation of hidden activity: simple for each neuron, Thomas1 also for each layer.",
        choices=tuple(models.REGULARISERS),
    ),
    of_learning(
        "LBD_UPPER",
        "Model",
        "float",
        0.000005,
        "Strength of regularisation for neurons above NU_UPPER.",
        least=0.0,
        per_layer=True,
    ),
    of_learning(
        "LBD_LOWER",
        "Model",
        "float",
        0.001,
        "Strength of regularisation for neurons below NU_UPPER.",
        least=0.0,
        per_layer=True,
    ),
    of_learning(
        "NU_UPPER",
        "Model",
        "float",
        2.0,
        "Target of spikes per hidden neuron and trial.",
        "spikes",
        least=0.0,
        per_layer=True,
    ),
    of_learning(
        "RHO_UPPER",
        "Model",
        "float",
        5000.0,
        "Thomas1's target of spikes per layer and trial.",
        "spikes",
        least=0.0,
        per_layer=True,
    ),
    of_learning(
        "GLB_UPPER",
        "Model",
        "float",
        1e-5,
        "Strength of Thomas1's regularisation above RHO_UPPER.",
        least=0.0,
        per_layer=True,
    ),
    of_loop(
        "REWIRE_SILENT",
        "Model",
        "bool",
        False,
        "Whether hidden neurons that were silent in an epoch get new feed-forward weights, drawn as at the start.",
    ),
    of_loop(
        "REWIRE_LIFT",
        "Model",
        "float",
        0.0,
        "What is added to silent neurons' feed-forward weights, in place of new ones; 0 for new ones.",
    ),
)


LOSS = (
    of_network(
        "LOSS_TYPE",
        "Loss",
        "str",
        "sum_weigh_exp",
        "Loss function, of models.LOSSES.",
        choices=lambda: tuple(models.LOSSES),
    ),
    of_declarations(
        "LOSSES",
        "Loss",
        "dict",
        {},
        "Declarations of losses of one's own by name; a run's saved settings have that of its LOSS_TYPE.",
    ),
    of_network(
        "LOSS_WINDOW",
        "Loss",
        "range",
        None,
        "[from, to] in a trial: steps that begin there count for losses of voltages, others nothing; None for all.",
        "ms",
        optional=True,
        least=0.0,
    ),
    of_machine(
        "CUDA_VISIBLE_DEVICES",
        "Loss",
        "bool",
        True,
        "Whether GeNN takes the first GPU that is visible to it, and not the one it finds best; no effect on the CPU.",
    ),
    of_learning(
        "AVG_SNSUM", "Loss", "bool", False, "Whether regularisation sees spike counts averaged over the batch."
    ),
    of_samples(
        "AUGMENTATION",
        "Loss",
        "dict",
        {},
        "Changes to training samples, drawn anew in each epoch, in this order: random_shift (channels) or, for "
        "cameras and images, random_shift_xy (whole cells or pixels, in x and in y), random_rotate (degrees) and "
        "random_zoom ([least, most] factor on places), random_dilate ([least, most] factor on times), "
        "random_gain ([channels at which it is drawn, s.d. of its logarithm]), "
        "ID_jitter (s.d. in channels), blend ([probability, ...]: samples of a class joined, until there are N_TRAIN); "
        "NORMALISE_SPIKE_NUMBER thins all samples to the shortest one's spikes.",
    ),
    of_classes(
        "REDUCED_CLASSES",
        "Loss",
        "ints",
        None,
        "Classes to use; None for all. Labels keep their numbers, and there is an output for every class.",
        optional=True,
    ),
    of_learning("TAU_0", "Loss", "float", 1.0, "Temperature of the softmax over first spikes.", "ms", above=0.0),
    of_learning("TAU_1", "Loss", "float", 100.0, "Time scale of the penalty of first_spike_exp.", "ms", above=0.0),
    of_learning("ALPHA", "Loss", "float", 5e-5, "Strength of the penalty of late first spikes.", least=0.0),
    of_network(
        "TAU_ACCUMULATOR", "Loss", "float", 20.0, "Time constant of sum_weigh_input's input average.", "ms", above=0.0
    ),
)
