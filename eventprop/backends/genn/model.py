"""A GeNN model from a network's description: populations, synapses and custom updates.

Custom update groups: ``Reduce`` sums gradients over the batch and clears them; ``Check`` sees whether any is large;
``Learn`` is a step of the optimiser.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eventprop import models
from eventprop.backends.devices import architectures
from eventprop.backends.genn.builder import Layout, Neurons
from eventprop.backends.genn.delays import IN_STEPS, delivered, largest
from eventprop.backends.genn.neurons import input_neurons, neurons
from eventprop.network import DELAY, Network, Projection

__all__ = ["GennModel", "preferences"]


class GennModel:
    """Makes a GeNN model; ``genn`` is pygenn's own object, ``constants`` what must be set once it is loaded.

    Args:
        backend: "cuda", "hip" or "single_threaded_cpu".
        real: "float" or "double".
        timing: whether GeNN measures the time of its kernels.
        options: GeNN's preferences.

    Attributes:
        arguments: all that it was made from; another process makes the same of them.
        collected: by name of what is trained, the group and the variable that its gradient is added to.
        facts: what a user would call the network.
        key: another one for other code.
    """

    def __init__(
        self,
        network: Network,
        backend: str,
        layout: Layout,
        *,
        real: str = "float",
        timing: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        import pygenn

        options = dict(options or {})
        self.arguments = (network, backend, layout), {"real": real, "timing": timing, "options": options}
        self._pygenn, self.network, self.layout, self.real = pygenn, network, layout, real
        self.populations: dict[str, Any] = {}
        self.constants: dict[str, dict[str, float]] = {}
        self.synapses: dict[str, Any] = {}
        self.twins: dict[str, str] = {}  # whose weights they have
        self.collected: dict[str, tuple[Any, str]] = {}
        self.reduced: dict[str, Any] = {}
        self.checks: dict[str, Any] = {}
        self.learning: dict[str, Any] = {}
        described = [input_neurons(network, layout)]
        described += [neurons(network, population, layout) for population in network.populations]
        self.facts = self._describe(backend, timing, options)
        code = [Path(__file__).read_text(), IN_STEPS, delivered("w", 1), repr(models.ADAM)]
        code += [d.described() for d in described]
        words = json.dumps([self.facts, repr(sorted(options.items())), code])
        self.key = hashlib.sha256(words.encode()).hexdigest()[:24]
        self.genn = pygenn.GeNNModel(real, "eventprop", backend=backend, time_precision=real, **options)
        self.genn.batch_size, self.genn.dt, self.genn.timing_enabled = layout.batch, network.dt_ms, timing
        self._make(described)

    def _describe(self, backend: str, timing: bool, options: Mapping[str, Any]) -> dict[str, Any]:
        """What a user would call the network; the names of what differs from others that were built."""
        network, chips = self.network, architectures(backend)
        return {
            "BACKEND": backend,
            "GPU": chips[:1] if "manual_device_id" in options else chips,  # where GeNN chooses, it may be any of them
            "pygenn": self._pygenn.__version__,
            "precision": self.real,
            "samples at once (N_BATCH)": self.layout.batch,
            "N_MAX_SPIKE": self.layout.max_spikes,
            "PIPELINE": self.layout.halves == 2,
            "TIMING": timing,
            "DT_MS": network.dt_ms,
            "SPIKE_TIMING": network.spike_timing,
            "steps of a trial": network.num_steps,
            "input neurons": network.num_input * network.copies,
            "neurons": [
                [q.name, q.model.name, q.size, list(q.per_neuron), list(q.trained)] for q in network.populations
            ],
            "synapses": [[p.name, p.trained] for p in network.projections],
            "masks": sorted(network.masks),
            "delays (steps at most)": [
                [name, delay.trained, largest(delay, network)] for name, (_, delay) in network.delays.items()
            ],
            "LOSS_TYPE": network.loss.name,
            "LOSS_WINDOW (steps)": list(network.counted),
            "REG_TYPE": network.regulariser.name,
            "AVG_SNSUM": network.average_counts,
        }

    def _make(self, described: list[Neurons]) -> None:
        for d in described:
            self.populations[d.name], self.constants[d.name] = self._population(d), d.constants
        for p in self.network.projections:
            self.synapses[p.name] = self._projection(p)
        if self.network.loss.cusp:
            self._twin(self.network.projections[-1], "fmin(w, 0.0)", "arriving_negative")
        for p in self.network.projections:
            if self._inputs(p.target) == 2:
                self._twin(p, "fmax(-w, 0.0)", "arriving_1")
        for p in self.network.projections:
            if p.trained:
                self._learn_synapses(p.name, p, "gradient", "w")
            if p.delay and p.delay.trained:
                self._learn_synapses(p.name + DELAY, p, "delay_gradient", "delay")
        for population in self.network.populations:
            for name in population.trained:
                self._learn_time_constant(population.name, name)

    def _population(self, d: Neurons) -> Any:
        access = self._pygenn.VarAccess
        model = self._pygenn.create_neuron_model(
            d.name,
            params=[*((n, "int") for n in d.sizes), *((n, "scalar") for n in d.constants), *d.dynamic.items()],
            vars=[(n, kind, getattr(access, mode)) for n, (kind, mode, _) in d.variables.items()],
            extra_global_params=[(n, f"{kind}*") for n, (kind, _) in d.arrays.items()],
            additional_input_vars=[(n, "scalar", 0.0) for n in d.inputs],
            sim_code=d.sim_code,
            threshold_condition_code=d.threshold or None,
        )
        values = {**d.sizes, **d.constants, **dict.fromkeys(d.dynamic, 0)}
        start = {n: v for n, (_, _, v) in d.variables.items()}
        population = self.genn.add_neuron_population(d.name, d.size, model, values, start)
        for name in (*d.constants, *d.dynamic):
            population.set_param_dynamic(name, True)
        for name, (kind, size) in d.arrays.items():
            population.extra_global_params[name].set_init_values(np.zeros(size, self._dtype(kind)))
        if d.threshold and d.name != "input":
            population.spike_recording_enabled = True
        return population

    def _dtype(self, kind: str) -> Any:
        if kind == "scalar":
            return np.float32 if self.real == "float" else np.float64
        return {"int": np.int32, "uint32_t": np.uint32}[kind]

    def _projection(self, p: Projection) -> Any:
        """Dense synapses; where anything goes back through them, at the events of the source."""
        pygenn, carries = self._pygenn, p.source != "input"
        read_only = pygenn.VarAccessMode.READ_ONLY
        back, collecting, seen = self._back(p)
        variables = [("w", "scalar", pygenn.VarAccess.READ_ONLY)]
        if p.delay:
            variables += [
                (n, kind, pygenn.VarAccess.READ_ONLY) for n, kind in (("delay", "scalar"), ("late", "uint16_t"))
            ]
        if p.name in self.network.masks:
            variables += [("there", "uint8_t", pygenn.VarAccess.READ_ONLY)]
        variables += [(n, "scalar", pygenn.VarAccess.READ_WRITE) for n in collecting]
        source, target = self.populations[p.source], self.populations[p.target]
        events = {
            "pre_event_threshold_condition_code": "back_spike_pre == 1",
            "pre_event_syn_code": back,
            "pre_neuron_var_refs": [("back_spike_pre", "uint8_t", read_only)],
            "post_neuron_var_refs": [(f"{n}_post", "scalar", read_only) for n in seen],
        }
        model = pygenn.create_weight_update_model(
            "exponential",
            vars=variables,
            pre_spike_syn_code=self._deliver(p, "w" if self._inputs(p.target) == 1 else "fmax(w, 0.0)"),
            **(events if back else {}),
        )
        references = {
            "pre_var_refs": {"back_spike_pre": pygenn.create_var_ref(source, "back_spike")},
            "post_var_refs": {f"{n}_post": pygenn.create_var_ref(target, n) for n in seen},
        }
        group = self._dense(p.name, p, model, {n: 0.0 for n, *_ in variables}, references if back else {})
        if carries:
            group.pre_target_var = "R"
        return group

    def _back(self, p: Projection) -> tuple[str, list[str], list[str]]:
        """What is done at the event of a source: its code, variables that are added to, and what is read of targets."""
        inputs, carries, delay = self._inputs(p.target), p.source != "input", p.delay
        seen, at = [], "[late]" if delay else ""

        def read(what: str) -> str:
            """What a synapse reads of its target: by its sign where there are two inputs."""
            seen.extend([what, f"{what}_1"][:inputs])
            return f"{what}_post{at}" if inputs == 1 else f"(w < 0.0 ? {what}_1_post{at} : {what}_post{at})"

        code, collecting = "", []
        if p.trained:
            collecting.append("gradient")
            code += f"gradient += {read('to_weight')};\n"
        if carries or (delay and delay.trained):
            sent = f"w * {read('to_source')}"
            if p.target == "output" and self.network.loss.cusp:
                sent += f" + fmin(w, 0.0) * cusp_share_post{at}"
                seen.append("cusp_share")
            if delay and delay.trained:
                collecting.append("delay_gradient")
                code += f"delay_gradient += {sent};\n"
            code += f"addToPre({sent});\n" if carries else ""
        if delay and code:  # what would have arrived after the trial has seen nothing
            code = f"if (late < (int)round(t / dt)) {{\n{code}}}\n"
        return code, collecting, seen

    def _deliver(self, p: Projection, value: str) -> str:
        return delivered(value, self.network.num_steps) if p.delay else f"addToPost({value});"

    def _dense(self, name: str, p: Projection, model: Any, start: dict[str, Any], references: dict[str, Any]) -> Any:
        """All-to-all synapses between the populations of ``p``, with GeNN's own room for its delays."""
        pygenn = self._pygenn
        update = pygenn.init_weight_update(model, {}, start, **references)
        source, target = self.populations[p.source], self.populations[p.target]
        group = self.genn.add_synapse_population(
            name, "DENSE", source, target, update, pygenn.init_postsynaptic("DeltaCurr")
        )
        if p.delay:
            group.max_dendritic_delay_timesteps = largest(p.delay, self.network) + 1
        return group

    def _inputs(self, population: str) -> int:
        return next(q.model.inputs for q in self.network.populations if q.name == population)

    def _twin(self, p: Projection, value: str, target_input: str) -> None:
        """Synapses with the weights and delays of ``p``, which the host copies, that add something else to their
        targets."""
        pygenn = self._pygenn
        variables = {"w": "scalar"} | ({"late": "uint16_t"} if p.delay else {})
        model = pygenn.create_weight_update_model(
            f"twin_{target_input}",
            vars=[(n, kind, pygenn.VarAccess.READ_ONLY) for n, kind in variables.items()],
            pre_spike_syn_code=self._deliver(p, value),
        )
        name = f"{p.name}_{target_input}"
        group = self._dense(name, p, model, dict.fromkeys(variables, 0.0), {})
        group.post_target_var = target_input
        self.synapses[name] = group
        self.twins[name] = p.name

    def _learn_synapses(self, name: str, p: Projection, gradient: str, value: str) -> None:
        group, reference = self.synapses[p.name], self._pygenn.create_wu_var_ref
        late = reference(group, "late") if value == "delay" else None
        there = reference(group, "there") if p.name in self.network.masks else None
        self.collected[name] = group, gradient
        self._learn(name, reference(group, value), reference, bounded=value == "delay", late=late, there=there)

    def _learn_time_constant(self, population: str, name: str) -> None:
        group, reference = self.populations[population], self._pygenn.create_var_ref
        full = f"{population}.{name}"
        self.collected[full] = group, f"d_{name}"
        self._learn(full, reference(group, name), reference, bounded=True)

    def _learn(
        self, name: str, value: Any, reference: Any, *, bounded: bool, late: Any = None, there: Any = None
    ) -> None:
        """Custom updates that sum a gradient, where ``there`` says so, and make a step of the optimiser, after which
        ``late`` has whole steps."""
        pygenn, adam = self._pygenn, models.ADAM
        mode, access = pygenn.VarAccessMode, pygenn.CustomUpdateVarAccess
        reduce = pygenn.create_custom_update_model(
            "reduce",
            var_refs=[("gradient", "scalar", mode.READ_WRITE)]
            + ([] if there is None else [("there", "uint8_t", mode.READ_ONLY)]),
            vars=[("reduced", "scalar", access.REDUCE_BATCH_SUM)],
            update_code=f"reduced = {'gradient' if there is None else 'there ? gradient : 0.0'}; gradient = 0.0;",
        )
        added = {"gradient": reference(*self.collected[name])} | ({} if there is None else {"there": there})
        plain = name.replace(".", "_")
        reduced = self.genn.add_custom_update(f"{plain}_reduce", "Reduce", reduce, {}, {"reduced": 0.0}, added)
        names = [*adam.parameters, "factor", *(["least", "most"] if bounded else [])]
        rounding, fixed, kept = "", {}, {}
        if late is not None:
            rounding, kept = IN_STEPS, {"late": late}
            fixed = {"step_ms": self.network.dt_ms, "most_steps": float(self.network.num_steps)}
        learn = pygenn.create_custom_update_model(
            adam.name,
            params=[*names, *((n, "double") for n in fixed)],
            var_refs=[
                ("reduced", "scalar", mode.READ_ONLY),
                ("value", "scalar", mode.READ_WRITE),
                *((n, "uint16_t", mode.READ_WRITE) for n in kept),
            ],
            vars=[(n, "scalar") for n in adam.state],
            update_code=f"const scalar gradient = reduced * factor; {adam.update}"
            + (" value = fmin(fmax(value, least), most);" if bounded else "")
            + rounding,
        )
        learning = self.genn.add_custom_update(
            f"{plain}_learn",
            "Learn",
            learn,
            dict.fromkeys(names, 0.0) | fixed,
            dict.fromkeys(adam.state, 0.0),
            {"reduced": reference(reduced, "reduced"), "value": value} | kept,
        )
        for parameter in names:
            learning.set_param_dynamic(parameter, True)
        self.reduced[name], self.learning[name] = reduced, learning
        self._check(name, reference(reduced, "reduced"))

    def _check(self, name: str, reduced: Any) -> None:
        """A custom update that marks the input's ``large`` where a gradient is not a number, or beyond ``limit``."""
        pygenn = self._pygenn
        model = pygenn.create_custom_update_model(
            "check",
            params=["limit"],
            var_refs=[("reduced", "scalar", pygenn.VarAccessMode.READ_ONLY)],
            extra_global_param_refs=[("large", "uint32_t*")],
            update_code="if (!(fabs(reduced) <= limit)) { large[0] = 1; }",
        )
        large = pygenn.create_egp_ref(self.populations["input"], "large")
        check = self.genn.add_custom_update(
            f"{name.replace('.', '_')}_check",
            "Check",
            model,
            {"limit": 0.0},
            {},
            {"reduced": reduced},
            {"large": large},
        )
        check.set_param_dynamic("limit", True)
        self.checks[name] = check


def preferences(backend: str, first_device: bool) -> dict[str, Any]:
    """GeNN's preferences: which of the GPUs that the environment (CUDA_VISIBLE_DEVICES, HIP_VISIBLE_DEVICES) shows.

    Args:
        first_device: whether it is the first one, and not the one that GeNN finds best; with HIP it always is.
    """
    if backend == "cuda":
        from pygenn.cuda_backend import DeviceSelect

        first = {"device_select_method": DeviceSelect.MANUAL, "manual_device_id": 0}
        return first if first_device else {"device_select_method": DeviceSelect.OPTIMAL}
    return {"manual_device_id": 0} if backend == "hip" else {}
