// Steps cut at spikes, and what is computed interval by interval: for time constants that differ between neurons or are
// trained, each interval needs constants of its own for every neuron.
#pragma once
#include <limits>

#include "layers.hpp"

namespace eventprop {

// Whether cuts may be taken together: neurons share their constants, and none of these is trained.
template <class Model> constexpr bool together = Model::n_lanes == 0 && Model::n_collect == 0;

// The model's constants for an interval that need not be a step.
template <class Model> class Interval {
public:
    Interval(const Layer &l, Buffer &lanes) : l(l), h(lanes) {
        std::copy(l.constants.begin(), l.constants.end(), c);
        const size_t size = size_t(l.n_panels) * Model::n_lanes * P;
        h.reserve(std::max(size_t(1), size));
        std::copy(l.lanes.data, l.lanes.data + size, h.data);
    }
    void forward(real d) { set(d, Model::forward_interval, Model::forward_lanes); }
    void backward(real d) { set(d, Model::backward_interval, Model::backward_lanes); }
    const real *constants() const { return whole ? l.constants.data() : c; }
    const real *lanes(int p) const { return whole ? l.lanes_of<Model>(p) : h.data + size_t(p) * Model::n_lanes * P; }
private:
    template <class F, class G> void set(real d, F &&shared, G &&own) {
        whole = d == real(l.dt);
        if (whole || d == current) return;
        current = d;
        shared(h.data, d, c);
        if (Model::n_lanes)
            for (int p = 0; p < l.n_panels; ++p) own(c, d, h.data + size_t(p) * Model::n_lanes * P);
    }
    const Layer &l;
    Buffer &h;
    real c[Model::n_constants], current = -1;
    bool whole = true;
};

// The weight of the loss in each step: at its start, and how it changes until its end (per ms).
struct StepWeights {
    const real *start, *slope;
};

// Rows of event_gradient by source neuron, from the events of one kind.
inline void index_events(const LayerTrace &trace, Cut kind, const SpikeLists &source, std::vector<uint32_t> &rows) {
    std::vector<uint32_t> row_of(source.id.size());
    for (uint32_t e = 0; e < trace.events.size(); ++e)
        if (trace.events[e].kind == kind) row_of[trace.events[e].index] = e;
    rows.resize(source.id.size());
    for (size_t i = 0; i < rows.size(); ++i) rows[i] = row_of[source.order[i]];
}

// The reverse of exact_sweep(), interval by interval. t.adjoint holds the adjoints at the end of the trial; nothing happens to them after step
// trace.rows - 1. Errors of the layer below are added to `below_error`.
template <class Model, class Extra>
void reverse_in_order(const Layer &l, LayerTrace &trace, int K, const SpikeLists *below, std::vector<real> *below_error, Scratch &t,
                   Extra &&extra) {
    constexpr int VARS = Model::n_adjoint, KEPT = 1 + Model::n_state;
    const size_t stride = Panels::stride_of(K), events = trace.events.size(), event_stride = Panels::stride_of(events);
    const size_t kept_width = size_t(l.n_panels) * KEPT * P;
    trace.live_events = trace.event_start[trace.rows];
    trace.event_gradient.reserve(event_stride * l.n_panels);
    if (!below) trace.gradient.reserve(stride * l.n_panels);
    t.transport_row.reserve(size_t(l.n_panels) * P);
    real *adjoint = t.adjoint.data, *row = t.transport_row.data;
    const Panels g{trace.gradient.data, stride}, eg{trace.event_gradient.data, event_stride};
    const real *c = l.constants.data();
    Interval<Model> interval(l, t.lanes);
    alignas(64) real unused[P];
    auto x = [&](int p) { return adjoint + size_t(p) * VARS * P; };
    auto h = [&](int p) { return l.lanes_of<Model>(p); };
    auto back = [&](real d, size_t kept_row) {
        if (!(d > 0)) return;
        interval.backward(d);
        for (int p = 0; p < l.n_panels; ++p) {
            if (Model::n_collect)
                Model::collect(interval.constants(), interval.lanes(p), x(p), trace.kept.data + kept_row * kept_width + size_t(p) * KEPT * P,
                               trace.collected.data + size_t(p) * Model::n_collect * P);
            Model::back(interval.constants(), interval.lanes(p), x(p), unused);
        }
    };
    auto arrived = [&](size_t e, const Weights &w, int source) {  // what the spike's synapses collect; returns its error
        for (int p = 0; p < l.n_panels; ++p) {
            Model::gradient(c, h(p), x(p), eg.at(p, e));
            Model::transport(c, h(p), x(p), row + p * P);
        }
        return dot_row(w.w, source, row, P, l.n_panels);
    };
    for (int k = trace.rows - 1; k >= 0; --k) {
        back(trace.tail[k], size_t(trace.event_start[k + 1]) + k);
        for (size_t e = trace.event_start[k + 1]; e-- > trace.event_start[k];) {
            const Event &event = trace.events[e];
            const uint32_t s = event.index;
            if (event.kind == BELOW) {
                (*below_error)[s] += arrived(e, l.forward, below->id[s]);
            } else {
                const bool own = event.kind == OWN;
                const int neuron = own ? trace.spikes.id[s] : trace.dropped.id[s], p = neuron / P;
                if (own && l.recurrent.present) trace.error[s] += arrived(e, l.recurrent, neuron);
                Model::jump(c, h(p), x(p), neuron % P, own ? trace.error[s] : real(0),
                            &(own ? trace.recorded : trace.dropped_recorded)[size_t(s) * Model::n_recorded]);
                if (own) extra(x(p), s, neuron % P);
            }
            back(event.before, e + k);
        }
        if (!below)
            for (int p = 0; p < l.n_panels; ++p) Model::gradient(c, h(p), x(p), g.at(p, k));
    }
    if (below) index_events(trace, BELOW, *below, trace.below_rows);
    if (l.recurrent.present) index_events(trace, OWN, trace.spikes, trace.own_rows);
}

// The read-out that does not spike: integrals of V with the loss's weight, taken as linear in time within a step.
template <class Model>
void read_in_order(const Layer &l, int K, const SpikeLists &below, StepWeights w, Slot &slot, bool kept, Scratch &t) {
    constexpr int VARS = 1 + Model::n_state;
    const real h = real(l.dt), trial = real(K * l.dt);
    const size_t width = size_t(l.n_panels) * VARS * P;
    t.state.reserve(width);
    slot.readout.reserve(size_t(l.n_panels) * Readout::n_state * P);
    std::fill(slot.readout.data, slot.readout.data + size_t(l.n_panels) * Readout::n_state * P, real(0));
    if (kept) slot.output.kept.reserve((size_t(K) + below.id.size()) * width);
    real *x = t.state.data;
    for (int p = 0; p < l.n_panels; ++p) Model::start(l.constants.data(), l.lanes_of<Model>(p), x + p * VARS * P);
    Interval<Model> interval(l, t.lanes);
    size_t row = 0;
    auto go = [&](int k, real from, real d) {
        if (kept) std::memcpy(slot.output.kept.data + row++ * width, x, width * sizeof(real));
        if (!(d > 0)) return;
        interval.forward(d);
        const real weight = (w.start[k] + w.slope[k] * from) / trial, slope = w.slope[k] / trial;
        for (int p = 0; p < l.n_panels; ++p)
            Model::integrate(interval.constants(), interval.lanes(p), x + p * VARS * P, weight, slope, d,
                              slot.readout.data + size_t(p) * Readout::n_state * P);
    };
    for (int k = 0; k < K; ++k) {
        real at = 0;
        for (uint32_t s = below.step_start[k]; s < below.step_start[k + 1]; ++s) {
            go(k, at, below.at[s] - at);
            at = below.at[s];
            for (int p = 0; p < l.n_panels; ++p) {
                real *current = x + p * VARS * P;
                const real *in = l.forward.w.at(p, below.id[s]);
                for (int i = 0; i < P; ++i) current[i] += in[i];
            }
        }
        go(k, at, h - at);
    }
}

// Its reverse; event row s of the trace belongs to spike s from below.
template <class Model>
void reverse_read_in_order(const Layer &l, int K, const SpikeLists &below, StepWeights w, Slot &slot,
                               std::vector<real> &below_error, Scratch &t) {
    constexpr int VARS = Model::n_adjoint, KEPT = 1 + Model::n_state;
    LayerTrace &trace = slot.output;
    const real h = real(l.dt), trial = real(K * l.dt);
    const size_t stride = Panels::stride_of(below.id.size()), kept_width = size_t(l.n_panels) * KEPT * P;
    trace.event_gradient.reserve(stride * l.n_panels);
    trace.live_events = uint32_t(below.id.size());
    t.adjoint.reserve(size_t(l.n_panels) * VARS * P);
    t.transport_row.reserve(size_t(l.n_panels) * P);
    std::fill(t.adjoint.data, t.adjoint.data + size_t(l.n_panels) * VARS * P, real(0));
    const Panels eg{trace.event_gradient.data, stride};
    const real *c = l.constants.data();
    Interval<Model> interval(l, t.lanes);
    auto x = [&](int p) { return t.adjoint.data + size_t(p) * VARS * P; };
    size_t kept_row = size_t(K) + below.id.size();
    auto back = [&](int k, real from, real d) {
        --kept_row;
        if (!(d > 0)) return;
        interval.backward(d);
        const real start = (w.start[k] + w.slope[k] * from) / trial, slope = w.slope[k] / trial;
        for (int p = 0; p < l.n_panels; ++p) {
            const real *ci = interval.constants(), *hi = interval.lanes(p), *error = slot.error.data() + p * P;
            if (Model::n_collect) {
                const real *keep = trace.kept.data + kept_row * kept_width + size_t(p) * KEPT * P;
                real *sum = trace.collected.data + size_t(p) * Model::n_collect * P;
                Model::collect(ci, hi, x(p), keep, sum);
                Model::collect_integral(ci, hi, keep, error, start, slope, d, sum);
            }
            Model::back_driven(ci, hi, x(p), error, start + slope * d, -slope, d);
        }
    };
    for (int k = K - 1; k >= 0; --k) {
        const uint32_t from = below.step_start[k], to = below.step_start[k + 1];
        const real last = from < to ? below.at[to - 1] : real(0);
        back(k, last, h - last);
        for (uint32_t s = to; s-- > from;) {
            for (int p = 0; p < l.n_panels; ++p) {
                Model::gradient(c, l.lanes_of<Model>(p), x(p), eg.at(p, s));
                Model::transport(c, l.lanes_of<Model>(p), x(p), t.transport_row.data + p * P);
            }
            below_error[s] += dot_row(l.forward.w, below.id[s], t.transport_row.data, P, l.n_panels);
            const real before = s > from ? below.at[s - 1] : real(0);
            back(k, before, below.at[s] - before);
        }
    }
    trace.below_rows.assign(below.order.begin(), below.order.end());
}

}  // namespace eventprop
