// Eventprop on a grid of steps, one sample per task: forward sweep, spike log, reverse sweep.
//
// Included by generated code that defines `real`, the neuron models (Hidden, Output), `Readout`, `Regulariser`
// and `Optimiser`. Neurons are kept in panels of P lanes: a population's arrays are [panel][row][P], so that
// one panel's weights stay in the inner caches while many spikes are gathered, and neuron updates are plain
// loops over lanes that the compiler turns into vector code.
//
// Conventions (steps k = 0 .. K-1): a spike stamped k happens at the end of step k and reaches its targets'
// current in step k + 1; no spike is emitted in step K-1. Adjoint row m belongs to time m * dt.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <utility>

#include "panels.hpp"
#include "pool.hpp"

namespace eventprop {

// Everything that one sample keeps between its forward sweep and the gathering of gradients.
struct LayerTrace {
    SpikeLists spikes;
    std::vector<real> recorded;           // [spike][n_recorded], in order of step
    std::vector<real> error;              // R of each spike
    Buffer gradient;                      // [panel][row m][P]: what a synapse collects at time m * dt
    int rows = 0;                         // rows of `gradient` that are not zero
};
struct Slot {
    SpikeLists input;
    std::vector<LayerTrace> layers;
    LayerTrace output;
};

// A uniform 32-bit number for each (seed, sample, step, channel); Bernoulli draws of input dropout.
inline uint32_t mix(uint32_t x) {
    x ^= x >> 16; x *= 0x7feb352dU; x ^= x >> 15; x *= 0x846ca68bU; x ^= x >> 16;
    return x;
}
inline uint32_t draw(uint32_t key, uint32_t step, uint32_t channel) { return mix(key ^ mix(step << 16 | channel)); }

// A population and the synapses into it. Weights and their gradients are [panel][pre][P].
struct Weights {
    Panels w{}, g{}, m{}, v{};
    int n_pre = 0;
    bool trained = false, present = false;
};
struct Layer {
    int n = 0, n_panels = 0;
    std::vector<real> constants;          // of the model, [constant]
    Weights forward, recurrent;
};

struct Scratch {                          // one per thread
    Buffer drive, state, adjoint, transport_row, transport;
    std::vector<uint8_t> keep;
};

struct BatchView {                        // the spike set and the samples of it to present
    const int64_t *offsets;
    const uint16_t *steps, *channels;
    const int64_t *samples;               // [n]
    const int32_t *labels;                // [n]
    int32_t n, learn, average_counts;
    uint32_t dropout_seed;
    double dropout, batch, loss_scale;
    float *scores;                        // [n][outputs]
    double *loss;                         // [n]
    float *counts;                        // [n][sum of hidden sizes]: spikes in the trial
    int64_t first;                        // position of samples[0] in the epoch, for the dropout stream
};

class Engine {
public:
    int K, n_input;
    std::vector<Layer> hidden;
    Layer output;
    std::vector<real> weight_of_step;     // the loss's weight at x = k / K
    std::vector<real> regulariser;
    std::vector<Slot> slots;
    std::vector<Scratch> scratch;
    Pool pool;

    Engine(int K, int n_input, int n_hidden, int threads) : K(K), n_input(n_input), hidden(n_hidden), scratch(threads), pool(threads) {
        weight_of_step.resize(K);
        for (int k = 0; k < K; ++k) weight_of_step[k] = Readout::weight(real(k) / real(K));
    }

    void run(const BatchView &b) {
        if (slots.size() < size_t(b.n)) slots.resize(b.n);
        for (auto &s : slots) s.layers.resize(hidden.size());
        const bool apart = b.learn && b.average_counts;
        pool.run(b.n, [&](int i, int thread) {
            forward(b, i, scratch[thread]);
            if (b.learn && !apart) backward(b, i, scratch[thread]);
        });
        if (apart) {
            average(b);
            pool.run(b.n, [&](int i, int thread) { backward(b, i, scratch[thread]); });
        }
        if (b.learn) gather(b.n);
    }

    void zero_gradients() {
        for_weights([](Weights &w, int p) { std::memset(w.g.at(p, 0), 0, sizeof(real) * w.n_pre * P); });
    }

    // Sum of squares of all trained gradients, in an order that does not depend on the threads.
    double gradient_norm2() {
        std::vector<std::pair<Weights *, int>> tasks = weight_tasks();
        std::vector<double> part(tasks.size());
        pool.run(int(tasks.size()), [&](int i, int) {
            const real *g = tasks[i].first->g.at(tasks[i].second, 0);
            double lane[P] = {};
            for (int r = 0; r < tasks[i].first->n_pre; ++r)
                for (int l = 0; l < P; ++l) lane[l] += double(g[r * P + l]) * double(g[r * P + l]);
            for (int l = 0; l < P; ++l) part[i] += lane[l];
        });
        double s = 0;
        for (double x : part) s += x;
        return s;
    }

    // One optimiser step with gradient * factor.
    void update(const real *parameters, real factor) {
        for_weights([&](Weights &w, int p) {
            Optimiser::update(parameters, factor, w.n_pre * P, w.w.at(p, 0), w.g.at(p, 0), w.m.at(p, 0), w.v.at(p, 0));
        });
    }

    std::vector<std::pair<Weights *, int>> weight_tasks() {
        std::vector<std::pair<Weights *, int>> tasks;
        each_layer([&](Layer &l) {
            for (Weights *w : {&l.forward, &l.recurrent})
                if (w->present && w->trained)
                    for (int p = 0; p < l.n_panels; ++p) tasks.push_back({w, p});
        });
        return tasks;
    }

private:
    template <class F> void each_layer(F &&f) {
        for (auto &l : hidden) f(l);
        f(output);
    }
    template <class F> void for_weights(F &&f) {
        auto tasks = weight_tasks();
        pool.run(int(tasks.size()), [&](int i, int) { f(*tasks[i].first, tasks[i].second); });
    }

    // The sample's spikes by step and by channel, without those that dropout takes.
    void present(const BatchView &b, int i, Slot &slot, Scratch &t) {
        const int64_t begin = b.offsets[b.samples[i]], n = b.offsets[b.samples[i] + 1] - begin;
        const uint16_t *steps = b.steps + begin, *channels = b.channels + begin;
        SpikeLists &in = slot.input;
        in.step_start.assign(K + 1, 0);
        in.id.resize(n);
        size_t kept = 0;
        if (b.dropout > 0) {
            const uint32_t key = mix(b.dropout_seed ^ mix(uint32_t(b.first + i)));
            const uint32_t limit = uint32_t(std::min(4294967295.0, b.dropout * 4294967296.0));
            t.keep.resize(n);
            uint8_t *keep = t.keep.data();
            for (int64_t s = 0; s < n; ++s) keep[s] = draw(key, steps[s], channels[s]) >= limit;
            for (int64_t s = 0; s < n; ++s) {
                in.id[kept] = channels[s];
                in.step_start[steps[s] + 1] += keep[s];
                kept += keep[s];
            }
        } else {
            for (int64_t s = 0; s < n; ++s) { in.id[s] = channels[s]; ++in.step_start[steps[s] + 1]; }
            kept = n;
        }
        in.id.resize(kept);
        for (int k = 0; k < K; ++k) in.step_start[k + 1] += in.step_start[k];
        in.index_by_id(n_input, K);
    }

    void forward(const BatchView &b, int i, Scratch &t) {
        Slot &slot = slots[i];
        present(b, i, slot, t);
        const SpikeLists *source = &slot.input;
        float *counts = b.counts + size_t(i) * total_hidden();
        for (size_t l = 0; l < hidden.size(); ++l) {
            sweep(hidden[l], *source, slot.layers[l], t);
            source = &slot.layers[l].spikes;
            for (int j = 0; j < hidden[l].n; ++j) counts[j] = float(source->id_start[j + 1] - source->id_start[j]);
            counts += hidden[l].n;
        }
        read_out(b, i, *source, slot, t);
    }

    Panels drive_of(const Layer &l, const SpikeLists &source, Scratch &t, int &rows) {
        rows = source.last() + 1;
        Panels drive{nullptr, Panels::stride_of(K)};
        t.drive.reserve(drive.stride * l.n_panels);
        drive.data = t.drive.data;
        gather_drive(source, rows, l.forward.w, l.n_panels, drive);
        return drive;
    }

    void sweep(const Layer &l, const SpikeLists &source, LayerTrace &out, Scratch &t) {
        int rows;
        const Panels drive = drive_of(l, source, t, rows);
        constexpr int VARS = 1 + Hidden::n_state;
        t.state.reserve(size_t(l.n_panels) * VARS * P);
        real *state = t.state.data;
        const real *c = l.constants.data();
        for (int p = 0; p < l.n_panels; ++p) Hidden::start(c, state + p * VARS * P);
        SpikeLists &spikes = out.spikes;
        spikes.step_start.assign(K + 1, 0);
        spikes.id.clear();
        out.recorded.clear();
        alignas(64) real current[P], none[P] = {};
        alignas(64) int fired[P];
        int k = 0;
        for (; k < K; ++k) {
            const uint32_t from = k ? spikes.step_start[k - 1] : 0, to = uint32_t(spikes.id.size());
            const bool driven = k > 0 && k <= rows;
            if (!driven && from == to && k > rows && k % 4 == 0 && quiet(l, state)) break;
            spikes.step_start[k] = to;
            for (int p = 0; p < l.n_panels; ++p) {
                const real *in = driven ? drive.at(p, k - 1) : none;
                if (from < to && l.recurrent.present) {
                    store(current, sum_rows(load(in), l.recurrent.w.at(p, 0), spikes.id.data(), from, to));
                    in = current;
                }
                real *x = state + p * VARS * P;
                if (Hidden::step(c, x, in, fired) && k < K - 1) {
                    const int n = std::min(P, l.n - p * P);
                    for (int lane = 0; lane < n; ++lane)
                        if (fired[lane]) {
                            real value[Hidden::n_recorded];
                            Hidden::spike(c, x, lane, value);
                            spikes.id.push_back(uint16_t(p * P + lane));
                            out.recorded.insert(out.recorded.end(), value, value + Hidden::n_recorded);
                        }
                }
            }
        }
        for (; k <= K; ++k) spikes.step_start[k] = uint32_t(spikes.id.size());
        spikes.index_by_id(l.n, K);
    }

    static bool quiet(const Layer &l, const real *state) {
        for (int p = 0; p < l.n_panels; ++p)
            if (!Hidden::quiet(l.constants.data(), state + p * (1 + Hidden::n_state) * P)) return false;
        return true;
    }

    void read_out(const BatchView &b, int i, const SpikeLists &source, Slot &slot, Scratch &t) {
        int rows;
        const Layer &l = output;
        const Panels drive = drive_of(l, source, t, rows);
        constexpr int VARS = 1 + Output::n_state + Readout::n_state;
        t.state.reserve(size_t(l.n_panels) * VARS * P);
        const real *c = l.constants.data();
        alignas(64) real none[P] = {};
        alignas(64) int fired[P];
        float *scores = b.scores + size_t(i) * l.n;
        for (int p = 0; p < l.n_panels; ++p) {
            real *x = t.state.data + p * VARS * P;
            Output::start(c, x);
            Readout::start(x + (1 + Output::n_state) * P);
            for (int k = 0; k < K; ++k) {
                Readout::read(c, x, x + (1 + Output::n_state) * P, weight_of_step[k], real(K));
                Output::step(c, x, k > 0 && k <= rows ? drive.at(p, k - 1) : none, fired);
            }
            for (int lane = 0; lane < std::min(P, l.n - p * P); ++lane)
                scores[p * P + lane] = float(Readout::score(x + (1 + Output::n_state) * P, lane));
        }
        if (b.labels) b.loss[i] = softmax_error(b, i, slot, scores);
    }

    // error[j] = (1[j == label] - softmax(score)[j]) * scale / batch; returns -log softmax(score)[label]
    double softmax_error(const BatchView &b, int i, Slot &slot, const float *scores) const {
        const int n = output.n, label = b.labels[i];
        double top = scores[0], sum = 0;
        for (int j = 1; j < n; ++j) top = std::max(top, double(scores[j]));
        for (int j = 0; j < n; ++j) sum += std::exp(scores[j] - top);
        slot.output.error.assign(size_t(output.n_panels) * P, real(0));
        for (int j = 0; j < n; ++j)
            slot.output.error[j] = real(((j == label) - std::exp(scores[j] - top) / sum) * b.loss_scale / b.batch);
        return std::log(sum) - (scores[label] - top);
    }

    void backward(const BatchView &b, int i, Scratch &t) {
        Slot &slot = slots[i];
        reverse_output(slot, t);
        for (int l = int(hidden.size()) - 1; l >= 0; --l) {
            const Layer &above = size_t(l) + 1 < hidden.size() ? hidden[l + 1] : output;
            LayerTrace &trace = slot.layers[l];
            const int rows = size_t(l) + 1 < hidden.size() ? slot.layers[l + 1].rows : slot.output.rows;
            errors_from_above(trace, above, rows, t);
            const float *counts = b.average_counts ? mean_counts.data() : b.counts + size_t(i) * total_hidden();
            for (int q = 0; q < l; ++q) counts += hidden[q].n;
            reverse_hidden(b, hidden[l], trace, counts, l > 0, t);
        }
    }

    // Adjoints of the read-out, back to the row that the last hidden layer's first spike samples.
    void reverse_output(Slot &slot, Scratch &t) {
        const Layer &l = output;
        LayerTrace &trace = slot.output;
        const SpikeLists &source = slot.layers.back().spikes;
        const size_t stride = Panels::stride_of(K);
        trace.gradient.reserve(stride * l.n_panels);
        t.transport.reserve(stride * l.n_panels);
        trace.rows = source.id.empty() ? 0 : K;
        if (source.id.empty()) return;
        constexpr int VARS = Output::n_adjoint;
        t.adjoint.reserve(size_t(VARS) * P);
        const real *c = l.constants.data();
        for (int p = 0; p < l.n_panels; ++p) {
            real *x = t.adjoint.data;
            std::fill(x, x + VARS * P, real(0));
            const real *error = trace.error.data() + p * P;
            Panels g{trace.gradient.data, stride}, d{t.transport.data, stride};
            for (int m = K - 1; m >= 1; --m) {
                Output::back(c, x, g.at(p, m));
                Readout::impulse(c, x, error, weight_of_step[m], real(K));
                if (Readout::impulse_changes_gradient) Output::gradient(c, x, g.at(p, m));
                Output::transport(c, x, d.at(p, m));
            }
        }
    }

    // R of each spike from the layer above, whose transport rows are in t.transport
    void errors_from_above(LayerTrace &trace, const Layer &above, int rows, Scratch &t) {
        const SpikeLists &spikes = trace.spikes;
        trace.error.assign(spikes.id.size(), real(0));
        const size_t stride = Panels::stride_of(K);
        for (int k = 0; k + 1 < rows; ++k)
            for (uint32_t s = spikes.step_start[k]; s < spikes.step_start[k + 1]; ++s)
                trace.error[s] = dot_row(above.forward.w, spikes.id[s], t.transport.data + size_t(k + 1) * P, stride, above.n_panels);
    }

    void reverse_hidden(const BatchView &b, const Layer &l, LayerTrace &trace, const float *counts, bool keep_transport, Scratch &t) {
        const SpikeLists &spikes = trace.spikes;
        const size_t stride = Panels::stride_of(K);
        trace.gradient.reserve(stride * l.n_panels);
        if (keep_transport) t.transport.reserve(stride * l.n_panels);
        trace.rows = spikes.last() + 1;   // before the last spike's jump, seen backwards, all adjoints are 0
        constexpr int VARS = Hidden::n_adjoint;
        t.adjoint.reserve(size_t(l.n_panels) * VARS * P);
        t.transport_row.reserve(size_t(l.n_panels) * P);
        real *x = t.adjoint.data, *row = t.transport_row.data;
        std::fill(x, x + size_t(l.n_panels) * VARS * P, real(0));
        const real *c = l.constants.data();
        const Panels g{trace.gradient.data, stride}, d{t.transport.data, stride};
        for (int m = trace.rows - 1; m >= 0; --m) {
            for (int p = 0; p < l.n_panels; ++p) Hidden::back(c, x + p * VARS * P, g.at(p, m));
            for (uint32_t s = spikes.step_start[m]; s < spikes.step_start[m + 1]; ++s) {
                const int p = spikes.id[s] / P, lane = spikes.id[s] % P;
                Hidden::jump(c, x + p * VARS * P, lane, trace.error[s], &trace.recorded[size_t(s) * Hidden::n_recorded]);
                Regulariser::jump(regulariser.data(), x + p * VARS * P, lane, real(counts[spikes.id[s]]), real(b.batch));
                if (Hidden::jump_changes_gradient) Hidden::gradient(c, x + p * VARS * P, g.at(p, m));
            }
            if (keep_transport)
                for (int p = 0; p < l.n_panels; ++p) Hidden::transport(c, x + p * VARS * P, d.at(p, m));
            if (m > 0 && l.recurrent.present && spikes.step_start[m - 1] < spikes.step_start[m]) {
                for (int p = 0; p < l.n_panels; ++p) Hidden::transport(c, x + p * VARS * P, row + p * P);
                for (uint32_t s = spikes.step_start[m - 1]; s < spikes.step_start[m]; ++s)
                    trace.error[s] += dot_row(l.recurrent.w, spikes.id[s], row, P, l.n_panels);
            }
        }
    }

    // Weight gradients of the batch: each task owns one panel of one projection and takes the samples in order.
    void gather(int n) {
        auto tasks = weight_tasks();
        pool.run(int(tasks.size()), [&](int i, int) {
            Weights *w = tasks[i].first;
            const int p = tasks[i].second;
            for (int s = 0; s < n; ++s) {
                Slot &slot = slots[s];
                const LayerTrace *trace = &slot.output;
                const SpikeLists *source = &slot.layers.back().spikes;
                for (size_t l = 0; l < hidden.size(); ++l) {
                    if (w == &hidden[l].forward) { trace = &slot.layers[l]; source = l ? &slot.layers[l - 1].spikes : &slot.input; }
                    if (w == &hidden[l].recurrent) { trace = &slot.layers[l]; source = &trace->spikes; }
                }
                const Panels g{trace->gradient.data, Panels::stride_of(K)};
                if (trace->rows > 0) gather_gradient(*source, w->n_pre, trace->rows, g.at(p, 0), w->g.at(p, 0));
            }
        });
    }

    void average(const BatchView &b) {
        const size_t n = total_hidden();
        mean_counts.assign(n, 0.0f);
        for (int i = 0; i < b.n; ++i)
            for (size_t j = 0; j < n; ++j) mean_counts[j] += b.counts[i * n + j];
        for (float &x : mean_counts) x /= float(b.n);
    }

    std::vector<float> mean_counts;

    size_t total_hidden() const {
        size_t n = 0;
        for (auto &l : hidden) n += l.n;
        return n;
    }
};

}  // namespace eventprop
