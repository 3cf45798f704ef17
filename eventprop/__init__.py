"""Eventprop: exact gradients in spiking neural networks. What the benchmarks share."""
