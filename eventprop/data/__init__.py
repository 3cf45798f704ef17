"""Data sets: spikes, files and how they are read, kept, split, changed and presented."""
