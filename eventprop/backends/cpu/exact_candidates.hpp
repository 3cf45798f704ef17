// The neurons that may reach their threshold in a step, followed from cut to cut.
#pragma once
#include "nodes.hpp"

namespace eventprop {

constexpr real never = std::numeric_limits<real>::infinity();
// Cuts in one trial of a layer; more is runaway activity.
inline size_t most_cuts(const Layer &l) { return 100000 + 1000 * size_t(l.n); }

// Each of them once, in panels of their own. Times are in parts of a step.
//
// Exact crossings are only computed where they may be the next: for each neuron there is a lower bound on when it crosses, or
// room that is left to its threshold, which arrivals diminish by no more than the layer's bounds on a unit weight.
template <class Model> class Candidates {
public:
    std::vector<uint16_t> neuron;

    explicit Candidates(const Layer &l) : l(l), slot(l.n, -1) {}
    int size() const { return int(neuron.size()); }
    void clear() {
        for (uint16_t i : neuron) slot[i] = -1;
        neuron.clear();
    }
    bool has(int i) const { return slot[i] >= 0; }
    void add(int i) {
        if (has(i)) return;
        slot[i] = size();
        neuron.push_back(uint16_t(i));
    }
    // Start of a step, from the states of all neurons there.
    void gather(const real *all) {
        now = 0;
        lanes.reserve(size_t(panels(size())) * ROWS * P);
        exact.assign(size_t(blocks()), 0);
        stiffness.assign(size_t(blocks()), l.stiffness * !Model::n_lanes);
        panel_of.resize(size_t(blocks()) * LANES);
        lane_of.resize(panel_of.size());
        for (int j = 0; j < blocks() * LANES; ++j) {
            const int i = neuron[j < size() ? j : size() - 1], p = i / P, lane = i % P;
            for (int v = 0; v < N; ++v) x(j)[v * P] = all[(size_t(p) * N + v) * P + lane];
            for (int v = 0; v < Model::n_lanes; ++v) own(j)[v * P] = l.lanes_of<Model>(p)[v * P + lane];
            *row(j, LEAST) = j < size() ? real(0) : never;
            if (Model::n_lanes) stiffness[j / LANES] = std::max(stiffness[j / LANES], l.stiff[i]);
            panel_of[j] = uint32_t(p);
            lane_of[j] = uint32_t(lane);
        }
    }
    // The next crossing: which candidate, and when.
    __attribute__((noinline)) int next(real &time) {
        for (;;) {
            int at = -1;
            time = never;
            for (int j = 0; j < size(); ++j) {
                const real least = *row(j, LEAST);
                at = least < time ? j : at;
                time = smaller(least, time);
            }
            if (at < 0 || exact[at / LANES]) return at;
            solve(at / LANES);
        }
    }
    // act(neuron) of those that are known to cross in what is left of the step.
    template <class F> void each_crossing(F &&act) const {
        for (int j = 0; j < size(); ++j)
            if (exact[j / LANES] && *row(j, LEAST) != never) act(neuron[j]);
    }
    __attribute__((noinline)) void move_to(real time) {
        for (int b = 0; b < blocks() * LANES; b += LANES)
            with_flow_over<Model>(l, own(b), theta(b, time - now), [&](auto &&f) { f.advance(x(b), vec{} + (time - now), x(b)); });
        now = time;
    }
    __attribute__((noinline)) void arrive(const Weights &w, int source) {
        const real *weights = w.w.at(0, source);
        const uint32_t stride = uint32_t(w.w.stride);
        alignas(64) real wj[LANES];
        for (int b = 0; b < blocks() * LANES; b += LANES) {
            for (int j = 0; j < LANES; ++j) wj[j] = weights[panel_of[b + j] * stride + lane_of[b + j]];
            const vec &up = *reinterpret_cast<const vec *>(wj), none{};
            vec &least = vector(b, LEAST), &room = vector(b, ROOM);
            const vec lift = (up > none ? up * l.steep : none) + (up < none ? up * -l.steep_drop : none);
            vector(b, 0) += up;
            room -= lift * (1 - now);
            // it rises more steeply before it crosses than where it does
            const vec sooner = least - real(1.2) * lift * (least - now) / vector(b, SLOPE);
            const vec bound = least == never ? (room > none ? least : none + now) : (sooner > now ? sooner : none + now);
            least = bound;
            exact[b / LANES] = 0;
        }
    }
    // Candidate j spikes.
    void spike(int j, real *recorded) {
        Model::spike(l.constants.data(), own(j - j % P), x(j - j % P), j % P, recorded);
        *row(j, LEAST) = now;
        exact[j / LANES] = 0;
    }
    // The state of a neuron that is one, to that of all.
    void store_to(int i, real *all) const {
        for (int v = 0; v < N; ++v) all[(size_t(i / P) * N + v) * P + i % P] = x(slot[i])[v * P];
    }

private:
    static constexpr int N = Model::n_state, OWN_ROWS = N, LEAST = OWN_ROWS + Model::n_lanes, SLOPE = LEAST + 1, ROOM = SLOPE + 1,
                         ROWS = ROOM + 1;
    const Layer &l;
    std::vector<int> slot;                // of each neuron, -1 for none
    std::vector<uint8_t> exact;           // by vector: whether times are exact
    std::vector<uint32_t> panel_of, lane_of;
    std::vector<double> stiffness;        // by vector: the largest of its neurons
    double theta(int b, real time) const { return stiffness[b / LANES] * double(time); }
    Buffer lanes;
    real now = 0;

    int blocks() const { return (size() + LANES - 1) / LANES; }
    real *row(int j, int r) const { return lanes.data + (size_t(j / P) * ROWS + r) * P + j % P; }
    real *x(int j) const { return row(j, 0); }
    real *own(int j) const { return row(j, OWN_ROWS); }
    vec &vector(int b, int r) const { return *reinterpret_cast<vec *>(row(b, r)); }
    void solve(int block) {
        const int b = block * LANES;
        with_flow_over<Model>(l, own(b), theta(b, 1 - now), [&](auto &&f) {
            f.next_crossing(x(b), vec{} + (1 - now), row(b, LEAST), row(b, SLOPE), row(b, ROOM));
        });
        vector(b, LEAST) += now;
        for (int j = size(); j < b + LANES; ++j) *row(j, LEAST) = never;  // lanes that only fill the vector
        exact[block] = 1;
    }
};

}  // namespace eventprop
