// The published algorithm: spikes at the ends of steps. Forward sweep of a layer, and its reverse.
//
// Conventions (steps k = 0 .. K-1): a spike stamped k happens at the end of step k and reaches its targets' current in
// step k + 1; no spike is emitted in step K-1. Adjoint row m belongs to time m * dt.
#pragma once
#include <cmath>

#include "layers.hpp"

namespace eventprop {

template <class Model> bool quiet(const Layer &l, const real *state) {
    for (int p = 0; p < l.n_panels; ++p)
        if (!Model::quiet(l.constants.data(), l.lanes_of<Model>(p), state + p * (1 + Model::n_state) * P)) return false;
    return true;
}

// Spikes of the panel's lanes in `fired`, at step k.
template <class Model>
void fire(const Layer &l, int p, int k, real *x, const int *fired, LayerTrace &out, const Draws &draws) {
    const int n = std::min(P, l.n - p * P);
    for (int lane = 0; lane < n; ++lane)
        if (fired[lane]) {
            real value[Model::n_recorded];
            Model::spike(l.constants.data(), l.lanes_of<Model>(p), x, lane, value);
            const bool dropped = draws.drops(k, p * P + lane);
            auto &list = dropped ? out.dropped : out.spikes;
            auto &recorded = dropped ? out.dropped_recorded : out.recorded;
            list.id.push_back(uint16_t(p * P + lane));
            recorded.insert(recorded.end(), value, value + Model::n_recorded);
        }
}

template <class Model, bool noisy, bool kept>
void sweep_steps(const Layer &l, Panels drive, int rows, int K, LayerTrace &out, const Draws &draws, bool whole, real *state) {
    constexpr int VARS = 1 + Model::n_state;
    const real *c = l.constants.data();
    const size_t kept_stride = size_t(K) * VARS * P;
    SpikeLists &spikes = out.spikes;
    alignas(64) real current[P], normal[P], none[P] = {};
    alignas(64) int fired[P];
    int k = 0;
    for (; k < K; ++k) {
        const uint32_t from = k ? spikes.step_start[k - 1] : 0, to = uint32_t(spikes.id.size());
        const bool driven = k > 0 && k <= rows;
        if (!noisy && !(kept && whole) && !driven && from == to && k > rows && k % 4 == 0 && quiet<Model>(l, state)) break;
        spikes.step_start[k] = to;
        if (draws.dropout) out.dropped.step_start[k] = uint32_t(out.dropped.id.size());
        for (int p = 0; p < l.n_panels; ++p) {
            const real *in = driven ? drive.at(p, k - 1) : none;
            if (from < to && l.recurrent.present) {
                store(current, sum_rows(load(in), l.recurrent.w.at(p, 0), spikes.id.data(), from, to));
                in = current;
            }
            if (noisy) draws.normal->fill(normal, draws.noise_key, k, p * P, draws.noise);
            real *x = state + p * VARS * P, *keep = kept ? out.kept.data + p * kept_stride + size_t(k) * VARS * P : nullptr;
            if (Model::template step<noisy, kept>(c, l.lanes_of<Model>(p), x, in, fired, normal, keep) && k < K - 1)
                fire<Model>(l, p, k, x, fired, out, draws);
        }
    }
    for (int j = k; j <= K; ++j) spikes.step_start[j] = uint32_t(spikes.id.size());
    if (draws.dropout)
        for (; k <= K; ++k) out.dropped.step_start[k] = uint32_t(out.dropped.id.size());
}

// A layer of spiking neurons through a trial; drive row k holds what arrives from below in step k + 1. `whole`: state is
// kept to the end of the trial, also where nothing happens any more.
template <class Model>
void sweep(const Layer &l, Panels drive, int rows, int K, LayerTrace &out, const Draws &draws, bool kept, bool whole, Scratch &t) {
    constexpr int VARS = 1 + Model::n_state;
    t.state.reserve(size_t(l.n_panels) * VARS * P);
    real *state = t.state.data;
    for (int p = 0; p < l.n_panels; ++p)
        Model::start(l.constants.data(), l.lanes_of<Model>(p), state + p * VARS * P);
    out.spikes.clear(K);
    out.dropped.clear(draws.dropout ? K : 0);
    out.recorded.clear();
    out.dropped_recorded.clear();
    if (kept) out.kept.reserve(size_t(l.n_panels) * K * VARS * P);
    if (draws.noise != 0)
        kept ? sweep_steps<Model, true, true>(l, drive, rows, K, out, draws, whole, state)
             : sweep_steps<Model, true, false>(l, drive, rows, K, out, draws, whole, state);
    else
        kept ? sweep_steps<Model, false, true>(l, drive, rows, K, out, draws, whole, state)
             : sweep_steps<Model, false, false>(l, drive, rows, K, out, draws, whole, state);
    out.spikes.index_by_id(l.n, K);
}

// Keeps the state after each step: the current of the step, and all else as it was at the start of the next one, or, after
// the last, at the end.
template <class Model> void record_states(const Layer &l, LayerTrace &out, const real *state, int K) {
    constexpr int VARS = 1 + Model::n_state;
    out.states.reserve(size_t(l.n_panels) * K * VARS * P);
    for (int p = 0; p < l.n_panels; ++p) {
        const size_t start = size_t(p) * K * VARS * P;
        real *to = out.states.data + start;
        const real *kept = out.kept.data + start;
        for (int k = 0; k < K; ++k) {
            const real *next = k + 1 < K ? kept + size_t(k + 1) * VARS * P : state + size_t(p) * VARS * P;
            std::copy(kept + size_t(k) * VARS * P, kept + size_t(k) * VARS * P + P, to + size_t(k) * VARS * P);
            std::copy(next + P, next + VARS * P, to + size_t(k) * VARS * P + P);
        }
    }
}

// Space for the adjoints of a trial, all 0.
template <class Model> void start_adjoints(const Layer &l, LayerTrace &trace, int K) {
    const size_t n = size_t(l.n_panels) * K * Model::n_adjoint * P;
    trace.adjoints.reserve(n);
    std::fill(trace.adjoints.data, trace.adjoints.data + n, real(0));
}

// Keeps the adjoints of a panel at the start of step m, which is the end of step m - 1.
template <class Model> void record_adjoints(LayerTrace &trace, int p, int m, int K, const real *x) {
    constexpr int VARS = Model::n_adjoint;
    if (m > 0) std::copy(x, x + VARS * P, trace.adjoints.data + (size_t(p) * K + m - 1) * VARS * P);
}

// Adds the cusps' share to the errors: a maximum of output j at the arrival of spikes moves with those that end the
// rise of V, the ones with negative weight onto j, in proportion to it.
inline void add_cusps(const Layer &output, const real *error, const real *readout, int which, LayerTrace &hidden, int K) {
    for (int j = 0; j < output.n; ++j) {
        const int p = j / P, lane = j % P;
        const real *r = readout + size_t(p) * Readout::n_state * P;
        const real cusp = Readout::cusp(which, r, lane, error[j]);
        const int m = Readout::cusp_step(which, r, lane);
        if (cusp == 0 || m < 1 || m >= K) continue;
        real sum = 0;
        const uint32_t from = hidden.spikes.step_start[m - 1], to = hidden.spikes.step_start[m];
        for (uint32_t s = from; s < to; ++s) sum += std::min(real(0), output.forward.w.at(p, hidden.spikes.id[s])[lane]);
        if (sum < 0)
            for (uint32_t s = from; s < to; ++s)
                hidden.error[s] += cusp * std::min(real(0), output.forward.w.at(p, hidden.spikes.id[s])[lane]) / sum;
    }
}

// R of each spike from the layer above, whose transport rows are in t.transport
inline void errors_from_above(LayerTrace &trace, const Layer &above, int rows, int K, Scratch &t) {
    const SpikeLists &spikes = trace.spikes;
    const size_t stride = Panels::stride_of(K);
    for (int k = 0; k + 1 < rows; ++k)
        for (uint32_t s = spikes.step_start[k]; s < spikes.step_start[k + 1]; ++s)
            trace.error[s] = dot_row(above.forward.w, spikes.id[s], t.transport.data + size_t(k + 1) * P, stride, above.n_panels);
}

// The reverse of sweep(). t.adjoint holds the adjoints at the end of the trial; trace.rows is the first row, seen
// backwards, that is not zero. `extra(x, spike, lane)` follows each jump.
template <class Model, class Extra>
void reverse(const Layer &l, LayerTrace &trace, int K, bool keep_transport, bool record, Scratch &t, Extra &&extra) {
    constexpr int VARS = Model::n_adjoint, KEPT = 1 + Model::n_state;
    if (record) start_adjoints<Model>(l, trace, K);
    const SpikeLists &spikes = trace.spikes;
    const size_t stride = Panels::stride_of(K), kept_stride = size_t(K) * KEPT * P;
    trace.gradient.reserve(stride * l.n_panels);
    if (keep_transport) t.transport.reserve(stride * l.n_panels);
    t.transport_row.reserve(size_t(l.n_panels) * P);
    real *adjoint = t.adjoint.data, *row = t.transport_row.data;
    const real *c = l.constants.data();
    const Panels g{trace.gradient.data, stride}, d{t.transport.data, stride};
    auto x = [&](int p) { return adjoint + size_t(p) * VARS * P; };
    auto h = [&](int p) { return l.lanes_of<Model>(p); };
    auto jump = [&](int neuron, real R, const real *recorded) {
        Model::jump(c, h(neuron / P), x(neuron / P), neuron % P, R, recorded);
    };
    for (int m = trace.rows - 1; m >= 0; --m) {
        for (int p = 0; p < l.n_panels; ++p) {
            if (Model::n_collect)
                Model::collect(c, h(p), x(p), trace.kept.data + p * kept_stride + size_t(m) * KEPT * P,
                               trace.collected.data + size_t(p) * Model::n_collect * P);
            Model::back(c, h(p), x(p), g.at(p, m));
        }
        for (uint32_t s = spikes.step_start[m]; s < spikes.step_start[m + 1]; ++s) {
            const int p = spikes.id[s] / P;
            jump(spikes.id[s], trace.error[s], &trace.recorded[size_t(s) * Model::n_recorded]);
            extra(x(p), s, spikes.id[s] % P);
            if (Model::jump_changes_gradient) Model::gradient(c, h(p), x(p), g.at(p, m));
        }
        if (!trace.dropped.id.empty())
            for (uint32_t s = trace.dropped.step_start[m]; s < trace.dropped.step_start[m + 1]; ++s)
                jump(trace.dropped.id[s], real(0), &trace.dropped_recorded[size_t(s) * Model::n_recorded]);
        if (record)
            for (int p = 0; p < l.n_panels; ++p) record_adjoints<Model>(trace, p, m, K, x(p));
        if (keep_transport)
            for (int p = 0; p < l.n_panels; ++p) Model::transport(c, h(p), x(p), d.at(p, m));
        if (m > 0 && l.recurrent.present && spikes.step_start[m - 1] < spikes.step_start[m]) {
            for (int p = 0; p < l.n_panels; ++p) Model::transport(c, h(p), x(p), row + p * P);
            for (uint32_t s = spikes.step_start[m - 1]; s < spikes.step_start[m]; ++s)
                trace.error[s] += dot_row(l.recurrent.w, spikes.id[s], row, P, l.n_panels);
        }
    }
}

// The read-out that does not spike, read at the start of each step. Where the loss compares voltages at each step
// they are kept in t.voltages, [step][panel][P].
template <class Model>
void read_steps(const Layer &l, Panels drive, int rows, int K, const real *weight, int which, const real *q,
                       Slot &slot, bool kept, Scratch &t) {
    constexpr int VARS = 1 + Model::n_state;
    const bool voltages = Readout::per_step(which);
    t.state.reserve(size_t(l.n_panels) * VARS * P);
    slot.readout.reserve(size_t(l.n_panels) * Readout::n_state * P);
    if (kept) slot.output.kept.reserve(size_t(l.n_panels) * K * VARS * P);
    if (voltages) t.voltages.reserve(size_t(l.n_panels) * K * P);
    const real *c = l.constants.data();
    alignas(64) real none[P] = {};
    alignas(64) int fired[P];
    for (int p = 0; p < l.n_panels; ++p) {
        const real *h = l.lanes_of<Model>(p);
        real *x = t.state.data + size_t(p) * VARS * P, *r = slot.readout.data + size_t(p) * Readout::n_state * P;
        real *keep = slot.output.kept.data + size_t(p) * K * VARS * P;
        Model::start(c, h, x);
        Readout::start(which, r);
        for (int k = 0; k < K; ++k) {
            const real *in = k > 0 && k <= rows ? drive.at(p, k - 1) : none;
            Readout::read(which, c, h, q, x, r, weight[k], real(k), real(K));
            if (voltages) std::memcpy(t.voltages.data + (size_t(k) * l.n_panels + p) * P, x + Model::v_row * P, sizeof(real) * P);
            if (kept) Model::template step<false, true>(c, h, x, in, fired, none, keep + size_t(k) * VARS * P);
            else Model::template step<false, false>(c, h, x, in, fired, none, nullptr);
        }
        Readout::finish(which, c, h, q, x, r, real(K));
    }
}

// Adjoints of the read-out that does not spike. slot.error is [panel][P], or [step][panel][P] where the loss compares
// voltages at each step.
template <class Model>
void reverse_readout(const Layer &l, Slot &slot, int K, const real *weight, int which, const real *q, bool record, Scratch &t) {
    constexpr int VARS = Model::n_adjoint, KEPT = 1 + Model::n_state;
    LayerTrace &trace = slot.output;
    const size_t stride = Panels::stride_of(K);
    trace.gradient.reserve(stride * l.n_panels);
    t.transport.reserve(stride * l.n_panels);
    if (record) start_adjoints<Model>(l, trace, K);
    trace.rows = slot.layers.back().spikes.id.empty() && !Model::n_collect && !record ? 0 : K;
    if (!trace.rows) return;
    t.adjoint.reserve(size_t(VARS) * P);
    const real *c = l.constants.data();
    const size_t error_step = Readout::per_step(which) ? size_t(l.n_panels) * P : 0;
    const bool cusps = Readout::has_cusps(which);
    alignas(64) real before[P];
    for (int p = 0; p < l.n_panels; ++p) {
        real *x = t.adjoint.data;
        const real *h = l.lanes_of<Model>(p), *r = slot.readout.data + size_t(p) * Readout::n_state * P;
        const real *error = slot.error.data() + p * P;
        std::fill(x, x + VARS * P, real(0));
        Panels g{trace.gradient.data, stride}, d{t.transport.data, stride};
        for (int m = K - 1; m >= 0; --m) {
            if (Model::n_collect)
                Model::collect(c, h, x, trace.kept.data + (size_t(p) * K + m) * KEPT * P,
                                trace.collected.data + size_t(p) * Model::n_collect * P);
            Model::back(c, h, x, g.at(p, m));
            if (cusps) Model::transport(c, h, x, before);
            Readout::impulse(which, c, h, q, x, error + error_step * m, r, weight[m], real(m), real(K));
            if (Readout::impulse_changes_gradient) Model::gradient(c, h, x, g.at(p, m));
            Model::transport(c, h, x, d.at(p, m));
            if (record) record_adjoints<Model>(trace, p, m, K, x);
            if (cusps)                    // spikes that arrive at a cusp come too late for the maximum to depend on them
                for (int lane = 0; lane < P; ++lane)
                    if (Readout::cusp_step(which, r, lane) == m && Readout::cusp(which, r, lane, real(1)) != 0)
                        d.at(p, m)[lane] = before[lane];
        }
    }
}

}  // namespace eventprop
