"""Keys of the group Learning: the optimiser, the learning rate, and what is trained."""

from __future__ import annotations

from eventprop import description
from eventprop.parameters.belonging import of_adam, of_learning, of_loop, of_rate

LEARNING = (
    of_rate("ETA", "Learning", "float", 5e-3, "Learning rate; with 0 nothing is learned.", least=0.0),
    of_rate(
        "ETA_DECAY", "Learning", "float", 1.0, "Factor on the learning rate at the start of each epoch.", above=0.0
    ),
    of_rate(
        "ETA_DELAY",
        "Learning",
        "float",
        0.1,
        "Learning rate of trained delays; it follows the schedule of ETA.",
        "ms",
        least=0.0,
    ),
    of_rate(
        "ETA_SCHEDULE",
        "Learning",
        "str",
        "constant",
        "How the rate falls by itself: not at all, or by half a cosine, update by update, from epoch 0 to N_EPOCH.",
        choices=("constant", "cosine"),
    ),
    of_rate(
        "ETA_END", "Learning", "float", 0.0, "Share of the rate that the cosine comes down to.", least=0.0, most=1.0
    ),
    of_loop(
        "AVERAGE_WEIGHTS",
        "Learning",
        "float",
        0.0,
        "Decay, by update, of a running average of all that is trained, which is evaluated and saved while training "
        "goes on without it; 0.99 is over some 100 updates. 0 for none.",
        least=0.0,
        below=1.0,
    ),
    of_adam("ADAM_BETA1", "Learning", "float", 0.9, "Adam's decay of the mean gradient.", least=0.0, below=1.0),
    of_adam(
        "ADAM_BETA2", "Learning", "float", 0.999, "Adam's decay of the mean squared gradient.", least=0.0, below=1.0
    ),
    of_adam("ADAM_EPS", "Learning", "float", 1e-8, "Adam's epsilon.", least=0.0),
    of_adam(
        "WEIGHT_DECAY",
        "Learning",
        "float",
        0.0,
        "Share of each trained weight, times the rate, that an update takes off, apart from Adam's averages (AdamW); 0 "
        "for none.",
        least=0.0,
    ),
    of_rate(
        "LR_EASE_IN_FACTOR",
        "Learning",
        "float",
        1.05,
        "The rate starts at ETA/1000 and grows by this factor with each update; None for no ease-in.",
        optional=True,
        above=1.0,
    ),
    of_rate("EMA_ALPHA1", "Learning", "float", 0.8, "Decay of the fast average of accuracy.", least=0.0, below=1.0),
    of_rate("EMA_ALPHA2", "Learning", "float", 0.95, "Decay of the slow average of accuracy.", least=0.0, below=1.0),
    of_loop(
        "EMA_WHICH",
        "Learning",
        "str",
        "validation",
        "Accuracy that the schedule of the rate goes by.",
        choices=("validation", "training"),
    ),
    of_rate(
        "ETA_FAC", "Learning", "float", 0.5, "Factor on the rate where accuracy stops improving.", above=0.0, most=1.0
    ),
    of_rate(
        "MIN_EPOCH_ETA_FIXED", "Learning", "int", 300, "Epochs for which the rate stays, at least.", "epochs", least=0
    ),
    of_loop(
        "GRAD_CLIP",
        "Learning",
        "float",
        0.0,
        "Largest norm of a batch's gradient, longer ones are shortened; 0 for no clip.",
        least=0.0,
    ),
    of_learning(
        "MIN_DENOMINATOR",
        "Learning",
        "float",
        0.1,
        "Bound from below of I - V at a spike, by which the adjoint's jump is divided; 0 for none.",
        least=0.0,
    ),
    of_learning(
        "LOSS_SCALE",
        "Learning",
        "str",
        "reference",
        "Scale of gradients in training: reference divides the loss's by TAU_MEM (max: TRIAL_MS; first spikes: 1), as "
        "published strengths of regularisation expect; true takes them as they are.",
        choices=tuple(description.LOSS_SCALES),
    ),
    of_learning(
        "LABEL_SMOOTHING",
        "Learning",
        "float",
        0.0,
        "Share of the target that all classes have alike in training, and the label has not; 0 for none.",
        least=0.0,
        below=1.0,
    ),
    of_learning("TRAIN_TAU", "Learning", "bool", False, "Whether tau_mem and tau_syn of hidden neurons are trained."),
    of_learning("TRAIN_TAU_B", "Learning", "bool", False, "Whether tau_b of ALIF neurons is trained."),
    of_learning("MIN_TAU_M", "Learning", "float", 3.0, "Least tau_mem that is trained or drawn.", "ms", above=0.0),
    of_learning("MIN_TAU_SYN", "Learning", "float", 1.0, "Least tau_syn that is trained or drawn.", "ms", above=0.0),
    of_learning("MIN_TAU_B", "Learning", "float", 1.0, "Least tau_b that is trained.", "ms", above=0.0),
    of_learning("TRAIN_TAU_OUTPUT", "Learning", "bool", False, "Whether tau_mem and tau_syn of outputs are trained."),
    of_learning("TRAIN_W", "Learning", "bool", True, "Whether weights onto hidden neurons are trained."),
    of_learning("TRAIN_W_OUTPUT", "Learning", "bool", True, "Whether weights onto output neurons are trained."),
)
