"""The certificate of a neuron: whether the engine's gradients are those of its equations.

Nothing here knows how gradients are derived. ``expressions`` and ``equations`` read a declaration, ``runge_kutta`` and
``simulation`` solve it in continuous time, from event to event, ``circuits`` are small networks with their losses,
``drawing`` draws them for any neuron, ``differences`` differentiates them, ``engine`` asks the CPU engine for the same,
``smooth`` compares the engine with differences of its own loss, ``certify`` measures and ``report`` tells.
"""
