// The neurons that may reach their threshold in a step, followed from cut to cut.
#pragma once
#include "nodes.hpp"

namespace eventprop {

constexpr real never = std::numeric_limits<real>::infinity();
// Cuts in one trial of a layer; more is runaway activity.
inline size_t most_cuts(const Layer &l) { return 100000 + 1000 * size_t(l.n); }

// Each of them once, in panels of their own. Times are in parts of a step.
template <class Model> class Candidates {
public:
    std::vector<uint16_t> neuron;

    explicit Candidates(const Layer &l) : l(l), slot(l.n, -1) {}
    int size() const { return int(neuron.size()); }
    void clear() {
        for (uint16_t i : neuron) slot[i] = -1;
        neuron.clear();
    }
    bool add(int i) {
        if (slot[i] >= 0) return false;
        slot[i] = size();
        neuron.push_back(uint16_t(i));
        return true;
    }
    // Start of a step, from the states of all neurons there.
    void gather(const real *all) {
        now = 0;
        const int blocks = (size() + LANES - 1) / LANES;
        lanes.reserve(size_t(panels(size())) * ROWS * P);
        series.reserve(size_t(blocks) * MOST_TERMS * N * LANES);
        when.resize(size_t(blocks) * LANES);
        for (int j = 0; j < blocks * LANES; ++j) {
            const int i = neuron[j < size() ? j : size() - 1], p = i / P, lane = i % P;
            for (int v = 0; v < N; ++v) x(j)[v * P] = all[(size_t(p) * N + v) * P + lane];
            for (int v = 0; v < Model::n_lanes; ++v) own(j)[v * P] = l.lanes_of<Model>(p)[v * P + lane];
        }
        stale = true;
    }
    // The next crossing: which candidate, and when.
    int next(real &time) {
        if (stale) solve();
        const auto first = std::min_element(when.begin(), when.begin() + size());
        time = size() ? *first : never;
        return time == never ? -1 : int(first - when.begin());
    }
    void move_to(real time) {
        if (stale) solve();
        for (int b = 0; b < size(); b += LANES)
            with_flow<Model>(l, own(b), [&](auto &&f) {
                f.template at<N>(x(b), terms(b), vec{} + (time - now), x(b));
            });
        now = time;
        stale = true;
    }
    void arrive(const Weights &w, int source) {
        for (int j = 0; j < size(); ++j) *x(j) += w.w.at(neuron[j] / P, source)[neuron[j] % P];
    }
    void spike(int j, real *recorded) { Model::spike(l.constants.data(), own(j - j % P), x(j - j % P), j % P, recorded); }
    // The state of a neuron that is one, to that of all.
    void store_to(int i, real *all) const {
        const int j = slot[i];
        for (int v = 0; v < N; ++v) all[(size_t(i / P) * N + v) * P + i % P] = x(j)[v * P];
    }

private:
    static constexpr int N = Model::n_state, ROWS = N + Model::n_lanes;
    const Layer &l;
    std::vector<int> slot;                // of each neuron, -1 for none
    Buffer lanes, series;                 // states and constants; terms of their series at `now`
    std::vector<real> when;
    real now = 0;
    bool stale = false;

    real *x(int j) const { return lanes.data + size_t(j / P) * ROWS * P + j % P; }
    real *own(int j) const { return x(j) + N * P; }
    vec (*terms(int j) const)[N] { return reinterpret_cast<vec (*)[N]>(series.data + size_t(j) * MOST_TERMS * N); }
    void solve() {
        alignas(64) real found[P];
        for (int b = 0; b < size(); b += LANES)
            with_flow<Model>(l, own(b), [&](auto &&f) {
                f.series(x(b), terms(b));
                f.next_crossing(x(b), terms(b), vec{} + (1 - now), found);
                for (int j = 0; j < LANES; ++j) when[b + j] = now + found[j];
            });
        stale = false;
    }
};

}  // namespace eventprop
