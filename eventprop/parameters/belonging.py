"""Which record a key belongs to, and what it changes: one function for each kind of key, to declare it with.

A record is what a room of the package gets of ``p`` (:mod:`eventprop.simulators.records`). "data" and "simulator" are
none: these keys simulators read themselves, to load data with their values or to do what a method does besides. What
follows from a key's declaration: where its value goes, whether another value than a checkpoint's is told, and whether
it is fixed once the data are loaded.
"""

from __future__ import annotations

from functools import partial

from eventprop.parameters.declaration import Key

# What describes the network: its form and equations; how weights start; how steps bin spikes; what only training sees.
of_network = partial(Key, record="network", changes="network")
of_start = partial(Key, record="start", changes="training")
of_steps = partial(Key, record="network", changes="spikes", loaded=True)
of_learning = partial(Key, record="network", changes="training")

# Data: where they lie; how they become spikes; which samples are taken, before data are loaded or after.
of_places = partial(Key, record="data", changes="files", loaded=True)
of_spikes = partial(Key, record="data", changes="spikes", loaded=True)
of_classes = partial(Key, record="data", changes="samples", loaded=True)
of_choice = partial(Key, record="data", changes="samples")

# What is presented, and in which order; the loop over epochs, and what it only watches; the learning rate.
of_samples = partial(Key, record="samples", changes="samples")
of_loop = partial(Key, record="loop", changes="training")
of_watching = partial(Key, record="loop", changes="files")
of_rate = partial(Key, record="rate", changes="training")
of_adam = partial(Key, record="adam", changes="training")

# What only the simulators, above all rooms, read of ``p``: what a method shows or checks besides.
of_simulator = partial(Key, record="simulator", changes="files")
of_declarations = partial(Key, record="simulator", changes="network")

# What computes; what is reported, recorded and written.
of_machine = partial(Key, record="backend", changes="files")
of_genn = partial(Key, record="backend", changes="training")
of_timing = partial(Key, record="timing", changes="files")
of_recording = partial(Key, record="recording", changes="files")
of_files = partial(Key, record="files", changes="files")
