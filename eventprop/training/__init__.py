"""Training: the loop, the learning rate's schedule, rewiring, checkpoints and the files of a run."""
