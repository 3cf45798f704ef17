// The read-out that does not spike, at which spikes arrive at times of their own: integrals of V with the loss's weight, taken
// as linear in time within a step.
#pragma once
#include "arrival_back.hpp"
#include "exact_read.hpp"

namespace eventprop {

template <class Model> class ArrivalReadOut {
public:
    ArrivalReadOut(const Layer &l, int K, StepWeights w, Slot &slot, Scratch &t)
        : l(l), K(K), w(w), trace(slot.output), error(slot.error.data()), t(t), c(l.constants.data()), h(real(l.dt)), counted(w.duration),
          ends(trace.arrivals.weight), slopes(trace.arrivals.weight_slope) {
        slot.readout.reserve(size_t(l.n_panels) * Readout::n_state * P);
        readout = slot.readout.data;
        ends.resize(K);
        slopes.resize(K);
        for (int k = 0; k < K; ++k) {
            slopes[k] = -w.slope[k] / counted;
            ends[k] = w.start[k] / counted - slopes[k] * h;
        }
    }

    void forward(const SpikeLists &below, bool kept) {
        const size_t width = size_t(l.n_panels) * ROWS * P;
        t.state.reserve(width);
        std::fill(t.state.data, t.state.data + width, real(0));
        if (kept) trace.kept.reserve(size_t(K) * l.n_panels * N * P);
        Landing<Model> landing(l, K, kept, kept ? trace.arrivals.landed : t.arrivals.landed);
        landing.land(below, l.forward);
        for (int p = 0; p < l.n_panels; ++p) Model::start(c, l.lanes_of<Model>(p), x(p));
        landing.each_block([&](int p, int first) {
            each_spike(below, K, l.forward, [&](int row, int k, real at, uint32_t) { integrate(row, k, at, p, first); });
        });
        for (int k = 0; k < K; ++k)
            for (int p = 0; p < l.n_panels; ++p) {
                if (kept) std::memcpy(keep(p, k), x(p), N * P * sizeof(real));
                Model::integrate(c, l.lanes_of<Model>(p), x(p), w.start[k] / counted, w.slope[k] / counted, h, x(p) + N * P);
                bring_landed<Model>(l, p, landing.at(p, k), kept, x(p));
            }
        for (int p = 0; p < l.n_panels; ++p)
            std::memcpy(readout + size_t(p) * Readout::n_state * P, x(p) + N * P, P * sizeof(real));
    }

    void back() {
        clear_adjoint(l, M, t);
        clear_sights(trace.arrivals, l, K, C, false);
        for (int k = K - 1; k >= 0; --k)
            for (int p = 0; p < l.n_panels; ++p) {
                std::copy(a(p), a(p) + C * P, trace.arrivals.adjoint.data + (size_t(p) * (K + 1) + k) * C * P);
                if constexpr (Model::n_collect > 0) collect(k, p);
                Model::back_driven(c, l.lanes_of<Model>(p), a(p), error + p * P, ends[k], slopes[k], h);
            }
        if constexpr (Model::n_collect > 0)
            for (int p = 0; p < l.n_panels; ++p) Model::collect_start(c, l.lanes_of<Model>(p), a(p), sum(p));
    }

private:
    static constexpr int N = Model::n_state, M = Model::n_adjoint, C = Model::n_carried, ROWS = N + 1;
    const Layer &l;
    const int K;
    const StepWeights w;
    LayerTrace &trace;
    const real *error;
    Scratch &t;
    const real *c;
    const real h, counted;
    real *readout;
    std::vector<real> &ends, &slopes;

    real *x(int p) const { return t.state.data + size_t(p) * ROWS * P; }  // state and integral
    real *a(int p) const { return t.adjoint.data + size_t(p) * M * P; }
    real *keep(int p, int k) const { return trace.kept.data + (size_t(k) * l.n_panels + p) * N * P; }
    real *sum(int p) const { return trace.collected.data + size_t(p) * Model::n_collect * P; }

    // The integral from an arrival to the end of its step, with the series of V: weight (ends - slopes u h) at u.
    void integrate(int row, int k, real at, int p, int first) {
        When when(k, at, delay_of(l.forward, p, row, first), h, 1 / h);
        limit(when.step, K);
        const int powers = l.arrivals.powers;
        const real *v = l.arrivals.ahead.data + (size_t(p) * N + Model::v_row) * powers * P + first;
        vec plain{}, later{}, end, slope, u = when.left;
        for (int j = powers - 1; j >= 0; --j) {
            plain = plain * u + vec_at(v + j * P) / real(j + 1);
            later = later * u + vec_at(v + j * P) / real(j + 2);
        }
        for (int lane = 0; lane < LANES; ++lane) {
            const int step = int(when.step[lane]);
            end[lane] = step < K ? ends[step] : real(0);
            slope[lane] = step < K ? slopes[step] : real(0);
        }
        // at a time s after the arrival, u h - s of the step is left
        const vec start = end + slope * u * h;
        *reinterpret_cast<vec *>(x(p) + N * P + first) +=
            vec_at(l.forward.w.at(p, row) + first) * u * h * (start * plain - slope * u * h * later);
    }
    void collect(int k, int p) {
        const real *hp = l.lanes_of<Model>(p);
        Model::collect(c, hp, a(p), keep(p, k), sum(p));
        Model::collect_integral(c, hp, keep(p, k), error + p * P, w.start[k] / counted, w.slope[k] / counted, h, sum(p));
        collect_landed<Model>(l, p, trace.arrivals.landed.data + (size_t(p) * (K + 1) + k) * l.arrivals.powers * P, a(p), ends[k], slopes[k],
                              error + p * P, sum(p));
    }
};

// What arrivals at the read-out see, after back().
template <class Model> Sight<Model> read_out_sight(const Layer &l, int K, const Slot &slot) {
    const ArrivalTrace &trace = slot.output.arrivals;
    return {l, trace, K, {trace.weight.data(), trace.weight_slope.data(), slot.error.data()}};
}

}  // namespace eventprop
