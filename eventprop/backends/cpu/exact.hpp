// Spikes at their exact times: steps are cut where a neuron crosses its threshold or a spike arrives from a layer below.
//
// Between two cuts state and adjoints have closed forms (the model's update with dt = time between the cuts), so the step
// only spaces the input, which arrives at starts of steps. Few neurons reach their threshold in a step: a test of all at
// its end, which misses no crossing, names the candidates, and only these are followed from cut to cut. Then the spikes
// found arrive at all neurons at once, each by what is left of the step, and a second test looks for neurons that only
// these spikes brought to their threshold: they become candidates too, and the step is taken again.
#pragma once
#include "exact_in_order.hpp"

namespace eventprop {

constexpr real never = std::numeric_limits<real>::infinity();
constexpr size_t MAX_CUTS = 1000000;      // in one trial and layer; more is runaway activity

// First time in (0, y] at which V of one lane of panel x reaches its threshold from below, or `never`: bisection to a peak
// if V ends below, then Newton's method within the bracket.
template <class Model> real crossing(const real *c, const real *h, int lane, const real *x, real y, real &r) {
    real now[(1 + Model::n_state) * P], e;
    auto go = [&](real s) {
        Model::flow_each(c, h + lane, 1, x + lane, &s, now);
        Model::levels(c, h + lane, 1, now, &e, &r);
    };
    const real tiny = std::numeric_limits<real>::epsilon() * y;
    go(0);
    if (e >= 0) return r > 0 ? real(0) : never;
    const real r0 = r;
    go(y);
    real high = y, low = 0;
    if (e < 0) {
        if (r0 <= 0 || r >= 0) return never;
        while (high - low > tiny) {
            const real middle = (low + high) / 2;
            go(middle);
            if (e >= 0) { high = middle; break; }
            (r > 0 ? low : high) = middle;
        }
        go(high);
        if (e < 0) return never;
        low = 0;
    }
    real s = high / 2;
    for (int n = 0; n < 100; ++n) {
        if (!(s > low && s < high)) s = (low + high) / 2;
        go(s);
        (e < 0 ? low : high) = s;
        const real change = r > 0 ? e / r : never;
        if (std::fabs(change) <= 2 * tiny) return std::min(std::max(s - change, real(0)), y);
        if (high - low <= tiny) return high;
        s -= change;
    }
    return high;
}

// Neurons that may reach their threshold in this step, gathered in panels of their own.
template <class Model> class Candidates {
public:
    static constexpr int VARS = 1 + Model::n_state;
    std::vector<uint16_t> neuron;
    std::vector<real> when;               // the crossing's time since the start of the step, `never` if there is none

    explicit Candidates(const Layer &l) : l(l), listed(l.n) {}
    void clear() {
        for (uint16_t i : neuron) listed[i] = 0;
        neuron.clear();
    }
    bool add(int i) {
        if (listed[i]) return false;
        listed[i] = 1;
        neuron.push_back(uint16_t(i));
        return true;
    }
    int size() const { return int(neuron.size()); }
    int panels_used() const { return panels(size()); }
    int lanes_used(int q) const {         // whole vectors
        const int n = std::min(P, size() - q * P);
        return (n + LANES - 1) / LANES * LANES;
    }
    real *state(int q) { return x.data + size_t(q) * VARS * P; }
    const real *constants() const { return l.constants.data(); }
    const real *lanes(int q) const { return h.data + size_t(q) * Model::n_lanes * P; }

    // Their states and constants from those of all neurons.
    void gather(const real *all) {
        const int n = panels_used();
        x.reserve(size_t(n) * VARS * P);
        h.reserve(std::max(size_t(1), size_t(n) * Model::n_lanes * P));
        for (int j = 0; j < n * P; ++j) {
            const int i = neuron[j < size() ? j : 0], p = i / P, lane = i % P;
            for (int v = 0; v < VARS; ++v) state(j / P)[v * P + j % P] = all[(size_t(p) * VARS + v) * P + lane];
            for (int v = 0; v < Model::n_lanes; ++v)
                h.data[(size_t(j / P) * Model::n_lanes + v) * P + j % P] = l.lanes_of<Model>(p)[v * P + lane];
        }
    }
    void advance(real d) {
        alignas(64) real dts[P], after[VARS * P];
        std::fill(dts, dts + P, d);
        if (d > 0)
            for (int q = 0; q < panels_used(); ++q) {
                Model::flow_each(constants(), lanes(q), lanes_used(q), state(q), dts, after);
                std::copy(after, after + VARS * P, state(q));
            }
    }
    // The time until each crossing within the step, h; all are at its start.
    void solve(real h) {
        const size_t n = size_t(panels_used()) * P;
        for (auto *values : {&when, &rise, &bend, &room, &unsure}) values->resize(n);
        for (int q = 0; q < panels_used(); ++q) {
            const size_t first = size_t(q) * P;
            settle(lanes_used(q), q, 0, h, when.data() + first, rise.data() + first, bend.data() + first, room.data() + first);
        }
        std::fill(unsure.begin(), unsure.end(), real(0));
        stale.assign(n, 0);
    }
    // The next crossing after `now`: which candidate, and when. A candidate's crossing that spikes have moved is known to first
    // order, and computed anew only where it might be the next.
    int next(real now, real h, real &time) {
        for (;;) {
            int first = -1;
            time = never;
            for (int j = 0; j < size(); ++j) {
                const real least = when[j] - unsure[j];
                if (least < time && (least <= h || stale[j])) { time = least; first = j; }
            }
            if (first < 0 || !stale[first]) return first;
            real s = when[first] - now;
            if (!refine(first, h - now, s))
                settle(1, first / P, first % P, h - now, &s, &rise[first], &bend[first], &room[first]);
            when[first] = s == never ? never : now + s;
            unsure[first] = 0;
            stale[first] = 0;
        }
    }
    // A spike of `source` arrives at `now`; `unit` is what a unit of current does to V until the end of a step at the most.
    void arrive(const Weights &w, int source, real now, real h, real unit) {
        for (int j = 0; j < size(); ++j) {
            const real wj = w.w.at(neuron[j] / P, source)[neuron[j] % P];
            state(j / P)[j % P] += wj;
            if (when[j] == never) {
                room[j] -= larger(wj, real(0)) * unit;
                if (room[j] <= 0) { when[j] = now; stale[j] = 1; }
            } else {
                const real shift = wj * unit * larger(when[j] - now, real(0)) / (h * rise[j]);
                when[j] -= shift;
                unsure[j] += std::fabs(shift) * (std::fabs(shift) < real(0.2) * h ? real(0.5) : real(2));
                stale[j] = 1;
            }
        }
    }
    // After a spike of its own: V rises ever more slowly, so that it stays below its tangent.
    void start_again(int j, real now, real h) {
        real e, r;
        Model::levels(constants(), lanes(j / P) + j % P, 1, state(j / P) + j % P, &e, &r);
        const real top = e + larger(r, real(0)) * (h - now);
        when[j] = top < 0 ? never : now;
        room[j] = -top;
        unsure[j] = 0;
        stale[j] = top >= 0;
    }
    void store_to(real *all) {
        for (int j = 0; j < size(); ++j)
            for (int v = 0; v < VARS; ++v)
                all[(size_t(neuron[j] / P) * VARS + v) * P + neuron[j] % P] = state(j / P)[v * P + j % P];
    }

private:
    // Whether what a Newton step leaves, change^2 V'' / 2 V', is down to rounding.
    static bool fine(real change, real bend, real rise, real y) {
        return rise > 0 && change * change * std::fabs(bend) < 8 * std::numeric_limits<real>::epsilon() * y * rise;
    }
    // One Newton step from an estimate of the time until a crossing within y; false if that does not settle it.
    bool refine(int j, real y, real &s) {
        if (!(s > 0 && s < y)) return false;
        real e, r, now[VARS * P];
        const int lane = j % P;
        Model::flow_each(constants(), lanes(j / P) + lane, 1, state(j / P) + lane, &s, now);
        Model::levels(constants(), lanes(j / P) + lane, 1, now, &e, &r);
        const real change = e / r;
        if (!fine(change, bend[j], r, y) || !(s - change > 0 && s - change <= y)) return false;
        s -= change;
        rise[j] = r;
        return true;
    }
    // Time s until the crossing of n lanes within the next y, or `never`; V's rise there, and where there is no crossing how
    // much is left to the threshold. By a cubic's root and Newton's method from there; lanes that this does not settle are
    // left to crossing().
    void settle(int n, int q, int lane, real y, real *s, real *rise_at, real *bend_at, real *left_over) {
        const real *c = constants(), *h = lanes(q) + lane, *x = state(q) + lane;
        alignas(64) real e0[P], r0[P], e1[P], r1[P], e[P], top[P], end[VARS * P], change[P];
        for (int l = 0; l < n; ++l) s[l] = y;
        Model::levels(c, h, n, x, e0, r0);
        Model::flow_each(c, h, n, x, s, end);
        Model::levels(c, h, n, end, e1, r1);
        for (int l = 0; l < n; ++l) {     // the cubic with V's values and slopes at both ends: its peak, and its first root
            const real a = 2 * (e0[l] - e1[l]) + (r0[l] + r1[l]) * y, b = 3 * (e1[l] - e0[l]) - (2 * r0[l] + r1[l]) * y, g = r0[l] * y;
            const real turn = g / (std::sqrt(larger(b * b - 3 * a * g, real(0))) - b);
            top[l] = e0[l] + turn * (g + turn * (b + turn * a));
            real u = e1[l] < 0 ? -e0[l] / g : -e0[l] / (e1[l] - e0[l]);
            for (int i = 0; i < 4; ++i) {
                const real slope = g + u * (2 * b + 3 * a * u);
                u = smaller(larger(u - (e0[l] + u * (g + u * (b + u * a))) / slope, real(0)), real(1));
            }
            s[l] = u * y;
        }
        constexpr int STEPS = sizeof(real) == 4 ? 1 : 3;
        for (int i = 0; i < STEPS; ++i) {
            Model::flow_each(c, h, n, x, s, end);
            Model::levels(c, h, n, end, e, rise_at);
            for (int l = 0; l < n; ++l) {
                change[l] = e[l] / rise_at[l];
                s[l] -= change[l];
            }
        }
        for (int l = 0; l < n; ++l) {
            const bool turns = r0[l] > 0 && r1[l] < 0;
            const real doubt = turns ? real(2e-3) * (r0[l] - r1[l]) * y : real(0);  // how far the cubic's peak may be off
            const real most = turns ? top[l] + doubt : larger(e0[l], e1[l]);
            const bool found = e0[l] < 0 && r0[l] > 0 && (e1[l] >= 0 || most > 2 * doubt);
            bend_at[l] = (r0[l] - r1[l]) / y;
            if (most < 0) s[l] = never;
            else if (!(found && fine(change[l], bend_at[l], rise_at[l], y) && s[l] > 0 && s[l] <= y))
                s[l] = crossing<Model>(c, h, l, x, y, rise_at[l]);
            left_over[l] = larger(-most, real(0));
        }
    }
    const Layer &l;
    std::vector<uint8_t> listed, stale;
    std::vector<real> rise, bend, room, unsure;  // V' at the crossing, and -V''; what is left to the threshold; error of `when`
    Buffer x, h;
};

// What arrives of a unit of current after different times: for each of a step's spikes, by how much it changes each state
// variable at the end of the step.
template <int ROWS> struct Arrivals {
    std::vector<const real *> row;        // weights of the first panel
    std::vector<size_t> stride;           // to the next panel's
    std::vector<real> share;              // [spike][ROWS]
    void clear() { row.clear(); stride.clear(); share.clear(); }
    void add(const Weights &w, int source) { row.push_back(w.w.at(0, source)); stride.push_back(w.w.stride); }
    size_t size() const { return row.size(); }

    // x[v] += sum of share[v] * w; with `bounds`, lift += share[v_row] * max(-w, 0) and kick += max(w, 0)
    template <bool bounds> void deliver(int p, real *x, int v_row, real *lift, real *kick) const {
        constexpr int N = VECTORS % 2 ? 1 : 2;
        for (int j = 0; j < VECTORS; j += N) {
            vec a[ROWS][N], up[N] = {}, push[N] = {};
            for (int v = 0; v < ROWS; ++v)
                for (int i = 0; i < N; ++i) a[v][i] = reinterpret_cast<const vec *>(x + v * P)[j + i];
            for (size_t e = 0; e < size(); ++e) {
                const vec *w = reinterpret_cast<const vec *>(row[e] + p * stride[e]) + j;
                for (int i = 0; i < N; ++i) {
                    const vec wi = w[i];
                    for (int v = 0; v < ROWS; ++v) a[v][i] += share[e * ROWS + v] * wi;
                    if (bounds) {
                        const vec negative = wi < 0 ? -wi : vec{};
                        up[i] += share[e * ROWS + v_row] * negative;
                        push[i] += wi + negative;
                    }
                }
            }
            for (int v = 0; v < ROWS; ++v)
                for (int i = 0; i < N; ++i) reinterpret_cast<vec *>(x + v * P)[j + i] = a[v][i];
            if (bounds)
                for (int i = 0; i < N; ++i) {
                    reinterpret_cast<vec *>(lift)[j + i] = up[i];
                    reinterpret_cast<vec *>(kick)[j + i] = push[i];
                }
        }
    }
};

template <class Model> class ExactSweep {
public:
    static constexpr int VARS = 1 + Model::n_state;
    real *x;                              // states at the start of the step

    ExactSweep(const Layer &l, const SpikeLists *below, LayerTrace &out, const Draws &draws, bool kept, Scratch &t)
        : l(l), below(below), out(out), draws(draws), kept(kept), candidates(l), interval(l, t.lanes) {
        const size_t size = size_t(l.n_panels) * VARS * P;
        for (Buffer *b : {&t.state, &t.next, &t.walk}) b->reserve(size);
        x = t.state.data;
        next = t.next.data;
        walk = t.walk.data;
        for (int p = 0; p < l.n_panels; ++p) {
            Model::start(l.constants.data(), l.lanes_of<Model>(p), at(x, p));
            alignas(64) real one[VARS * P] = {}, dts[P], after[VARS * P];
            std::fill(one, one + P, real(1));
            std::fill(dts, dts + P, real(l.dt));
            Model::flow_each(l.constants.data(), l.lanes_of<Model>(p), P, one, dts, after);
            unit = std::max(unit, *std::max_element(after + Model::v_row * P, after + (Model::v_row + 1) * P));
        }
    }

    // One step; `arriving` is the next spike from below.
    void step(int k, uint32_t &arriving) {
        const real h = real(l.dt);
        out.tail[k] = h;
        candidates.clear();
        find(true);
        if (candidates.size() || (below && arriving < below->step_start[k + 1])) {
            for (;;) {
                const Mark mark{out.events.size(), out.spikes.id.size(), out.dropped.id.size(), kept_rows};
                uint32_t after = arriving;
                follow(k, after);
                if (together<Model> ? take_together(k) : take_in_order(k)) {
                    arriving = after;
                    break;
                }
                undo(mark);
                if (together<Model>) find(false);
            }
        } else if (kept) keep(x);
        std::swap(x, next);
    }

private:
    struct Mark { size_t events, spikes, dropped, kept; };
    const Layer &l;
    const SpikeLists *below;
    LayerTrace &out;
    const Draws &draws;
    const bool kept;
    real *next, *walk;
    Candidates<Model> candidates;
    Interval<Model> interval;
    Arrivals<VARS> arrivals;
    size_t kept_rows = 0;
    real unit = 0;                        // what a unit of current does to V in a step, at the most

    real *at(real *states, int p) const { return states + size_t(p) * VARS * P; }
    int real_lanes(int p) const { return std::min(P, l.n - p * P); }

    // `next`, the states at the end of the step where nothing arrives meanwhile; who may reach the threshold until then.
    void find(bool collect) {
        alignas(64) int fired[P];
        for (int p = 0; p < l.n_panels; ++p)
            if (Model::probe(l.constants.data(), l.lanes_of<Model>(p), at(x, p), at(next, p), fired) && collect)
                for (int lane = 0; lane < real_lanes(p); ++lane)
                    if (fired[lane]) candidates.add(p * P + lane);
    }

    // The step's cuts, by the candidates alone.
    void follow(int k, uint32_t &arriving) {
        const real h = real(l.dt);
        const uint32_t last = below ? below->step_start[k + 1] : 0;
        real now = 0;
        if (candidates.size()) {
            candidates.gather(x);
            candidates.solve(h);
        }
        for (;;) {
            real time = never;
            const int first = candidates.next(now, h, time);
            const real own = first < 0 ? never : larger(time - now, real(0));
            const real other = arriving < last ? larger(below->at[arriving] - now, real(0)) : never;
            if (own == never && other == never) break;
            if (out.events.size() >= MAX_CUTS) throw RunawayActivity();
            const real d = std::min(own, other);
            candidates.advance(d);
            if (own <= other) {
                now = std::min(h, now + d);
                fire(k, now, d, first);
            } else {
                now = below->at[arriving];
                out.events.push_back({d, h - now, BELOW, arriving, uint32_t(k)});
                candidates.arrive(l.forward, below->id[arriving++], now, h, unit);
            }
        }
        candidates.advance(h - now);
        out.tail[k] = h - now;
    }

    void fire(int k, real now, real d, int j) {
        const int neuron = candidates.neuron[j], q = j / P;
        const uint32_t in_step = uint32_t(out.events.size()) - out.event_start[k];
        const bool dropped = draws.dropout && draw(mix(draws.dropout_key ^ in_step), k, neuron) < draws.dropout_limit;
        real value[Model::n_recorded];
        Model::spike(candidates.constants(), candidates.lanes(q), candidates.state(q), j % P, value);
        auto &list = dropped ? out.dropped : out.spikes;
        auto &recorded = dropped ? out.dropped_recorded : out.recorded;
        out.events.push_back({d, real(l.dt) - now, dropped ? DROPPED : OWN, uint32_t(list.id.size()), uint32_t(k)});
        list.id.push_back(uint16_t(neuron));
        list.at.push_back(now);
        recorded.insert(recorded.end(), value, value + Model::n_recorded);
        if (!dropped && l.recurrent.present) candidates.arrive(l.recurrent, neuron, now, real(l.dt), unit);
        candidates.start_again(j, now, real(l.dt));
    }

    void undo(const Mark &mark) {
        out.events.resize(mark.events);
        out.spikes.id.resize(mark.spikes);
        out.spikes.at.resize(mark.spikes);
        out.recorded.resize(mark.spikes * Model::n_recorded);
        out.dropped.id.resize(mark.dropped);
        out.dropped.at.resize(mark.dropped);
        out.dropped_recorded.resize(mark.dropped * Model::n_recorded);
        kept_rows = mark.kept;
    }

    // The weights that an event brings, or null.
    const Weights *brought(const Event &e, int &source) const {
        source = e.kind == BELOW ? below->id[e.index] : e.kind == OWN ? out.spikes.id[e.index] : 0;
        return e.kind == BELOW ? &l.forward : e.kind == OWN && l.recurrent.present ? &l.recurrent : nullptr;
    }

    // All spikes of the step arrive in `next`. Returns false if that brought further neurons near their threshold.
    bool take_together(int k) {
        arrivals.clear();
        alignas(64) real unit[VARS * P] = {}, out_rows[VARS * P], dts[P];
        std::fill(unit, unit + P, real(1));
        for (size_t e = out.event_start[k], n = 0; e <= out.events.size(); ++e) {
            int source;
            const Weights *w = e < out.events.size() ? brought(out.events[e], source) : nullptr;
            if (w) {
                arrivals.add(*w, source);
                dts[n++] = out.events[e].after;
            }
            if (n == size_t(P) || (n && e == out.events.size())) {
                Model::flow_each(l.constants.data(), nullptr, int(n), unit, dts, out_rows);
                for (size_t j = 0; j < n; ++j)
                    for (int v = 0; v < VARS; ++v) arrivals.share.push_back(out_rows[v * P + j]);
                n = 0;
            }
        }
        bool complete = true;
        alignas(64) real lift[P], kick[P];
        alignas(64) int fired[P];
        if (arrivals.size())
            for (int p = 0; p < l.n_panels; ++p) {
                arrivals.template deliver<true>(p, at(next, p), Model::v_row, lift, kick);
                if (!Model::missed(l.constants.data(), nullptr, at(next, p), lift, kick, fired)) continue;
                for (int lane = 0; lane < real_lanes(p); ++lane)
                    if (fired[lane] && candidates.add(p * P + lane)) complete = false;
            }
        if (complete) candidates.store_to(next);
        return complete;
    }

    // The same from cut to cut, keeping the state at each where time constants are trained.
    bool take_in_order(int k) {
        alignas(64) int fired[P];
        std::memcpy(walk, x, size_t(l.n_panels) * VARS * P * sizeof(real));
        for (size_t e = out.event_start[k]; e <= out.events.size(); ++e) {
            const bool cut = e < out.events.size();
            const real d = cut ? out.events[e].before : out.tail[k];
            if (kept) keep(walk);
            if (d > 0) {
                interval.forward(d);
                bool complete = true;
                for (int p = 0; p < l.n_panels; ++p)
                    if (Model::probe(interval.constants(), interval.lanes(p), at(walk, p), at(next, p), fired))
                        for (int lane = 0; lane < real_lanes(p); ++lane)
                            if (fired[lane] && candidates.add(p * P + lane)) complete = false;
                if (!complete) return false;
            } else {
                std::memcpy(next, walk, size_t(l.n_panels) * VARS * P * sizeof(real));
            }
            if (!cut) break;
            std::swap(walk, next);
            take_cut(out.events[e]);
        }
        candidates.store_to(next);
        return true;
    }
    void take_cut(const Event &event) {
        int source;
        const Weights *w = brought(event, source);
        if (event.kind != BELOW) {
            real value[Model::n_recorded];
            const int neuron = event.kind == OWN ? out.spikes.id[event.index] : out.dropped.id[event.index];
            Model::spike(l.constants.data(), l.lanes_of<Model>(neuron / P), at(walk, neuron / P), neuron % P, value);
        }
        if (w)
            for (int p = 0; p < l.n_panels; ++p) {
                const real *row = w->w.at(p, source);
                for (int i = 0; i < P; ++i) at(walk, p)[i] += row[i];
            }
    }
    void keep(const real *states) {
        const size_t width = size_t(l.n_panels) * VARS * P;
        out.kept.grow((kept_rows + 1) * width);
        std::memcpy(out.kept.data + kept_rows++ * width, states, width * sizeof(real));
    }
};

// A layer of spiking neurons through a trial; drive row k holds what arrives at the start of step k + 1. `whole`: to the
// end of the trial, also where nothing happens any more.
template <class Model>
void exact_sweep(const Layer &l, Panels drive, int rows, int K, const SpikeLists *below, LayerTrace &out, const Draws &draws,
                 bool kept, bool whole, Scratch &t) {
    out.spikes.clear(K);
    out.dropped.clear(K);
    for (auto *values : {&out.recorded, &out.dropped_recorded}) values->clear();
    out.events.clear();
    out.event_start.assign(K + 1, 0);
    out.tail.assign(K, real(l.dt));
    ExactSweep<Model> sweep(l, below, out, draws, kept, t);
    uint32_t arriving = 0;
    int k = 0;
    for (; k < K; ++k) {
        out.spikes.step_start[k] = uint32_t(out.spikes.id.size());
        out.dropped.step_start[k] = uint32_t(out.dropped.id.size());
        out.event_start[k] = uint32_t(out.events.size());
        const bool driven = k > 0 && k <= rows, more = below && arriving < below->id.size();
        if (!driven && k > rows && !more && !whole && k % 4 == 0 && quiet<Model>(l, sweep.x)) break;
        if (driven)
            for (int p = 0; p < l.n_panels; ++p) {
                real *current = sweep.x + size_t(p) * sweep.VARS * P;
                const real *in = drive.at(p, k - 1);
                for (int i = 0; i < P; ++i) current[i] += in[i];
            }
        sweep.step(k, arriving);
    }
    for (; k <= K; ++k) {
        out.spikes.step_start[k] = uint32_t(out.spikes.id.size());
        out.dropped.step_start[k] = uint32_t(out.dropped.id.size());
        out.event_start[k] = uint32_t(out.events.size());
    }
    out.spikes.index_by_id(l.n, K);
}

}  // namespace eventprop
