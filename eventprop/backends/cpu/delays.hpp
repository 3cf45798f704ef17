// Synapses with delays of their own: what a spike of step k brings arrives `delay` steps after step k + 1 begins.
//
// Each target sees each source at another time, so that rows of weights cannot be added as they are. Four targets are
// worked on at once, with what they get, or collect, over the whole trial in the innermost cache: the list of a source's
// spikes is read once for all four. Every sum has a fixed order.
#pragma once
#include "layers.hpp"

namespace eventprop {

constexpr int GROUP = 4;                  // targets worked on at once
constexpr int BLOCK = 16;                 // lanes that are moved at once between their rows and panels

// Delays to whole steps, the nearest ones.
inline void round_delays(Weights &w, int p, double dt) {
    const real *d = w.d.at(p, 0);
    uint16_t *to = w.steps.data() + p * w.d.stride;
    int longest = 0;
    for (int i = 0; i < w.n_pre * P; ++i) {
        const int steps = std::min(65535, std::max(0, int(std::floor(double(d[i]) / dt + 0.5))));
        to[i] = uint16_t(steps);
        longest = std::max(longest, steps);
    }
    w.longest_of[p] = longest;
}

// Values of four targets over a trial, [row][input][GROUP][PARTS], for each GROUP of a BLOCK; rows beyond those that are
// given are 0.
template <int inputs, int PARTS> struct Narrow {
    static constexpr size_t WIDTH = size_t(inputs) * GROUP * PARTS;
    real *data;
    size_t rows;

    Narrow(Buffer &b, size_t rows) : rows(rows) {
        b.reserve(BLOCK / GROUP * rows * WIDTH);
        data = b.data;
    }
    real *group(int g) const { return data + size_t(g) * rows * WIDTH; }
    void clear() { std::fill(data, data + BLOCK / GROUP * rows * WIDTH, real(0)); }
    // Both parts from a panel's rows, of which `given` are not 0, `first` being the first lane.
    void fill(const real *a, const real *b, size_t given, int first) {
        static_assert(PARTS == 2);
        for (int g = 0; g < BLOCK / GROUP; ++g) {
            real *__restrict to = group(g);
            const real *__restrict x = a + first + g * GROUP, *__restrict y = b + first + g * GROUP;
            for (size_t r = 0; r < given * inputs; ++r, x += P, y += P, to += 2 * GROUP)
                for (int t = 0; t < GROUP; ++t) {
                    to[2 * t] = x[t];
                    to[2 * t + 1] = y[t];
                }
            std::fill(to, group(g) + rows * WIDTH, real(0));
        }
    }
};

// act(row of weights, how much later this copy is, first and last of its spikes) for each copy of a source that spiked.
template <class F> void each_source(const SpikeLists &spikes, Delays source, F &&act) {
    for (int c = 0; c < source.copies; ++c)
        for (int pre = 0; pre < source.n; ++pre) {
            const uint32_t from = spikes.id_start[pre], to = spikes.id_start[pre + 1];
            if (from < to) act(size_t(c) * source.n + pre, size_t(c) * source.delay, from, to);
        }
}

// As gather_drive(): drive[p][k] is what arrives in step k + 1, for k < rows.
template <int inputs>
void delayed_drive(const SpikeLists &spikes, Delays source, int rows, const Weights &w, int n, int n_panels, Panels drive, Buffer &b) {
    Narrow<inputs, 1> narrow(b, size_t(spikes.last() + 2 + (source.copies - 1) * source.delay + w.longest));
    const uint16_t *step = spikes.step.data();
    for (int p = 0; p < n_panels; ++p) {
        if ((p + 1) * P > n)              // lanes behind the last neuron, whose state has to stay finite
            std::fill(drive.at(p, 0), drive.at(p, size_t(rows) * inputs), real(0));
        for (int first = 0; first < P && p * P + first < n; first += BLOCK) {
            narrow.clear();
            for (int g = 0; g < BLOCK / GROUP; ++g)
                each_source(spikes, source, [&](size_t row, size_t late, uint32_t from, uint32_t to) {
                    const real *x = w.w.at(p, row) + first + g * GROUP;
                    const uint16_t *d = w.steps_at(p, row) + first + g * GROUP;
                    real size[GROUP], *at[GROUP];
                    for (int t = 0; t < GROUP; ++t) {
                        const bool negative = inputs == 2 && x[t] < 0;
                        size[t] = negative ? -x[t] : x[t];
                        at[t] = narrow.group(g) + (late + d[t]) * inputs * GROUP + negative * GROUP + t;
                    }
                    for (uint32_t s = from; s < to; ++s)
                        for (int t = 0; t < GROUP; ++t) at[t][size_t(step[s]) * inputs * GROUP] += size[t];
                });
            for (int r = 0; r < rows * inputs; ++r)
                for (int g = 0; g < BLOCK / GROUP; ++g)
                    std::copy_n(narrow.group(g) + size_t(r) * GROUP, GROUP, drive.at(p, r) + first + g * GROUP);
        }
    }
}

// Adds to the gradients of weights, and of trained delays, of panel p: `gradient` and `transport` are its rows, and those
// from `given` on are 0.
template <int inputs>
void gather_delayed(const SpikeLists &spikes, Delays source, size_t given, const real *gradient, const real *transport, Weights &w,
                    int n, int p, Buffer &b) {
    typedef real pair __attribute__((vector_size(2 * sizeof(real))));
    Narrow<inputs, 2> narrow(b, size_t(spikes.last() + 2 + (source.copies - 1) * source.delay + w.longest));
    given = std::min(given, narrow.rows);
    const uint16_t *step = spikes.step.data();
    for (int first = 0; first < P && p * P + first < n; first += BLOCK) {
        narrow.fill(gradient, transport ? transport : gradient, given, first);
        for (int g = 0; g < BLOCK / GROUP; ++g)
            each_source(spikes, source, [&](size_t row, size_t late, uint32_t from, uint32_t to) {
                const int lane = first + g * GROUP;
                const real *x = w.w.at(p, row) + lane;
                const uint16_t *d = w.steps_at(p, row) + lane;
                const pair *at[GROUP];
                pair sum[GROUP] = {}, other[GROUP] = {};  // two sums, since one would wait for each of its additions
                for (int t = 0; t < GROUP; ++t)
                    at[t] = reinterpret_cast<const pair *>(narrow.group(g)) + (late + d[t] + 1) * inputs * GROUP +
                            (inputs == 2 && x[t] < 0) * GROUP + t;
                uint32_t s = from;
                for (; s + 1 < to; s += 2) {
                    const size_t one = size_t(step[s]) * inputs * GROUP, two = size_t(step[s + 1]) * inputs * GROUP;
                    for (int t = 0; t < GROUP; ++t) sum[t] += at[t][one];
                    for (int t = 0; t < GROUP; ++t) other[t] += at[t][two];
                }
                if (s < to)
                    for (int t = 0; t < GROUP; ++t) sum[t] += at[t][size_t(step[s]) * inputs * GROUP];
                for (int t = 0; t < GROUP; ++t) {
                    sum[t] += other[t];
                    if (w.trained) w.g.at(p, row)[lane + t] += sum[t][0];
                    if (transport) w.dg.at(p, row)[lane + t] += x[t] * sum[t][1];
                }
            });
    }
}

// As dot_of(), of a spike that would arrive at row m without a delay; rows of t from `rows` on, of which there is one, are 0.
template <int inputs> real delayed_dot(const Weights &w, size_t row, const real *t, size_t t_stride, int n_panels, int m, int rows) {
    vec_sum a{};
    for (int p = 0; p < n_panels; ++p) {
        alignas(64) real product[P];
        alignas(64) int at[P];
        const real *x = w.w.at(p, row), *y = t + p * t_stride;
        const uint16_t *d = w.steps_at(p, row);
        for (int l = 0; l < P; ++l) at[l] = (std::min(m + d[l], rows) * inputs + (inputs == 2 && x[l] < 0)) * P + l;
        for (int l = 0; l < P; ++l) product[l] = x[l] * y[at[l]];
        add(a, product);
    }
    return total(a);
}
// The row behind the last one that is not 0, which delayed_dot() needs.
inline void end_rows(int n_panels, int inputs, real *t, size_t t_stride, int rows) {
    for (int p = 0; p < n_panels; ++p) std::fill_n(t + p * t_stride + size_t(rows) * inputs * P, inputs * P, real(0));
}

// What is still to arrive of a layer's own spikes: rows of the coming steps, in a ring.
template <int inputs> struct Pending {
    const Weights &w;
    const int n_panels;
    int mask = 0, until = -1;             // the last step at which something arrives
    real *data = nullptr;

    Pending(const Weights &w, int n_panels, Buffer &b) : w(w), n_panels(n_panels) {
        if (!w.delayed) return;
        int size = 1;
        while (size <= w.longest) size *= 2;
        mask = size - 1;
        const size_t n = size_t(n_panels) * size * inputs * P;
        b.reserve(n);
        data = b.data;
        std::fill(data, data + n, real(0));
    }
    real *row(int p, int k) const { return data + (size_t(p) * (mask + 1) + (k & mask)) * inputs * P; }
    // Spikes whose undelayed arrival is in step k.
    void put(int k, const uint16_t *id, uint32_t from, uint32_t to) {
        if (from < to) until = std::max(until, k + w.longest);
        for (uint32_t s = from; s < to; ++s)
            for (int p = 0; p < n_panels; ++p) {
                const real *x = w.w.at(p, id[s]);
                const uint16_t *d = w.steps_at(p, id[s]);
                real *ring = row(p, 0);
                alignas(64) int at[P];
                for (int l = 0; l < P; ++l) at[l] = (((k + d[l]) & mask) * inputs + (inputs == 2 && x[l] < 0)) * P + l;
#pragma GCC unroll 8
                for (int l = 0; l < P; ++l) ring[at[l]] += inputs == 2 && x[l] < 0 ? -x[l] : x[l];
            }
    }
    // Adds what arrives in step k, and forgets it.
    void take(int p, int k, real *to) {
        real *from = row(p, k);
        for (int l = 0; l < inputs * P; ++l) {
            to[l] += from[l];
            from[l] = 0;
        }
    }
};

// One value for all synapses of a source, or of a target: each gets the sum of their gradients.
inline void share_gradients(Weights &w, int n, int n_panels) {
    if (w.shared == Weights::SOURCE)
        for (int pre = 0; pre < w.n_pre; ++pre) {
            double sum = 0;
            for (int j = 0; j < n; ++j) sum += double(w.dg.at(j / P, pre)[j % P]);
            for (int j = 0; j < n; ++j) w.dg.at(j / P, pre)[j % P] = real(sum);
        }
    if (w.shared == Weights::TARGET)
        for (int p = 0; p < n_panels; ++p) {
            double sum[P] = {};
            for (int pre = 0; pre < w.n_pre; ++pre)
                for (int l = 0; l < P; ++l) sum[l] += double(w.dg.at(p, pre)[l]);
            for (int pre = 0; pre < w.n_pre; ++pre)
                for (int l = 0; l < P; ++l) w.dg.at(p, pre)[l] = real(sum[l]);
        }
}

}  // namespace eventprop
