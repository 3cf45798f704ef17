// The forward pass of a layer of spiking neurons at which spikes arrive at times of their own.
//
// Step by step: neurons that what arrives may have lifted to their threshold are followed from arrival to arrival. Of the spikes
// that they may have, the first is made theirs; if what it sends arrives in the same step, its targets are followed
// again from their last spike on, and so on until there is none left.
#pragma once
#include "arrivals.hpp"
#include "grid.hpp"

namespace eventprop {

// Spikes in one trial of a layer; more is runaway activity.
inline size_t most_spikes(const Layer &l) { return 100000 + 1000 * size_t(l.n); }

// A neuron that may reach its threshold in the step, with what arrives at it, in order of time.
template <class Model> struct Followed {
    static constexpr int N = Model::n_state, R = Model::n_recorded;
    // Where it is known to have been: at the start of the step, or after its last spike.
    struct Point {
        real at;
        uint32_t next;                    // arrival
        real x[N];
    };
    struct Spike {
        Point after;
        real recorded[R];
    };
    int neuron = 0, spikes = 0;           // spikes: that are its own by now
    bool due = false;                     // whether it has to be followed (again)
    std::vector<Arrival> arrivals;
    std::vector<Spike> found;             // in order of time; the first `spikes` are its own
    Point known;
    real end[N];                          // state at the end of the step

    void start(int number) {
        neuron = number;
        spikes = 0;
        due = true;
        arrivals.clear();
        found.clear();
        known.at = 0;
        known.next = 0;
    }
    // What arrives at the same time stays in the order in which it came.
    void arrive(Arrival a) {
        size_t i = arrivals.size();
        arrivals.push_back(a);
        for (; i > known.next && arrivals[i - 1].at > a.at; --i) arrivals[i] = arrivals[i - 1];
        arrivals[i] = a;
    }
};

template <class Model> class ArrivalSweep {
public:
    ArrivalSweep(const Layer &l, int K, const SpikeLists &source, LayerTrace &out, const Draws &draws, bool kept, Scratch &t)
        : l(l), K(K), h(real(l.dt)), per(1 / h), source{source, {}, {}}, own{out.spikes, {}, {}}, out(out), draws(draws), kept(kept),
          landing(l, K, kept, kept ? out.arrivals.landed : t.arrivals.landed), slot(size_t(l.n_panels) * P, -1) {
        const size_t size = size_t(l.n_panels) * N * P;
        for (Buffer *b : {&t.state, &t.next}) b->reserve(size);
        t.gap.reserve(size_t(l.n_panels) * P);
        x = t.state.data;
        next = t.next.data;
        gap = t.gap.data;
        for (int p = 0; p < l.n_panels; ++p) Model::start(l.constants.data(), l.lanes_of<Model>(p), at(x, p));
        landing.land(source, l.forward);
        each_spike(source, K, l.forward, [&](int, int k, real at, uint32_t) { this->source.hear(k, at, h); });
    }

    void run(bool whole) {
        int k = 0;
        for (; k < K; ++k) {
            starts(k);
            if (k > landing.until && !whole && k % 4 == 0 && quiet<Model>(l, x)) break;
            step(k);
        }
        for (; k <= K; ++k) starts(k);
        out.spikes.index_by_id(l.n, K);
    }

private:
    static constexpr int N = Model::n_state, R = Model::n_recorded;
    const Layer &l;
    const int K;
    const real h, per;
    Heard source, own;
    LayerTrace &out;
    const Draws &draws;
    const bool kept;
    Landing<Model> landing;
    real *x, *next, *gap;                 // states at both ends of the step; how high the level rises in it where nothing arrives
    std::vector<Followed<Model>> followed;
    std::vector<int> slot;                // of each neuron, -1 for none
    int number = 0;                       // of those that are followed

    real *at(real *states, int p) const { return states + size_t(p) * N * P; }

    void starts(int k) {
        out.spikes.step_start[k] = uint32_t(out.spikes.id.size());
        out.dropped.step_start[k] = uint32_t(out.dropped.id.size());
        out.event_start[k] = uint32_t(out.events.size());
        if (kept) out.arrivals.replay_start[k] = uint32_t(out.arrivals.replayed.size());
    }

    void step(int k) {
        if (kept) std::memcpy(out.kept.data + size_t(k) * l.n_panels * N * P, x, size_t(l.n_panels) * N * P * sizeof(real));
        number = 0;
        for (int p = 0; p < l.n_panels; ++p) {
            alignas(64) uint8_t fired[P];
            Model::probe(l.constants.data(), l.lanes_of<Model>(p), at(x, p), at(next, p), h, real(0), gap + p * P, fired);
            const real *g = gap + p * P, *bound = landing.bound(p, k);
            int some = 0;
            for (int lane = 0; lane < P; ++lane) some |= g[lane] + bound[lane] >= 0;
            if (some)
                for (int lane = 0; lane < P && p * P + lane < l.n; ++lane)
                    if (g[lane] + bound[lane] >= 0) follow(p * P + lane, k);
        }
        if (number) {
            listen(0, k);
            solve(k);
        }
        for (int p = 0; p < l.n_panels; ++p) bring_landed<Model>(l, p, landing.at(p, k), kept, at(next, p));
        for (int i = 0; i < number; ++i) {
            const Followed<Model> &f = followed[i];
            for (int v = 0; v < N; ++v) at(next, f.neuron / P)[v * P + f.neuron % P] = f.end[v];
            if (kept && f.spikes) keep(f, k);
            slot[f.neuron] = -1;
        }
        std::swap(x, next);
    }
    void follow(int neuron, int k) {
        if (number == int(followed.size())) followed.emplace_back();
        Followed<Model> &f = followed[number];
        f.start(neuron);
        for (int v = 0; v < N; ++v) f.known.x[v] = at(x, neuron / P)[v * P + neuron % P];
        slot[neuron] = number++;
    }
    // What arrives in step k at those that are followed, from number `first` on.
    void listen(int first, int k) {
        for (int i = first; i < number; ++i) {
            Followed<Model> &f = followed[i];
            auto arrive = [&](real at, real w) { f.arrive({at, w}); };
            landing.each_arrival(source, l.forward, f.neuron, k, source.spikes.step_start[k + 1], arrive);
            if (l.recurrent.present) landing.each_arrival(own, l.recurrent, f.neuron, k, uint32_t(out.spikes.id.size()), arrive);
        }
    }
    // Arrivals of a trace, for where the neuron is followed back.
    void keep(const Followed<Model> &f, int k) {
        auto &to = out.arrivals;
        const uint32_t first = uint32_t(to.arrivals.size());
        to.arrivals.insert(to.arrivals.end(), f.arrivals.begin(), f.arrivals.end());
        to.replayed.push_back({uint32_t(k), uint32_t(f.neuron), first, uint32_t(to.arrivals.size())});
    }

    void solve(int k) {
        for (;;) {
            advance();
            int first = -1;
            for (int i = 0; i < number; ++i) {
                const Followed<Model> &f = followed[i];
                if (size_t(f.spikes) == f.found.size()) continue;
                const real when = f.found[f.spikes].after.at;
                if (first < 0 || when < time_of(first) || (when == time_of(first) && f.neuron < followed[first].neuron)) first = i;
            }
            if (first < 0) return;
            fire(k, first);
        }
    }
    real time_of(int i) const { return followed[i].found[followed[i].spikes].after.at; }

    void fire(int k, int i) {
        Followed<Model> &f = followed[i];
        const typename Followed<Model>::Spike &spike = f.found[f.spikes];
        const bool dropped = draws.drops_at(k, f.neuron, uint32_t(f.spikes));
        const real when = spike.after.at * h;
        if (out.events.size() >= most_spikes(l)) throw RunawayActivity();
        f.known = spike.after;
        auto &list = dropped ? out.dropped : out.spikes;
        auto &recorded = dropped ? out.dropped_recorded : out.recorded;
        out.events.push_back({0, h - when, dropped ? DROPPED : OWN, uint32_t(list.id.size()), uint32_t(k)});
        list.id.push_back(uint16_t(f.neuron));
        list.at.push_back(when);
        recorded.insert(recorded.end(), spike.recorded, spike.recorded + R);
        ++f.spikes;
        if (dropped) return;
        own.hear(k, when, h);
        if (l.recurrent.present) send(k, f.neuron, when);
    }
    // What arrives in the same step is heard of at once.
    void send(int k, int neuron, real time) {
        landing.send(l.recurrent, neuron, k, time);
        const int before = number;
        landing.each_block([&](int p, int first) {
            const When when(k, time, delay_of(l.recurrent, p, neuron, first), h, per);
            if (all(when.step != ivec{} + k)) return;
            for (int lane = 0; lane < LANES && p * P + first + lane < l.n; ++lane) {
                const int target = p * P + first + lane;
                if (when.step[lane] != k) continue;
                if (slot[target] >= 0) again(followed[slot[target]], {larger(1 - when.left[lane], time * per), l.recurrent.w.at(p, neuron)[first + lane]});
                else if (gap[target] + landing.bound(p, k)[target % P] >= 0) follow(target, k);
            }
        });
        listen(before, k);
    }
    void again(Followed<Model> &f, Arrival a) {
        f.arrive(a);
        f.found.resize(f.spikes);
        f.due = true;
    }

    // Follows those that are due to the end of the step, a vector of them at a time.
    void advance() {
        int due[LANES], n = 0;
        for (int i = 0; i < number; ++i) {
            if (followed[i].due) due[n++] = i;
            if (n == LANES || (n && i + 1 == number)) {
                advance(due, n);
                n = 0;
            }
        }
    }
    void advance(const int *due, int n) {
        alignas(64) real y[N * P] = {}, own[(Model::n_lanes ? Model::n_lanes : 1) * P] = {};
        for (int j = 0; j < LANES; ++j) {
            const Followed<Model> &f = followed[due[j < n ? j : 0]];
            for (int v = 0; v < N; ++v) y[v * P + j] = f.known.x[v];
            const real *h = l.lanes_of<Model>(f.neuron / P) + f.neuron % P;
            for (int r = 0; r < Model::n_lanes; ++r) own[r * P + j] = h[r * P];
        }
        with_flow<Model>(l, own, l.terms, [&](auto &&flow) { course(flow, due, n, y, own); });
        for (int j = 0; j < n; ++j) {
            Followed<Model> &f = followed[due[j]];
            for (int v = 0; v < N; ++v) f.end[v] = y[v * P + j];
            f.due = false;
        }
    }
    template <class F> void course(const F &flow, const int *due, int n, real *y, const real *own) {
        alignas(64) real now[P] = {}, left[P] = {}, when[P], slope[P], room[P], move[P] = {};
        uint32_t next[LANES] = {};
        for (int j = 0; j < n; ++j) {
            now[j] = followed[due[j]].known.at;
            next[j] = followed[due[j]].known.next;
        }
        for (bool going = true; going;) {
            going = false;
            for (int j = 0; j < n; ++j) {
                const auto &list = followed[due[j]].arrivals;
                left[j] = larger(real(0), (next[j] < list.size() ? list[next[j]].at : real(1)) - now[j]);
            }
            flow.next_crossing(y, flow.row(left, 0), when, slope, room);
            for (int j = 0; j < LANES; ++j) move[j] = smaller(when[j], left[j]);
            flow.advance(y, flow.row(move, 0), y);
            for (int j = 0; j < n; ++j) {
                Followed<Model> &f = followed[due[j]];
                if (when[j] <= left[j]) {
                    now[j] += move[j];
                    typename Followed<Model>::Spike spike;
                    Model::spike(l.constants.data(), own, y, j, spike.recorded);
                    spike.after.at = smaller(now[j], real(1));
                    spike.after.next = next[j];
                    for (int v = 0; v < N; ++v) spike.after.x[v] = y[v * P + j];
                    f.found.push_back(spike);
                    if (f.found.size() > 10000) throw RunawayActivity();
                    going = true;
                } else if (next[j] < f.arrivals.size()) {
                    now[j] = larger(now[j], f.arrivals[next[j]].at);
                    y[j] += f.arrivals[next[j]++].w;
                    going = true;
                } else {
                    now[j] = 1;
                }
            }
        }
    }
};

// A layer of spiking neurons through a trial. `whole`: to the end of the trial, also where nothing happens any more.
template <class Model>
void arrival_sweep(const Layer &l, int K, const SpikeLists &source, LayerTrace &out, const Draws &draws, bool kept, bool whole, Scratch &t) {
    out.spikes.clear(K);
    out.dropped.clear(K);
    for (auto *values : {&out.recorded, &out.dropped_recorded}) values->clear();
    out.events.clear();
    out.event_start.assign(K + 1, 0);
    if (kept) {
        out.kept.reserve(size_t(K) * l.n_panels * Model::n_state * P);
        out.arrivals.replayed.clear();
        out.arrivals.arrivals.clear();
        out.arrivals.replay_start.assign(K + 1, 0);
    }
    ArrivalSweep<Model>(l, K, source, out, draws, kept, t).run(whole);
}

}  // namespace eventprop
