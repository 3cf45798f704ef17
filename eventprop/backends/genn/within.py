"""Crossings solved within a step, in GeNNCode: what ``substep.hpp`` does, for one neuron at a time.

A neuron that ends a step above its threshold is taken to where it crossed, reset there, and taken through the rest of
the step; its spike leaves at the end of the step. Backwards the same with the transposes. Linear neurons move by the
Taylor series of their flow, others by their step map over a shorter time.

Names with two underscores are this module's own: no variable or parameter of a neuron has any.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from eventprop.backends.genn.builder import genn
from eventprop.derivation.model import NeuronModel
from eventprop.snippets import renamed

__all__ = ["Within"]

_ROUNDING = {"float": ("2e-8", "2e-6", "1e-13"), "double": ("1e-17", "4e-15", "1e-24")}
"""By precision: terms of a series are left out below this part of its sum; a crossing of a linear neuron is as close as
that; that of another one is found when the square of the last change is as small as that."""
_MOST_TERMS, _MOST_SEARCHED = 40, 60
# Gauss's formula with three points, as conditions on the number of the point.
_WHERE = "(q__ == 0 ? 0.11270166537925831 : (q__ == 1 ? 0.5 : 0.8872983346207417))"
_WEIGHT = "(q__ == 1 ? 8.0 / 18.0 : 5.0 / 18.0)"


class Within:
    """Pieces of code around a neuron's model.

    Args:
        trained: parameters that collect gradients.
        real: "float" or "double".

    Attributes:
        keeps_start: whether the backward pass needs the state at the start of a step with a spike, as ``<name>_then``.
    """

    def __init__(self, model: NeuronModel, trained: Sequence[str], real: str) -> None:
        self.model, self.trained = model, trained
        self.state = [genn(n) for n in model.state]
        self.adjoint = list(model.adjoint)
        self.linear = bool(model.flow)
        self.negligible, self.close, self.settled = _ROUNDING[real]
        self.keeps_start = bool(trained) or not self.linear
        # Currents of linear neurons decay where spikes arrive, in the next step: until then they are as at the start.
        self.moving = self.state[model.inputs :] if model.arrive else self.state

    # Forwards

    def start(self) -> str:
        """The state at the start of the step, after arrivals."""
        return "".join(f"const scalar {n}__from = {n};\n" for n in self.state)

    def cross(self) -> str:
        """From the state at the start and the end of the step to where in it the crossing is, ``part__``, and the state
        there, ``<name>__at``."""
        kept = "".join(f"{n}__at = {n};" for n in self.moving)
        return f"""
            scalar part__ = 1.0;
            {"".join(f"scalar {n}__at = {n}__from;" for n in self.state)}
            {self._level("__from", "first__", "climb_first__")}
            {self.advance("__from", "part__", "__at")}
            {self._level("__at", "last__", "climb_last__")}
            if (first__ >= 0.0) {{ part__ = 0.0; }}
            else if (last__ > 0.0) {{ {self._search()} }}
            {self.advance("__from", "part__", "__at")}
            if (part__ == 1.0) {{ {kept} }}
        """

    def _search(self) -> str:
        """Newton's method within brackets, from the inverse cubic with the values and slopes of both ends, each step
        corrected by the cubic's curvature. The cubic leaves a twentieth of it at most where the neuron is linear; a
        map over a steep upstroke has any curvature."""
        found = f"change__ * change__ <= {self.settled}"
        if self.linear:
            found = f"change__ * change__ * 0.05 * fabs(climb_last__ - climb_first__) <= {self.close} * climb__"
        return f"""
            const scalar rise__ = last__ - first__;
            const scalar c2__ = 3.0 * rise__ - 2.0 * climb_first__ - climb_last__;
            const scalar c3__ = 3.0 * (climb_first__ + climb_last__ - 2.0 * rise__);
            const scalar near__ = -first__ / rise__, far__ = 1.0 - near__;
            const scalar m0__ = 3.0 * climb_first__ > rise__ ? rise__ / climb_first__ : 3.0;
            const scalar m1__ = 3.0 * climb_last__ > rise__ ? rise__ / climb_last__ : 3.0;
            part__ = near__ * (near__ * (3.0 - 2.0 * near__) + far__ * (m0__ * far__ - m1__ * near__));
            scalar low__ = 0.0, high__ = 1.0;
            for (int n__ = 0; n__ < {_MOST_SEARCHED}; n__++) {{
                {self.advance("__from", "part__", "__at")}
                {self._level("__at", "level__", "climb__")}
                const scalar per__ = 1.0 / climb__, change__ = -level__ * per__;
                const scalar next__ = part__ + change__ * (1.0 - change__ * (c2__ + c3__ * part__) * per__);
                if ({found} || high__ - low__ <= {self.close} * 0.1) {{
                    part__ = fmax(low__, fmin(high__, next__));
                    break;
                }}
                if (level__ < 0.0) {{ low__ = part__; }}
                else {{ high__ = part__; }}
                part__ = next__ > low__ && next__ < high__ ? next__ : 0.5 * (low__ + high__);
            }}
        """

    def _level(self, where: str, level: str, climb: str) -> str:
        """How far a state is above the threshold, and its rise in the time of a step."""
        names = {n: n + where for n in self.state}
        return (
            f"const scalar {level} = {renamed(genn(self.model.level), names)};\n"
            f"const scalar {climb} = dt * ({renamed(genn(self.model.climb), names)});\n"
        )

    def recorded(self) -> dict[str, str]:
        """What is kept with a spike, of the state at the crossing."""
        return {n: self._there(e) for n, e in self.model.recorded.items()}

    def reset(self) -> str:
        return self._there(self.model.reset)

    def _there(self, code: str) -> str:
        return renamed(genn(code), {n: f"{n}__at" for n in self.state})

    def finish(self) -> str:
        """Through the rest of the step."""
        declared = "".join(f"scalar {n}__end = {n}__at;" for n in self.state)
        taken = "".join(f"{n} = {n}__end;" for n in self.moving)
        return f"{declared}\n{self.advance('__at', '(1.0 - part__)', '__end')}\n{taken}"

    def advance(self, start: str, time: str, end: str) -> str:
        """The state ``<name><start>`` after a part of a step, as ``<name><end>``."""
        if self.linear:
            drift = {genn(n): genn(e) for n, e in self.model.drift.items()}
            return self._series({genn(n): genn(e) for n, e in self.model.flow.items()}, drift, start, time, end)
        given = "".join(f"{n}{end} = {n}{start};" for n in self.state)
        timed, constants = self._over(time, self.model.update)
        return f"{{ {timed}{given}\n{renamed(genn(self.model.update), {n: n + end for n in self.state} | constants)} }}"

    def _series(self, rates: Mapping[str, str], drift: Mapping[str, str], start: str, time: str, end: str) -> str:
        """exp(A t) of variables whose rates are linear in them, and of what these have besides."""
        terms = {n: f"{n}__term" for n in rates}
        given = "".join(f"scalar {t} = {n}{start}; {n}{end} = {n}{start};" for n, t in terms.items())
        found = ""
        for n, e in rates.items():
            constant = f" + (j__ == 1 ? {renamed(drift[n], terms)} : 0.0)" if n in drift else ""
            found += f"const scalar {n}__rate = {renamed(e, terms)}{constant};\n"
        taken = "".join(f"{t} = {n}__rate * share__; {n}{end} += {t};\n" for n, t in terms.items())
        settled = " && ".join(f"fabs({t}) <= {self.negligible} * fabs({n}{end})" for n, t in terms.items())
        return f"""{{
            {given}
            for (int j__ = 1; j__ <= {_MOST_TERMS}; j__++) {{
                const scalar share__ = {time} * dt / (scalar)j__;
                {found}{taken}if ({settled}) {{ break; }}
            }}
        }}"""

    def _over(self, time: str, code: str) -> tuple[str, dict[str, str]]:
        """Constants of a part of a step that ``code`` uses, and what these and its own names are called."""
        constants = self.model.constants
        called = {n: f"{n}__part" for n in self.model.timed(code)} | {"dt": "span__"}
        declared = {
            n: f"{n}__part" for n in re.findall(r"const real (\w+) =", code)
        }  # GeNN lets no block have them again
        lines = [f"const scalar span__ = {time} * dt;\n"]
        lines += [
            f"const scalar {t} = {renamed(genn(constants[n]), called)};\n" for n, t in called.items() if n != "dt"
        ]
        return "".join(lines), called | declared

    # Backwards

    def back(self, jump: str) -> str:
        """A step with a spike at ``part__``, where ``jump`` is what happens to the adjoints there."""
        after = self._retreat("__after", "(1.0 - part__)")
        return f"{self._after()}{after}\n{jump}\n{self._retreat('_then', 'part__')}"

    def _after(self) -> str:
        """The state after the reset, as ``<name>__after``."""
        if not self.keeps_start:
            return ""
        declared = "".join(f"scalar {n}__after = {n}_then;" for n in self.state)
        reset = renamed(genn(self.model.reset), {n: f"{n}__after" for n in self.state})
        return f"{declared}\n{self.advance('_then', 'part__', '__after')}\n{{ {reset} }}\n"

    def _retreat(self, start: str, time: str) -> str:
        """The adjoints at the start of a part of a step, where the state was ``<name><start>``."""
        return self._retreat_linear(start, time) if self.linear else self._retreat_map(start, time)

    def _retreat_map(self, start: str, time: str) -> str:
        m = self.model
        collected = {n: m.collect[n] for n in self.trained if n in m.collect}
        timed, called = self._over(time, f"{m.back_program} {m.adjoint_update} {' '.join(collected.values())}")
        called |= {f"{n}_then": n + start for n in self.state}
        sums = "".join(f"d_{n} += {genn(e)};\n" for n, e in collected.items())
        code = f"{genn(m.back_program)}\n{sums}{genn(m.adjoint_update)}"
        return f"{{ {timed}{renamed(code, called)} }}"

    def _retreat_linear(self, start: str, time: str) -> str:
        m = self.model
        rates = {n: genn(m.flow_back.get(n, "0.0")) for n in self.adjoint}
        declared = "".join(f"scalar {n}__back = {n};" for n in self.adjoint)
        whole = self._series(rates, {}, "", time, "__back")
        taken = "".join(f"{n} = {n}__back;" for n in self.adjoint)
        collected = {n: m.flow_collect[n] for n in self.trained if n in m.flow_collect}
        return f"{{ {declared}{self._integral(collected, rates, start, time)}{whole}\n{taken} }}"

    def _integral(self, collected: Mapping[str, str], rates: Mapping[str, str], start: str, time: str) -> str:
        """What parameters collect over the time, of state and adjoints."""
        if not collected:
            return ""
        names = {n: f"{n}__q" for n in self.state} | {n: f"{n}__back" for n in self.adjoint}
        sums = "".join(f"d_{n} += factor__ * ({renamed(genn(e), names)});\n" for n, e in collected.items())
        return f"""
            for (int q__ = 0; q__ < 3; q__++) {{
                const scalar where__ = {_WHERE}, factor__ = {_WEIGHT} * {time} * dt;
                {"".join(f"scalar {n}__q = {n}{start};" for n in self.state)}
                {self.advance(start, f"where__ * {time}", "__q")}
                {self._series(rates, {}, "", f"(1.0 - where__) * {time}", "__back")}
                {sums}
            }}
        """
