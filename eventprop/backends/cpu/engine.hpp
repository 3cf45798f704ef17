// Eventprop, one sample per task: forward sweep, spike log, reverse sweep; then gradients, gathered over the samples.
//
// Included by generated code that defines `real`, the neuron models (Hidden and others of hidden layers, Output), which of them
// a kind of hidden layers has (`of_kind`), `Readout`, `Regulariser`, `Optimiser` and whether spike times are exact. Neurons are kept in panels of P lanes: a population's arrays are
// [panel][row][P], so that one panel's weights stay in the inner caches while many spikes are gathered, and neuron
// updates are plain loops over lanes that the compiler turns into vector code.
#pragma once
#include <memory>
#include <utility>

#include "grid.hpp"
#include "pool.hpp"
#include "sums.hpp"
#if EXACT_TIMES
#include "exact_read.hpp"
#endif
#if ARRIVALS
#include "arrival_read.hpp"
#endif
#include "arrival_input.hpp"

namespace eventprop {

class Engine {
public:
    int K, which = 0;                     // steps; number of the loss and of the regulariser
    int per_input_step;                   // steps here for one of the input's, where spikes have exact times
    int regulariser_number = 0;
    Delays input;
    std::vector<Layer> hidden;
    Layer output;
    std::vector<real> loss_parameters;
    std::vector<real> weight_of_step, slope_of_step;  // the loss's weight at x = k / K, and its change per ms until the next
    Window window;                        // steps that count for the loss; the weight of others is 0
    Objects<Slot> slots;
    std::vector<Scratch> scratch;
    std::unique_ptr<Normal> normal;
    Pool pool;

    [[gnu::cold]] Engine(int K, int per_input_step, Delays input, int n_hidden, int threads)
        : K(K), per_input_step(per_input_step), input(input), hidden(n_hidden), scratch(threads), pool(threads) {}

    [[gnu::cold]] void set_loss(int number, const double *parameters, int n, Window counted) {
        which = number;
        window = counted;
        loss_parameters.assign(parameters, parameters + n);
        weight_of_step.resize(K + 1);
        slope_of_step.resize(K);
        for (int k = 0; k <= K; ++k) weight_of_step[k] = Readout::weight(which, q(), real(k) / real(K), real(0));
        for (int k = 0; k < K; ++k) slope_of_step[k] = (weight_of_step[k + 1] - weight_of_step[k]) / real(output.dt);
        leave_out(weight_of_step, slope_of_step);
    }

    void run(const BatchView &b) {
        slots.reserve(b.n);
        for (int i = 0; i < b.n; ++i) slots[i].layers.reserve(hidden.size());
        recording = b.record;
#if EXACT_TIMES
        timed = ARRIVALS || b.at;
#endif
        if (!normal && std::any_of(b.noise, b.noise + hidden.size(), [](double x) { return x > 0; })) normal = std::make_unique<Normal>();
        if (!b.learn || b.stage == BatchView::FORWARD) {
            pool.run(b.n, [&](int i, int thread) { forward(b, i, scratch[thread]); });
            return;
        }
        const int most = BLOCK_SAMPLES * pool.size();
        for (int from = 0; from < b.n; from += most) learn(b, from, std::min(b.n, from + most));
    }

    // Delays as they are now to steps, and weights to where these are looked up. To be called before a batch is presented.
    [[gnu::cold]] void take_delays() {
        each_layer([&](Layer &l) {
            for (Weights *w : {&l.forward, &l.recurrent}) {
                if (!w->delayed) continue;
                w->steps.resize(w->d.stride * l.n_panels);
                w->longest_of.resize(l.n_panels);
                pool.run(l.n_panels, [&](int p, int) { round_delays(*w, p, l.dt); });
                w->longest = *std::max_element(w->longest_of.begin(), w->longest_of.end());
#if ARRIVALS
                w->by_target.resize(size_t(l.n_panels) * P * w->n_pre);
                pool.run(l.n_panels, [&](int p, int) { sort_by_target(*w, p); });
#elif !EXACT_TIMES
                with_model(l, [&](auto model) { tabulate_delays<decltype(model)>(l, *w); });
#endif
            }
        });
    }

    // To be called before the first part that is learned from here of a batch: it begins with sample `first`.
    [[gnu::cold]] void begin_gradients(int64_t first) {
        if (sums.parts.empty()) list_gradients();
        sums.begin(first);
        zero_gradients();
    }
    // To be called once after the last part: with sums over all of the batch in their places, or with those that `given` has,
    // the parts one after the other.
    void finish_gradients(const real *given) {
        each_piece([&](const Sums::Piece &piece) {
            if (given) std::copy_n(given + piece.offset, piece.size, piece.at);
            else sums.finish(piece);
        });
        silence();
        share_gradients();
    }
    // Synapses that are not there have no gradient, so that their weights, which are 0, stay so.
    void silence() {
        bool sparse = false;
        each_layer([&](const Layer &l) { sparse |= l.forward.there || l.recurrent.there; });
        if (!sparse) return;
        const auto tasks = row_tasks();
        pool.run(int(tasks.size()), [&](int i, int) {
            const auto &[w, p, first, rows] = tasks[i];
            if (!w->there) return;
            const uint8_t *there = w->there + p * w->w.stride + size_t(first) * P;
            for (Panels g : {w->g, w->dg}) {
                if (!g.data) continue;
                real *at = g.at(p, first);
                for (int j = 0, n = rows * P; j < n; ++j) at[j] = there[j] ? at[j] : real(0);
            }
        });
    }
    // Let a block that is not complete, as the last one of a batch need not be, be one of the nodes.
    [[gnu::cold]] void close_block() {
        if (!sums.rest) return;
        sums.open(1);
        sums.move_rest();
        add_blocks();
    }
    Sums sums;

    void share_gradients() {
        each_layer([&](Layer &l) {
            for (Weights *w : {&l.forward, &l.recurrent})
                if (w->delays_trained) eventprop::share_gradients(*w, l.n, l.n_panels);
        });
    }

    void zero_gradients() {
        each_piece([](const Sums::Piece &piece) { std::fill_n(piece.at, piece.size, real(0)); });
    }

    // Trained gradients, one stretch after the other: those of synapses first.
    [[gnu::cold]] void list_gradients() {
        for (auto &task : weight_tasks()) {
            const Weights &w = *task.first;
            Gathered own{task.first, task.second, -1, -1};
            for (bool of_delays : {false, true}) {
                const Panels g = of_delays ? w.dg : w.g;
                if (!g.data) continue;
                (of_delays ? own.delay_part : own.part) = int(sums.parts.size());
                sums.add_part(g.at(task.second, 0), size_t(w.n_pre) * P);
            }
            gathered.push_back(own);
        }
        trained_parts = int(sums.parts.size());
        each_layer([&](Layer &l) {
            for (Trained &a : l.trained)
                if (a.w) sums.add_part(a.g, size_t(l.n_panels) * P);
        });
    }

    // Sum of squares of all trained gradients, in an order that does not depend on the threads.
    double gradient_norm2() {
        const auto tasks = row_tasks();
        std::vector<double> part(tasks.size());
        pool.run(int(tasks.size()), [&](int i, int) {
            const auto &[w, p, first, rows] = tasks[i];
            if (w->trained) part[i] = square(w->g.at(p, first), rows);
            if (w->delays_trained) part[i] += square(w->dg.at(p, first), rows) / w->alike;
        });
        double s = 0;
        for (double x : part) s += x;
        each_layer([&](Layer &l) {
            for (Trained &a : l.trained)
                for (int j = 0; a.w && j < l.n; ++j) s += double(a.g[j]) * double(a.g[j]);
        });
        return s;
    }

    // One optimiser step with gradient * factor, of neurons' parameters and of delays with parameters of their own.
    void update(const real *parameters, const real *of_neurons, const real *of_delays, real factor) {
        const auto tasks = row_tasks();
        pool.run(int(tasks.size()), [&](int i, int) {
            const auto &[w, p, first, rows] = tasks[i];
            auto at = [&, p = p, first = first](Panels a) { return a.at(p, first); };
            const int n = rows * P;
            if (w->trained) Optimiser::update(parameters, factor, n, at(w->w), at(w->g), at(w->m), at(w->v));
            if (!w->delays_trained) return;
            real *d = at(w->d);
            Optimiser::update(of_delays, factor, n, d, at(w->dg), at(w->dm), at(w->dv));
            for (int j = 0; j < n; ++j) d[j] = std::min(std::max(d[j], real(0)), w->most);
        });
        each_layer([&](Layer &l) {
            if (l.trained.empty()) return;
            for (Trained &a : l.trained) {
                if (!a.w) continue;
                Optimiser::update(of_neurons, factor, l.n, a.w, a.g, a.m, a.v);
                for (int j = 0; j < l.n; ++j) a.w[j] = std::min(std::max(a.w[j], a.least), a.most);
            }
            take_trained(l);
        });
    }

    // The model's constants from the values of the trained parameters.
    [[gnu::cold]] void take_trained(Layer &l) {
        with_model(l, [&](auto model) {
            using Model = decltype(model);
            for (size_t i = 0; i < l.trained.size(); ++i) {
                if (!l.trained[i].w) continue;
                const int row = Model::trained_index[i];
                std::copy(l.trained[i].w, l.trained[i].w + l.n, l.parameters.begin() + size_t(row) * l.n);
            }
            compute<Model>(l);
        });
    }

    // Calls `f` with the model of a layer's neurons.
    template <class F> void with_model(const Layer &l, F &&f) {
        if (&l == &output) f(Output());
        else of_kind(l.kind, f);
    }

    // Constants from the parameters, and what follows from them.
    template <class Model> [[gnu::cold]] void compute(Layer &l) {
        l.compute<Model>();
#if SUBSTEPS
        if constexpr (Model::spiking) tabulate_series<Model>(l);
#elif EXACT_TIMES
        tabulate<Model>(l);
#endif
    }
#if EXACT_TIMES
    template <class Model> [[gnu::cold]] static void tabulate(Layer &l) {
        tabulate_series<Model>(l);
        NodeMaker<Model>(l).make();
#if ARRIVALS
        ArrivalMaker<Model>(l).make();
#endif
    }
#endif

    // Rows of a panel of weights that learn, as many as one of several threads works on at a time.
    struct Rows { Weights *w; int p, first, n; };
    [[gnu::cold]] std::vector<Rows> row_tasks() {
        constexpr int MOST = int(PIECE / P);
        std::vector<Rows> tasks;
        for (auto &task : weight_tasks())
            for (int row = 0, n = task.first->n_pre; row < n; row += MOST)
                tasks.push_back({task.first, task.second, row, std::min(MOST, n - row)});
        return tasks;
    }
    [[gnu::cold]] std::vector<std::pair<Weights *, int>> weight_tasks() {
        std::vector<std::pair<Weights *, int>> tasks;
        each_layer([&](Layer &l) {
            for (int p = 0; p < l.n_panels; ++p)  // those of a panel look at the same rows
                for (Weights *w : {&l.forward, &l.recurrent})
                    if (w->learns()) tasks.push_back({w, p});
        });
        return tasks;
    }

private:
    // A panel of weights with gradients, and which parts these are, or -1.
    struct Gathered { Weights *w; int p, part, delay_part; };
    std::vector<Gathered> gathered;
    int trained_parts = 0;                // the first part of what neurons train

    static double square(const real *g, int rows) {
        double lane[P] = {}, sum = 0;
        for (int r = 0; r < rows; ++r)
            for (int l = 0; l < P; ++l) lane[l] += double(g[r * P + l]) * double(g[r * P + l]);
        for (int l = 0; l < P; ++l) sum += lane[l];
        return sum;
    }
#if !EXACT_TIMES
    template <class Model> void tabulate_delays(Layer &l, Weights &w) {
        w.group_w.resize(size_t(l.n_panels) * P * w.n_pre);
        w.group_steps.resize(w.group_w.size());
        pool.run(l.n_panels, [&](int p, int) { group_panel(w, p); });
        if (&w == &hidden.front().forward) return;
        if (narrow_enough(w)) {
            w.narrow.resize(w.steps.size());
            pool.run(l.n_panels, [&](int p, int) { narrow_steps(w, p); });
        }
        if (&w == &l.forward) return;
        w.near.resize(w.n_pre);
        w.near_start.resize(size_t(w.n_pre) * (SPAN + 1));
        pool.run(w.n_pre, [&](int i, int) { list_near<Model::n_inputs>(w, i, l.n, Panels::stride_of(size_t(K) * Model::n_inputs)); });
    }
#endif
    bool recording = false;               // whether the batch keeps all states and adjoints
#if EXACT_TIMES
    bool timed = false;                   // whether input spikes arrive within steps
#else
    static constexpr bool timed = false;
#endif

    const real *q() const { return loss_parameters.data(); }
    real trial() const { return real(K * output.dt); }
    template <class F> void each_layer(F &&f) {
        for (auto &l : hidden) f(l);
        f(output);
    }
    // The sample's spikes by step and by channel, without those that dropout takes.
    __attribute__((noinline)) void present(const BatchView &b, int i, Slot &slot, Scratch &t) {
        const int64_t begin = b.offsets[b.samples[i]], n = b.offsets[b.samples[i] + 1] - begin;
        const uint16_t *steps = b.steps + begin, *channels = b.channels + begin;
        const InputTimes times{timed && b.at ? b.at + begin : nullptr, per_input_step, real(output.dt)};
        auto stamp = [&](int64_t s) { return times.stamp(s, steps[s]); };
        SpikeLists &in = slot.input;
        in.step_start.assign(K + 1, 0);
        in.id.resize(n);
        size_t kept = 0;
        if (b.input_dropout > 0) {
            const uint32_t key = key_of(b.input_seed, uint32_t(b.first + i)), limit = limit_of(b.input_dropout);
            t.keep.resize(n);
            uint8_t *keep = t.keep.data();
            for (int64_t s = 0; s < n; ++s) keep[s] = draw(times.key(key, s), steps[s], channels[s]) >= limit;
            for (int64_t s = 0; s < n; ++s) {
                in.id[kept] = channels[s];
                in.step_start[stamp(s) + 1] += keep[s];
                kept += keep[s];
            }
        } else {
            for (int64_t s = 0; s < n; ++s) { in.id[s] = channels[s]; ++in.step_start[stamp(s) + 1]; }
            kept = n;
        }
        in.id.resize(kept);
        in.at.clear();
        for (int64_t s = 0; timed && s < n; ++s)
            if (b.input_dropout <= 0 || t.keep[s]) in.at.push_back(times.within(s));
        for (int k = 0; k < K; ++k) in.step_start[k + 1] += in.step_start[k];
        in.index_by_id(input.n, K);
        if (timed && input.copies > 1) copy_spikes(in, input, K, slot.arriving);
        if (Readout::uses_traffic(which)) smooth_input(slot);
    }

    // What arrives at the first hidden layer.
    const SpikeLists &arriving(const Slot &slot) const { return timed && input.copies > 1 ? slot.arriving : slot.input; }

    // The loss's weights by the smoothed number of input spikes at the start of each step.
    [[gnu::cold]] void smooth_input(Slot &slot) {
        const double tau = Readout::traffic_tau(which, q()), decay = std::exp(-output.dt / tau);
        slot.weight.resize(K);
        slot.weight_slope.resize(K);
        double x = 0;
        for (int k = 0; timed && k < K; ++k) {
            const Line line = traffic_of_step(arriving(slot), k, tau, output.dt, x);
            slot.weight[k] = Readout::weight(which, q(), real(k) / real(K), real(line.start));
            const real end = Readout::weight(which, q(), real(k + 1) / real(K), real(line.end));
            slot.weight_slope[k] = (end - slot.weight[k]) / real(output.dt);
        }
        for (int k = 0; !timed && k < K; ++k) {
            x *= decay;
            for (int i = 0, j = k - 1; i < input.copies && j >= 0; ++i, j -= input.delay)
                x += 0.01 / tau * (slot.input.step_start[j + 1] - slot.input.step_start[j]);
            slot.weight[k] = Readout::weight(which, q(), real(k) / real(K), real(x));
            const real end = Readout::weight(which, q(), real(k + 1) / real(K), real(x * decay));
            slot.weight_slope[k] = (end - slot.weight[k]) / real(output.dt);
        }
        leave_out(slot.weight, slot.weight_slope);
    }
    // Steps that do not count have no weight.
    [[gnu::cold]] void leave_out(std::vector<real> &weight, std::vector<real> &slope) const {
        for (int k = 0; k < K; ++k)
            if (!window.has(k)) weight[k] = slope[k] = 0;
    }
    const real *weights_of_steps(const Slot &slot) const {
        return Readout::uses_traffic(which) ? slot.weight.data() : weight_of_step.data();
    }

    Draws draws_of(const BatchView &b, int i, int layer) const {
        Draws d;
        const uint32_t sample = uint32_t(b.first + i);
        d.dropout = b.hidden_dropout[layer] > 0;
        d.dropout_key = key_of(b.hidden_seed, sample, layer);
        d.dropout_limit = limit_of(b.hidden_dropout[layer]);
        d.noise = real(b.noise[layer] * std::sqrt(hidden[layer].dt));
        d.noise_key = key_of(b.noise_seed, sample, layer);
        d.normal = normal.get();
        return d;
    }

    void forward(const BatchView &b, int i, Scratch &t) {
        Slot &slot = slots[i];
        present(b, i, slot, t);
        const SpikeLists *source = &arriving(slot);
        float *counts = b.counts + size_t(i) * total_hidden();
        for (size_t l = 0; l < hidden.size(); ++l) {
            of_kind(hidden[l].kind, [&](auto model) {
                sweep_layer<decltype(model)>(hidden[l], *source, l == 0, l ? one_copy(hidden[l - 1].n) : input, slot.layers[l],
                                             draws_of(b, i, int(l)), b.learn, t);
            });
            source = &slot.layers[l].spikes;
            for (int j = 0; j < hidden[l].n; ++j) counts[j] = float(source->id_start[j + 1] - source->id_start[j]);
            counts += hidden[l].n;
        }
        score<Output>(b, i, *source, slot, t);
    }

    // A template, so that only the branch that the outputs need is compiled; likewise below.
    template <class Model> void score(const BatchView &b, int i, const SpikeLists &source, Slot &slot, Scratch &t) {
        const Delays delays = one_copy(hidden.back().n);
        if constexpr (Model::spiking) {
            sweep_layer<Model>(output, source, false, delays, slot.output, Draws{}, b.learn, t);
            score_first_spikes(b, i, slot);
        } else {
            read_out<Model>(source, delays, slot, b.learn, t);
            score_voltages(b, i, slot, t);
        }
    }
    template <class Model> void reverse_output(const BatchView &b, int i, Slot &slot, Scratch &t) {
        if constexpr (Model::spiking) reverse_spiking_output<Model>(b, i, slot, t);
        else reverse_read_out<Model>(slot, t);
    }

#if EXACT_TIMES
    StepWeights step_weights(const Slot &slot) const {
        return {weights_of_steps(slot), Readout::uses_traffic(which) ? slot.weight_slope.data() : slope_of_step.data(),
                real(window.size() * output.dt)};
    }
    void errors_of(Slot &, size_t, Scratch &) {}  // they were added spike by spike
#endif
#if ARRIVALS
    template <class Model>
    void sweep_layer(const Layer &l, const SpikeLists &source, bool, Delays, LayerTrace &out, const Draws &draws, bool learn, Scratch &t) {
        arrival_sweep<Model>(l, K, source, out, draws, learn && Model::n_collect, &l == &output, t);
    }
    template <class Model> void read_out(const SpikeLists &source, Delays, Slot &slot, bool learn, Scratch &t) {
        ArrivalReadOut<Model>(output, K, step_weights(slot), slot, t).forward(source, learn && Model::n_collect);
    }
    template <class Model> void reverse_read_out(Slot &slot, Scratch &t) {
        LayerTrace &last = slot.layers.back();
        ArrivalReadOut<Model>(output, K, step_weights(slot), slot, t).back();
        read_out_sight<Model>(output, K, slot).add_errors(output.forward, last.spikes, K, last.error);
    }
    template <class Model, class Extra>
    void reverse_layer(const Layer &l, size_t number, Slot &slot, Scratch &t, Extra &&extra) {
        LayerTrace &trace = number < hidden.size() ? slot.layers[number] : slot.output;
        ArrivalReverse<Model, Extra &>(l, trace, K, t, extra).run();
        if (!number) return;
        LayerTrace &below = slot.layers[number - 1];
        Sight<Model>(l, trace.arrivals, trace.rows).add_errors(l.forward, below.spikes, K, below.error);
    }
    template <class Model>
    void gather_arrivals(const Layer &l, const Slot &slot, const LayerTrace &trace, const SpikeLists &source, int p, const Weights &w,
                         real *g, real *dg) {
        if constexpr (Model::spiking) Sight<Model>(l, trace.arrivals, trace.rows).gather(w, source, p, g, dg);
        else read_out_sight<Model>(l, K, slot).gather(w, source, p, g, dg);
    }
#elif EXACT_TIMES
    template <class Model>
    void sweep_layer(const Layer &l, const SpikeLists &source, bool first, Delays delays, LayerTrace &out, const Draws &draws,
                     bool learn, Scratch &t) {
        int rows = 0;
        first = first && !timed;
        const Panels drive = first ? drive_of<1>(l, source, delays, t, rows) : Panels{};
        exact_sweep<Model>(l, drive, rows, K, first ? nullptr : &source, out, draws, learn && Model::n_collect, &l == &output, t);
    }
    template <class Model> void read_out(const SpikeLists &source, Delays, Slot &slot, bool learn, Scratch &t) {
        ExactReadOut<Model>(output, K, source, step_weights(slot), slot, t).forward(learn && Model::n_collect);
    }
    template <class Model> void reverse_read_out(Slot &slot, Scratch &t) {
        LayerTrace &last = slot.layers.back();
        ExactReadOut<Model>(output, K, last.spikes, step_weights(slot), slot, t).back(last.error);
    }
    template <class Model, class Extra>
    void reverse_layer(const Layer &l, size_t number, Slot &slot, Scratch &t, Extra &&extra) {
        LayerTrace &trace = number < hidden.size() ? slot.layers[number] : slot.output;
        LayerTrace *below = number ? &slot.layers[number - 1] : nullptr;
        const SpikeLists *spikes = below ? &below->spikes : timed ? &arriving(slot) : nullptr;
        std::vector<real> *error = below ? &below->error : nullptr;
        reverse_exact<Model>(l, trace, K, spikes, error, t, extra);
    }
    template <class Model>
    void gather_exact(const Layer &l, const LayerTrace &trace, bool recurrent, const SpikeLists &source, int p, real *g) {
        const auto &starts = Model::spiking ? trace.event_start : source.step_start;
        ExactGather<Model>(l, trace, recurrent ? OWN : BELOW, source, starts, K).panel(Model::spiking ? trace.rows : K, p, g);
    }
#else
    template <class Model>
    void sweep_layer(const Layer &l, const SpikeLists &source, bool, Delays delays, LayerTrace &out, const Draws &draws,
                     bool learn, Scratch &t) {
        int rows;
        const Panels drive = drive_of<Model::n_inputs>(l, source, delays, t, rows);
        const bool kept = learn && keeps_states<Model>;
        sweep<Model>(l, drive, rows, K, out, draws, kept, recording || (kept && &l == &output), recording, t);
    }
    template <class Model> void read_out(const SpikeLists &source, Delays delays, Slot &slot, bool learn, Scratch &t) {
        int rows;
        const Panels drive = drive_of<Model::n_inputs>(output, source, delays, t, rows);
        const bool kept = learn && keeps_states<Model>;
        read_steps<Model>(output, drive, rows, K, window, weights_of_steps(slot), which, q(), slot, kept, recording, t);
    }
    template <class Model> void reverse_read_out(Slot &slot, Scratch &t) {
        reverse_readout<Model>(output, slot, K, window, weights_of_steps(slot), which, q(), recording, t);
    }
    template <class Model, class Extra>
    void reverse_layer(const Layer &l, size_t number, Slot &slot, Scratch &t, Extra &&extra) {
        reverse<Model>(l, number < hidden.size() ? slot.layers[number] : slot.output, K, number > 0, recording, t, extra);
    }
    void errors_of(Slot &slot, size_t l, Scratch &t) {
        const bool last = l + 1 == hidden.size();
        LayerTrace &trace = slot.layers[l];
        const Layer &above = last ? output : hidden[l + 1];
        LayerTrace &theirs = last ? slot.output : slot.layers[l + 1];
        real *transport = transport_of(above, theirs, t).data;
        if (last) errors_from_above<Output::n_inputs>(trace, above, transport, theirs.rows, K);
        else
            of_kind(above.kind, [&](auto model) {
                errors_from_above<decltype(model)::n_inputs>(trace, above, transport, theirs.rows, K);
            });
        if (last && Readout::has_cusps(which)) add_cusps(output, slot.error.data(), slot.readout.data, which, trace, K);
    }
#endif

    static Delays one_copy(int n) { return {n, 1, 0}; }

    template <int inputs> Panels drive_of(const Layer &l, const SpikeLists &source, Delays delays, Scratch &t, int &rows) {
        const Weights &w = l.forward;
        rows = source.id.empty() ? 0 : std::min(K - 1, source.last() + 1 + (delays.copies - 1) * delays.delay + w.longest);
        Panels drive{nullptr, Panels::stride_of(size_t(K) * inputs)};
        t.drive.reserve(drive.stride * l.n_panels);
        drive.data = t.drive.data;
        if (w.delayed && rows) delayed_drive<inputs>(source, delays, rows, w, l.n, l.n_panels, drive, t.narrow);
        else gather_drive<inputs>(source, delays, rows, w.w, l.n_panels, drive);
        return drive;
    }

    // error[j] = (target[j] - softmax(score)[j]) * scale; returns -sum_j target[j] log softmax(score)[j], where the target is
    // 1[j == label], and a share of it, if it is smoothed, the same for all
    template <class Score, class Error>
    double softmax_error(const BatchView &b, int label, Score &&score, Error &&error) const {
        const double scale = b.loss_scale / b.batch, alike = b.label_smoothing / output.n, own = 1 - b.label_smoothing;
        const int n = output.n;
        double top = score(0), sum = 0;
        for (int j = 1; j < n; ++j) top = std::max(top, double(score(j)));
        for (int j = 0; j < n; ++j) sum += std::exp(score(j) - top);
        for (int j = 0; j < n; ++j)
            error(j) = real(((j == label) * own + alike - std::exp(score(j) - top) / sum) * scale);
        double smoothed = 0;
        for (int j = 0; alike > 0 && j < n; ++j) smoothed += alike * (score(label) - score(j));
        return std::log(sum) - (score(label) - top) + smoothed;
    }

    // The loss of scores or, at step k, of voltages, and minus its derivative by each of them, times `scale`.
    template <class Score, class Error>
    double compared_error(const BatchView &b, int i, int k, double scale, Score &&score, Error &&error) const {
        const size_t row = size_t(i) * b.target_steps + (b.target_steps > 1 ? k : 0);
        if (!Readout::compares(which)) return softmax_error(b, b.labels[row], score, error);
        double sum = 0;
        for (int j = 0; j < output.n; ++j) {
            const real y = real(score(j)), target = b.targets ? real(b.targets[row * output.n + j]) : real(b.labels[row] == j);
            sum += double(Readout::compared(which, q(), y, target));
            error(j) = real(-double(Readout::slope(which, q(), y, target)) * scale / output.n);
        }
        return sum / output.n;
    }
    // What is told of it: the square error, mean of the outputs, or whether the label has the largest.
    template <class Score> double measure(const BatchView &b, int i, int k, Score &&score) const {
        const size_t row = size_t(i) * b.target_steps + (b.target_steps > 1 ? k : 0);
        double sum = 0;
        int top = 0;
        for (int j = 0; j < output.n; ++j) {
            if (score(j) > score(top)) top = j;
            const double off = b.targets ? score(j) - b.targets[row * output.n + j] : 0;
            sum += off * off;
        }
        return b.targets ? sum / output.n : double(top == b.labels[row]);
    }

    void score_voltages(const BatchView &b, int i, Slot &slot, Scratch &t) {
        float *scores = b.scores + size_t(i) * output.n;
        std::vector<double> exact(output.n);
        for (int j = 0; j < output.n; ++j) {
            exact[j] = double(Readout::score(which, slot.readout.data + size_t(j / P) * Readout::n_state * P, j % P));
            scores[j] = float(exact[j]);
        }
        if (!b.labels && !b.targets) return;
        const double scale = b.loss_scale / b.batch;
        const size_t width = size_t(output.n_panels) * P;
        const bool steps = Readout::per_step(which);
        slot.error.assign(width * (steps ? K : 1), real(0));
        if (!steps) {
            const auto score = [&](int j) { return exact[j]; };
            b.loss[i] = compared_error(b, i, 0, scale, score, [&](int j) -> real & { return slot.error[j]; });
            if (b.measured) b.measured[i] = measure(b, i, 0, score);
            return;
        }
        double sum = 0, found = 0;
        const real *weight = weights_of_steps(slot);
        for (int k = window.first; k < window.last; ++k) {
            const real *v = t.voltages.data + width * k;
            real *e = slot.error.data() + width * k;
            const auto score = [&](int j) { return double(v[j]); };
            sum += double(weight[k]) * compared_error(b, i, k, scale, score, [&](int j) -> real & { return e[j]; });
            if (b.measured) found += measure(b, i, k, score);
        }
        b.loss[i] = sum / window.size();
        if (b.measured) b.measured[i] = found / window.size();
    }

    // Time of each output's first spike, or `none`.
    double first_spike_time(const Slot &slot, int j, double none) const {
        const SpikeLists &s = slot.output.spikes;
        const uint32_t first = s.id_start[j];
        if (first == s.id_start[j + 1]) return none;
        return s.at.empty() ? (s.step[first] + 1) * output.dt : s.step[first] * output.dt + s.at[s.order[first]];
    }

    void score_first_spikes(const BatchView &b, int i, Slot &slot) {
        float *scores = b.scores + size_t(i) * output.n;
        const double end = K * output.dt;
        b.silent[i] = slot.output.spikes.id.empty();
        std::vector<double> exact(output.n);
        for (int j = 0; j < output.n; ++j) {
            exact[j] = double(Readout::spike_score(which, q(), real(first_spike_time(slot, j, end + 1))));
            scores[j] = float(exact[j]);
        }
        if (!b.labels) return;
        const int label = b.labels[i];
        slot.error.assign(size_t(output.n_panels) * P, real(0));
        b.loss[i] = softmax_error(b, label, [&](int j) { return exact[j]; }, [&](int j) -> real & { return slot.error[j]; });
        b.loss[i] += double(Readout::penalty(which, q(), real(first_spike_time(slot, label, end)), trial()));
    }

    __attribute__((noinline)) void backward(const BatchView &b, int i, Scratch &t) {
        Slot &slot = slots[i];
        for (size_t l = 0; l < hidden.size(); ++l) {
            const int n_collect = of_kind(hidden[l].kind, [](auto model) { return int(decltype(model)::n_collect); });
            clear_collected(slot.layers[l], hidden[l].n_panels, n_collect);
            slot.layers[l].error.assign(slot.layers[l].spikes.id.size(), real(0));
        }
        clear_collected(slot.output, output.n_panels, Output::n_collect);
        reverse_output<Output>(b, i, slot, t);
        const float *counts = (b.mean_counts ? b.mean_counts : b.counts + size_t(i) * total_hidden()) + total_hidden();
        for (size_t l = hidden.size(); l-- > 0;) {
            errors_of(slot, l, t);
            counts -= hidden[l].n;
            of_kind(hidden[l].kind, [&](auto model) { reverse_hidden<decltype(model)>(b, l, slot, counts, t); });
        }
    }

    static void clear_collected(LayerTrace &trace, int n_panels, int n) {
        trace.collected.reserve(std::max(size_t(1), size_t(n_panels) * n * P));
        std::fill(trace.collected.data, trace.collected.data + size_t(n_panels) * n * P, real(0));
    }

    template <class Model> void reverse_spiking_output(const BatchView &b, int i, Slot &slot, Scratch &t) {
        LayerTrace &trace = slot.output;
        const SpikeLists &spikes = trace.spikes;
        const int label = b.labels[i];
        clear_adjoint(output, Output::n_adjoint, t);
        trace.rows = spikes.last() + 1;
        trace.error.assign(spikes.id.size(), real(0));
        std::vector<uint8_t> seen(output.n);
        for (size_t s = 0; s < spikes.id.size(); ++s) {
            const int j = spikes.id[s];
            if (!seen[j])
                trace.error[s] = Readout::first_spike(which, q(), real(first_spike_time(slot, j, 0)), slot.error[j],
                                                      real(j == label), real(b.batch), trial());
            seen[j] = 1;
        }
        if (!seen[label]) {
            Readout::phantom(which, q(), t.adjoint.data + size_t(label / P) * Output::n_adjoint * P, label % P, real(b.batch), trial());
            trace.rows = K;
        }
        reverse_layer<Model>(output, hidden.size(), slot, t, [](real *, uint32_t, int) {});
    }

    template <class Model> void reverse_hidden(const BatchView &b, size_t number, Slot &slot, const float *counts, Scratch &t) {
        const Layer &l = hidden[number];
        LayerTrace &trace = slot.layers[number];
        clear_adjoint(l, Model::n_adjoint, t);
        trace.rows = trace.spikes.last() + 1;   // before the last spike's jump, seen backwards, all adjoints are 0
        float sum = 0;
        for (int j = 0; j < l.n; ++j) sum += counts[j];
        reverse_layer<Model>(l, number, slot, t, [&](real *x, uint32_t s, int lane) {
            Regulariser<Model>::jump(regulariser_number, l.regulariser.data(), x, lane, real(counts[trace.spikes.id[s]]), real(sum),
                                     real(l.n), real(b.batch));
        });
    }

    static constexpr size_t CACHE_BYTES = 2 << 20;  // of a core

    // Both sweeps, or the backward one alone, of samples `from` to `to`, and what they add to the gradients: a place for each
    // complete block of them. Where there is a block for each thread, whoever sweeps through its samples gathers their gradients,
    // each sample's at once, while what they are made of is in the cache, or all of the block's panel by panel where the cache
    // has no room for gradients. Else there are more and smaller tasks, for all threads.
    void learn(const BatchView &b, int from, int to) {
        const int begun = sums.rest, n = begun + to - from, whole = n / BLOCK_SAMPLES, blocks = (n + BLOCK_SAMPLES - 1) / BLOCK_SAMPLES;
        const bool both = b.stage == BatchView::WHOLE, by_block = blocks >= pool.size() && (!DELAYS || EXACT_TIMES);
        const bool at_once = by_block && sums.size() * sizeof(real) <= CACHE_BYTES;
        const int lent = both * SWEEPS | at_once * GRADIENTS, tasks = int(gathered.size()) + 1;
        auto sweeps = [&](int i, Scratch &t) {
            lend(slots[i], t, lent);
            if (both) forward(b, i, t);
            backward(b, i, t);
        };
        auto first_of = [&](int block) { return std::max(from, from - begun + block * BLOCK_SAMPLES); };
        auto end_of = [&](int block) { return std::min(to, first_of(block + 1)); };
        auto gather_of = [&](int block, int number, int first, int end, Scratch &t) {
            const bool fresh = first == first_of(block) && (block || !begun);
            gather(number, first, end, block < whole ? sums.block(block) : nullptr, fresh, t);
        };
        sums.open(whole);
        if (begun && whole) sums.move_rest();
        if (by_block) {
            pool.run(blocks, [&](int block, int thread) {
                Scratch &t = scratch[thread];
                const int first = first_of(block), end = end_of(block);
                for (int i = first; i < end; ++i) {
                    sweeps(i, t);
                    for (int j = 0; at_once && j < tasks; ++j) gather_of(block, j, i, i + 1, t);
                    lend(slots[i], t, lent);
                }
                for (int j = 0, next = 0; !at_once && j < tasks; j = next) {
                    while (++next + 1 < tasks && gathered[next].p == gathered[j].p) {}  // of a panel, which look at the same rows
                    for (int i = first; i < end; ++i)
                        for (int same = j; same < next; ++same) gather_of(block, same, i, i + 1, t);
                }
            });
        } else {
            pool.run(to - from, [&](int i, int thread) {
                sweeps(from + i, scratch[thread]);
                lend(slots[from + i], scratch[thread], lent);
            });
            pool.run(tasks * blocks, [&](int i, int thread) {
                const int block = i % blocks;
                gather_of(block, i / blocks, first_of(block), end_of(block), scratch[thread]);
            });
        }
        sums.rest = n % BLOCK_SAMPLES;
        add_blocks();
    }
    // Sums of blocks become nodes.
    __attribute__((noinline)) void add_blocks() {
        const auto additions = sums.close();
        if (additions.empty()) return;
        each_piece([&](const Sums::Piece &piece) {
            for (const auto &a : additions) sums.add(a, piece);
        });
    }
    template <class F> void each_piece(F &&act) {
        pool.run(int(sums.pieces.size()), [&](int i, int) { act(sums.pieces[i]); });
    }
    real *place_of(int part, real *block) const {
        return part < 0 ? nullptr : block ? block + sums.parts[part].offset : sums.parts[part].at;
    }

    // Samples' gradients of panel number `number`, or the last ones, those of neurons, into a block's place. `fresh`: there is
    // nothing in it yet.
    __attribute__((noinline)) void gather(int number, int first, int end, real *block, bool fresh, Scratch &t) {
        if (number == int(gathered.size())) {
            for (int i = first; i < end; ++i, fresh = false) gather_trained(slots[i], block, fresh);
            return;
        }
        const Gathered &own = gathered[number];
        real *g = place_of(own.part, block), *dg = place_of(own.delay_part, block);
        const bool grouped = own.w->delayed && !EXACT_TIMES, plain = !EXACT_TIMES && !grouped;
        if (grouped) open_sums(*own.w, g, dg, fresh, t.sums);
        for (real *to : {g, dg})
            if (to && fresh && !plain && !grouped) std::fill_n(to, size_t(own.w->n_pre) * P, real(0));
        for (int i = first; i < end; ++i) gather_panel(*own.w, own.p, slots[i], g, dg, fresh && plain && i == first, t);
        if (grouped) close_sums(*own.w, g, dg, t.sums);
    }

    // Gradients of time constants and other parameters of neurons.
    void gather_trained(const Slot &slot, real *block, bool fresh) {
        int part = trained_parts;
        for (size_t l = 0; l <= hidden.size(); ++l) {
            Layer &layer = l < hidden.size() ? hidden[l] : output;
            const LayerTrace &trace = l < hidden.size() ? slot.layers[l] : slot.output;
            const size_t count = layer.trained.size();
            for (size_t j = 0; j < count; ++j) {
                if (!layer.trained[j].w) continue;
                if (fresh) std::fill_n(place_of(part, block), sums.parts[part].size, real(0));
                real *g = place_of(part++, block);
                for (int a = 0; a < layer.n; ++a) g[a] += trace.collected.data[(size_t(a / P) * count + j) * P + a % P];
            }
        }
    }

    void gather_panel(Weights &w, int p, const Slot &slot, real *g, [[maybe_unused]] real *dg, [[maybe_unused]] bool fresh,
                      [[maybe_unused]] Scratch &t) {
        const LayerTrace *trace = &slot.output;
        const SpikeLists *source = &slot.layers.back().spikes;
        Delays delays = one_copy(w.n_pre);
        [[maybe_unused]] bool from_input = false, recurrent = false;
        for (size_t l = 0; l < hidden.size(); ++l) {
            if (&w == &hidden[l].forward) {
                trace = &slot.layers[l];
                source = l ? &slot.layers[l - 1].spikes : &arriving(slot);
                from_input = l == 0 && !timed;
                if (from_input) delays = input;
            }
            if (&w == &hidden[l].recurrent) { trace = &slot.layers[l]; source = &trace->spikes; recurrent = true; }
        }
#if ARRIVALS
        if (trace == &slot.output) gather_arrivals<Output>(output, slot, *trace, *source, p, w, g, dg);
        else
            with_layer(*trace, slot, [&](auto model, const Layer &l) {
                gather_arrivals<decltype(model)>(l, slot, *trace, *source, p, w, g, dg);
            });
        return;
#elif EXACT_TIMES
        if (!from_input) {
            if (trace == &slot.output) gather_exact<Output>(output, *trace, recurrent, *source, p, g);
            else
                with_layer(*trace, slot, [&](auto model, const Layer &l) {
                    gather_exact<decltype(model)>(l, *trace, recurrent, *source, p, g);
                });
            return;
        }
#endif
        if (trace == &slot.output) gather_steps<Output::n_inputs>(*trace, *source, delays, output.n, p, w, g, fresh, t);
        else
            with_layer(*trace, slot, [&](auto model, const Layer &l) {
                gather_steps<decltype(model)::n_inputs>(*trace, *source, delays, l.n, p, w, g, fresh, t);
            });
#if !EXACT_TIMES
        if (trace == &slot.output && w.delayed && w.delays_trained && Readout::has_cusps(which))
            for (int j = p * P; j < std::min(output.n, (p + 1) * P); ++j)
                each_at_cusp(output, j, slot.error.data(), slot.readout.data, which, *source, K,
                             [&](uint32_t s, real share) { delay_sum(w, source->id[s], j % P, t.sums) += share; });
#endif
    }

    // Calls `f` with the model of the hidden layer whose trace this is, and with the layer.
    template <class F> void with_layer(const LayerTrace &trace, const Slot &slot, F &&f) {
        const Layer &l = hidden[&trace - slot.layers.data()];
        of_kind(l.kind, [&](auto model) { f(model, l); });
    }

    template <int inputs>
    void gather_steps(const LayerTrace &trace, const SpikeLists &source, Delays delays, int n, int p, const Weights &w, real *g, bool fresh,
                      Scratch &t) {
        const Panels rows{trace.gradient.data, Panels::stride_of(size_t(K) * inputs)};
        if (w.delayed) {
            const real *transport = (w.delays_trained ? trace.transport : trace.gradient).data + p * rows.stride;
            if (trace.rows && !source.id.empty())
                gather_delayed<inputs>(source, delays, size_t(trace.rows), rows.at(p, 0), transport, w, n, p, t.sums.data, t.narrow);
            return;
        }
        for (int c = 0; c < delays.copies; ++c) {
            const int shift = std::min(c * delays.delay, trace.rows);
            const size_t first = size_t(c) * delays.n;
            if constexpr (inputs == 2)
                gather_gradient_by_sign(source, delays.n, trace.rows - shift, rows.at(p, size_t(shift) * 2), w.w.at(p, first), g + first * P, fresh);
            else gather_gradient(source, delays.n, trace.rows - shift, rows.at(p, shift), g + first * P, fresh);
        }
    }

    size_t total_hidden() const {
        size_t n = 0;
        for (auto &l : hidden) n += l.n;
        return n;
    }
};

}  // namespace eventprop
