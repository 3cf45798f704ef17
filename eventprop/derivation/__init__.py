"""Eventprop for any neuron, from its equations (:mod:`eventprop.declarations`): step maps, their transposes, jumps and
gradients by every parameter, as code for the backends. :func:`derived` is the door."""

from eventprop.derivation.kept import derived
from eventprop.derivation.model import NeuronModel, Propagator

__all__ = ["NeuronModel", "Propagator", "derived"]
