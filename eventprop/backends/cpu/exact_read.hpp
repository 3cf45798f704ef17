// The read-out that does not spike, where spikes have their exact times: integrals of V with the loss's weight, taken as linear
// in time within a step.
#pragma once
#include "exact_back.hpp"

namespace eventprop {

// The weight of the loss in each step: at its start, and how it changes until its end (per ms).
struct StepWeights {
    const real *start, *slope;
};

template <class Model>
void read_exact(const Layer &l, int K, const SpikeLists &below, StepWeights w, Slot &slot, bool kept, Scratch &t) {
    constexpr int VARS = Model::n_state;
    const real h = real(l.dt), trial = real(K * l.dt), *c = l.constants.data();
    const int n = l.nodes.n;
    LayerTrace &trace = slot.output;
    const size_t width = size_t(l.n_panels) * VARS * P, moments_width = size_t(l.n_panels) * n * P;
    t.state.reserve(width);
    t.moments.reserve(moments_width);
    slot.readout.reserve(size_t(l.n_panels) * Readout::n_state * P);
    std::fill(slot.readout.data, slot.readout.data + size_t(l.n_panels) * Readout::n_state * P, real(0));
    if (kept) {
        trace.kept.reserve(size_t(K) * width);
        trace.moment_row.assign(K, -1);
    }
    auto x = [&](int p) { return t.state.data + size_t(p) * VARS * P; };
    auto sums = [&](int p) { return slot.readout.data + size_t(p) * Readout::n_state * P; };
    for (int p = 0; p < l.n_panels; ++p) Model::start(c, l.lanes_of<Model>(p), x(p));
    Arrivals arrivals;
    size_t rows = 0;
    alignas(64) real y[VARS * P];
    for (int k = 0; k < K; ++k) {
        const real start = w.start[k] / trial, slope = w.slope[k] / trial;
        if (kept) std::memcpy(trace.kept.data + k * width, t.state.data, width * sizeof(real));
        arrivals.clear();
        for (uint32_t s = below.step_start[k]; s < below.step_start[k + 1]; ++s)
            arrivals.template add<Model>(l, l.forward, below.id[s], h - below.at[s]);
        real *m = t.moments.data;
        if (kept && arrivals.size()) {
            trace.moment_row[k] = int32_t(rows);
            trace.moments.grow((rows + 1) * moments_width);
            m = trace.moments.data + rows++ * moments_width;
        }
        for (int p = 0; p < l.n_panels; ++p) {
            Model::integrate(c, l.lanes_of<Model>(p), x(p), start, slope, h, sums(p));
            if (!arrivals.size()) continue;
            real *own = m + size_t(p) * n * P;
            std::fill(own, own + n * P, real(0));
            arrivals.deliver_rows(p, n, own, nullptr);
            for (int q = 0; q < n; ++q) {
                const real left = l.nodes.at[q];
                of_moment<Model>(own, q, y);
                Model::integrate(l.nodes.constants_of<Model>(q), l.nodes.lanes_of<Model>(q, p, l.n_panels), y, start + slope * (h - left),
                                 slope, left, sums(p));
                for (int i = 0; i < VARS * P; ++i) x(p)[i] += y[i];
            }
        }
    }
}

// Its reverse; event s of the trace belongs to spike s from below.
template <class Model>
void reverse_read_exact(const Layer &l, int K, const SpikeLists &below, StepWeights w, Slot &slot, std::vector<real> &below_error,
                        Scratch &t) {
    constexpr int M = Model::n_adjoint, VARS = Model::n_state;
    LayerTrace &trace = slot.output;
    const real h = real(l.dt), trial = real(K * l.dt), *c = l.constants.data();
    const int n = l.nodes.n;
    const size_t stride = Panels::stride_of(size_t(K) * n);
    trace.step_adjoint.reserve(stride * l.n_panels);
    trace.seen.resize(below.id.size() * n);
    trace.events.resize(below.id.size());
    clear_adjoint(l, M, t);
    t.seen.reserve(size_t(l.n_panels) * n * P);
    real *errors = t.seen.data;
    const Panels rows{trace.step_adjoint.data, stride};
    auto x = [&](int p) { return t.adjoint.data + size_t(p) * M * P; };
    auto error = [&](int p) { return slot.error.data() + p * P; };
    auto sum = [&](int p) { return trace.collected.data + size_t(p) * Model::n_collect * P; };
    alignas(64) real a[M * P], y[VARS * P];
    for (int k = K - 1; k >= 0; --k) {
        const real start = w.start[k] / trial, slope = w.slope[k] / trial, end = start + slope * h;
        const uint32_t from = below.step_start[k], to = below.step_start[k + 1];
        for (int p = 0; from < to && p < l.n_panels; ++p)
            for (int q = 0; q < n; ++q) {
                const real *cq = l.nodes.constants_of<Model>(q), *hq = l.nodes.lanes_of<Model>(q, p, l.n_panels);
                std::copy(x(p), x(p) + M * P, a);
                Model::back_driven(cq, hq, a, error(p), end, -slope, l.nodes.at[q]);
                Model::gradient(cq, hq, a, rows.at(p, size_t(k) * n + q));
                Model::transport(cq, hq, a, errors + (size_t(p) * n + q) * P);
            }
        for (uint32_t s = from; s < to; ++s) {
            trace.events[s] = {0, h - below.at[s], BELOW, s, uint32_t(k)};
            real *seen = &trace.seen[size_t(s) * n];
            l.nodes.collected.at(n, n, NodeConstants::z_of(h - below.at[s], l.dt), seen);
            below_error[s] += error_of_rows(l.forward.w, below.id[s], seen, errors, n, size_t(n) * P, l.n_panels);
        }
        for (int p = 0; p < l.n_panels; ++p) {
            const real *hp = l.lanes_of<Model>(p);
            if constexpr (Model::n_collect > 0) {
                const real *keep = trace.kept.data + (size_t(k) * l.n_panels + p) * VARS * P;
                Model::collect(c, hp, x(p), keep, sum(p));
                Model::collect_integral(c, hp, keep, error(p), start, slope, h, sum(p));
                for (int q = 0; trace.moment_row[k] >= 0 && q < n; ++q) {
                    const real *cq = l.nodes.constants_of<Model>(q), *hq = l.nodes.lanes_of<Model>(q, p, l.n_panels), left = l.nodes.at[q];
                    of_moment<Model>(trace.moments.data + (size_t(trace.moment_row[k]) * l.n_panels + p) * n * P, q, y);
                    Model::collect(cq, hq, x(p), y, sum(p));
                    Model::collect_integral(cq, hq, y, error(p), start + slope * (h - left), slope, left, sum(p));
                }
            }
            Model::back_driven(c, hp, x(p), error(p), end, -slope, h);
        }
    }
    if constexpr (Model::n_collect > 0)
        for (int p = 0; p < l.n_panels; ++p) Model::collect_start(c, l.lanes_of<Model>(p), x(p), sum(p));
}

}  // namespace eventprop
