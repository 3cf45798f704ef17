"""Keys of the group Recording: what is recorded, saved and loaded."""

from __future__ import annotations

from eventprop.parameters.belonging import of_files, of_machine, of_recording, of_simulator, of_watching
from eventprop.parameters.declaration import Key

_NEURONS = (("hidden", "hidden0"),)
_SYNAPSES = (("hid_to_hid", "hid_to_hid0"),)


def _when(key: str, what: str) -> Key:
    return of_recording(
        f"{key}_EPOCH_TRIAL",
        "Recording",
        "pairs",
        [],
        f"[epoch, trial] pairs at which {what} recorded; None for all of them.",
        optional=True,
    )


RECORDING = (
    of_recording(
        "W_OUTPUT_EPOCH_TRIAL",
        "Recording",
        "pairs",
        [],
        "[epoch, trial] pairs after which weights, and delays, are saved.",
    ),
    of_recording(
        "TAU_OUTPUT_EPOCH_TRIAL", "Recording", "pairs", [], "[epoch, trial] pairs after which time constants are saved."
    ),
    of_machine(
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
    of_recording(
        "REC_SPIKES", "Recording", "names", [], "Neuron populations whose spikes are recorded.", renames=_NEURONS
    ),
    _when("REC_NEURONS", "neurons are"),
    of_recording(
        "REC_NEURONS",
        "Recording",
        "variables",
        [],
        "[population, variable] pairs that are recorded: Isyn, V, lambda_V, lambda_I; of ALIF also B, lambda_B.",
        renames=_NEURONS,
    ),
    _when("REC_SYNAPSES", "synapses are"),
    of_recording(
        "REC_SYNAPSES",
        "Recording",
        "variables",
        [],
        "[synapse population, variable] pairs that are recorded: w, gradient; with delays also delay, delay_gradient.",
        renames=_SYNAPSES,
    ),
    of_files("WRITE_TO_DISK", "Recording", "bool", True, "Whether anything is written; False writes nothing at all."),
    of_files(
        "PICTURE_FORMAT",
        "Recording",
        "str",
        "png",
        "Of pictures that are written: pixels (png), or lines and letters that can be enlarged (svg, pdf).",
        choices=("png", "svg", "pdf"),
    ),
    of_files(
        "TENSORBOARD",
        "Recording",
        "bool",
        False,
        "Whether each epoch is also written as events of TensorBoard, to NAME_tensorboard; needs tensorboardX.",
    ),
    of_simulator(
        "LOAD_LAST", "Recording", "bool", False, "Go on from the last checkpoint as if the run had not stopped."
    ),
    of_simulator("LOAD_BEST", "Recording", "bool", False, "Go on from the best checkpoint; it wins over LOAD_LAST."),
    of_files("CHECKPOINT", "Recording", "bool", True, "Whether a checkpoint is written after every epoch."),
    of_watching(
        "CHECKPOINT_BEST",
        "Recording",
        "str",
        "neither",
        "Accuracy that decides which epoch's checkpoint is kept as the best.",
        choices=("neither", "validation", "training"),
    ),
    of_simulator(
        "CHECKPOINT_NAME",
        "Recording",
        "str",
        None,
        "NAME of the run to load from; None for this run's own.",
        optional=True,
    ),
    of_watching("COLLECT_CONFUSION", "Recording", "bool", False, "Whether confusion matrices are collected."),
    of_watching("REC_PREDICTIONS", "Recording", "bool", False, "Whether predictions are recorded."),
)
