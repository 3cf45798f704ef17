// What parameters collect of neurons that spike in a step in which things arrive at times of their own: these are followed
// from cut to cut, forwards from where the step began and back again.
#pragma once
#include "arrival_sweep.hpp"

namespace eventprop {

template <class Model> class ArrivalReplay {
public:
    static constexpr int M = Model::n_adjoint, N = Model::n_state, C = Model::n_collect, L = Model::n_lanes;

    explicit ArrivalReplay(const Layer &l) : l(l) {}

    // Takes down the adjoints of neurons that spike in step k, at its end, and what they have collected.
    template <class X, class Sum> void hold(const LayerTrace &trace, int k, X &&x, Sum &&sum) {
        held.clear();
        const auto &start = trace.arrivals.replay_start;
        for (uint32_t i = start[k]; i < start[k + 1]; ++i) {
            Held own;
            own.what = trace.arrivals.replayed[i];
            const int p = int(own.what.neuron) / P, lane = int(own.what.neuron) % P;
            for (int v = 0; v < M; ++v) own.adjoint[v] = x(p)[v * P + lane];
            for (int v = 0; v < C; ++v) own.sum[v] = sum(p)[v * P + lane];
            held.push_back(own);
        }
    }
    // Once the errors of their spikes are known; `start` are the states at the start of the step, [panel][variable][P].
    template <class Sum, class Extra> void back(const LayerTrace &trace, const real *start, Sum &&sum, Extra &&extra) {
        for (Held &own : held) {
            const int neuron = int(own.what.neuron), p = neuron / P, lane = neuron % P;
            alignas(64) real h[(L ? L : 1) * P] = {};
            for (int r = 0; r < L; ++r)
                for (int j = 0; j < LANES; ++j) h[r * P + j] = l.lanes_of<Model>(p)[r * P + lane];
            cut(trace, neuron, own.what);
            with_flow<Model>(l, h, l.terms, [&](auto &&f) {
                forwards(f, h, trace, start + size_t(p) * N * P + lane);
                backwards(f, h, trace, own, extra);
            });
            for (int v = 0; v < C; ++v) sum(p)[v * P + lane] = own.sum[v];
        }
    }

private:
    struct Held {
        Replayed what;
        real adjoint[M], sum[C ? C : 1];
    };
    // What cuts the step: an arrival, or an event.
    struct Cut {
        real at;
        int32_t arrival, event;           // one of them -1
    };
    const Layer &l;
    std::vector<Held> held;
    std::vector<Cut> cuts;
    Buffer states;                        // after each cut, [cut][variable][P]

    real *state(size_t cut) const { return states.data + cut * N * P; }

    // Arrivals and events by time. What arrived when a neuron spiked had come before, or after: this was settled when it was
    // followed, and only its current tells.
    void cut(const LayerTrace &trace, int neuron, const Replayed &what) {
        cuts.clear();
        uint32_t a = what.first;
        for (uint32_t e = trace.event_start[what.step]; e < trace.event_start[what.step + 1]; ++e) {
            if (neuron_of(trace, e) != neuron) continue;
            const real at = 1 - trace.events[e].after / real(l.dt);
            for (; a < what.end && trace.arrivals.arrivals[a].at < at; ++a) cuts.push_back({trace.arrivals.arrivals[a].at, int32_t(a), -1});
            cuts.push_back({at, -1, int32_t(e)});
        }
        for (; a < what.end; ++a) cuts.push_back({trace.arrivals.arrivals[a].at, int32_t(a), -1});
    }
    static int neuron_of(const LayerTrace &trace, uint32_t e) {
        const Event &event = trace.events[e];
        return (event.kind == OWN ? trace.spikes : trace.dropped).id[event.index];
    }
    real length(size_t i) const {
        const real from = i ? cuts[i - 1].at : real(0), to = i < cuts.size() ? cuts[i].at : real(1);
        return larger(real(0), to - from);
    }

    template <class F> void forwards(const F &f, const real *h, const LayerTrace &trace, const real *start) {
        real unused[Model::n_recorded];
        states.grow((cuts.size() + 1) * N * P);
        for (int v = 0; v < N; ++v) f.row(state(0), v) = vec{} + start[v * P];
        for (size_t i = 0; i < cuts.size(); ++i) {
            real *x = state(i + 1);
            f.advance(state(i), vec{} + length(i), x);
            if (cuts[i].event >= 0) Model::spike(f.c, h, x, 0, unused);
            else x[0] += trace.arrivals.arrivals[cuts[i].arrival].w;
        }
    }
    template <class F, class Extra> void backwards(const F &f, const real *h, const LayerTrace &trace, Held &own, Extra &&extra) {
        alignas(64) real a[M * P] = {}, sums[(C ? C : 1) * P] = {};
        for (int v = 0; v < M; ++v) a[v * P] = own.adjoint[v];
        for (int v = 0; v < C; ++v) sums[v * P] = own.sum[v];
        f.retreat(a, state(cuts.size()), vec{} + length(cuts.size()), sums);
        for (size_t i = cuts.size(); i-- > 0;) {
            if (cuts[i].event >= 0) jump(f, h, trace, trace.events[cuts[i].event], a, sums, extra);
            f.retreat(a, state(i), vec{} + length(i), sums);
        }
        for (int v = 0; v < C; ++v) own.sum[v] = sums[v * P];
    }
    template <class F, class Extra>
    void jump(const F &f, const real *h, const LayerTrace &trace, const Event &e, real *a, real *sums, Extra &&extra) const {
        const bool own = e.kind == OWN;
        const real *recorded = &(own ? trace.recorded : trace.dropped_recorded)[size_t(e.index) * Model::n_recorded];
        real after[M];
        for (int v = 0; v < M; ++v) after[v] = a[v * P];
        Model::jump(f.c, h, a, 0, own ? trace.error[e.index] : real(0), recorded);
        if (own) extra(a, e.index, 0);
        if constexpr (Model::collects_jumps) Model::collect_jump(f.c, h, a, after, 0, recorded, sums);
    }
};

}  // namespace eventprop
