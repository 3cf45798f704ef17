// The functions that Python calls. Each returns 0, or 1 where memory ran out, or 2 where activity runs away.
#pragma once
#include "engine.hpp"

using eventprop::BatchView;
using eventprop::Engine;
using eventprop::Panels;

namespace {
eventprop::Layer &layer_of(Engine *e, int layer) { return layer < int(e->hidden.size()) ? e->hidden[layer] : e->output; }
eventprop::Weights &weights_of(Engine *e, int layer, int recurrent) {
    auto &l = layer_of(e, layer);
    return recurrent ? l.recurrent : l.forward;
}
template <class F> int guarded(F &&f) {
    try { f(); return 0; } catch (const eventprop::RunawayActivity &) { return 2; } catch (...) { return 1; }
}
}  // namespace

#pragma GCC visibility push(default)
extern "C" {

int engine_panel() { return eventprop::P; }
int engine_row_spare() { return int(Panels::stride_of(0) / eventprop::P); }

[[gnu::cold]] Engine *engine_create(int K, int per_input_step, int n_input, int copies, int delay, int n_hidden, int threads) {
    try { return new Engine(K, per_input_step, {n_input, copies, delay}, n_hidden, threads); } catch (...) { return nullptr; }
}
[[gnu::cold]] void engine_destroy(Engine *e) { delete e; }
// Threads that work, the caller's included.
int engine_threads(const Engine *e) { return e->pool.size(); }

// Layer `layer` counts the hidden ones from 0; the read-out comes last. parameters: [parameter][n].
// kind: which of the models of hidden layers it has.
[[gnu::cold]] int engine_layer(Engine *e, int layer, int kind, int n, const double *parameters, double dt) {
    return guarded([&] {
        auto &l = layer_of(e, layer);
        l.kind = kind;
        l.n = n;
        l.dt = dt;
        l.n_panels = eventprop::panels(n);
        e->with_model(l, [&](auto model) {
            l.parameters.assign(parameters, parameters + size_t(n) * decltype(model)::n_parameters);
            e->compute<decltype(model)>(l);
        });
    });
}
// The layer's next trained parameter, in the order in which the model has them: [panel][P] each, from `least` to `most`.
[[gnu::cold]] int engine_trained(Engine *e, int layer, real *w, real *g, real *m, real *v, double least, double most) {
    return guarded([&] { layer_of(e, layer).trained.push_back({w, g, m, v, real(least), real(most)}); });
}
// Takes over values that were written into the arrays of trained parameters.
[[gnu::cold]] int engine_take_trained(Engine *e) {
    return guarded([&] {
        for (auto &l : e->hidden) e->take_trained(l);
        e->take_trained(e->output);
    });
}
// Of the trial's steps those from `first` on, before `last`, count for the loss.
[[gnu::cold]] int engine_loss(Engine *e, int number, int n, const double *parameters, int first, int last) {
    return guarded([&] { e->set_loss(number, parameters, n, {first, last}); });
}
// w, g, m, v and, unless all synapses are there, which are: [panel][n_pre + spare][P]
void engine_weights(Engine *e, int layer, int recurrent, int n_pre, int trained, const uint8_t *there, real *w, real *g, real *m,
                    real *v) {
    auto &x = weights_of(e, layer, recurrent);
    const size_t stride = Panels::stride_of(n_pre);
    x.w = {w, stride}; x.g = {g, stride}; x.m = {m, stride}; x.v = {v, stride};
    x.n_pre = n_pre;
    x.trained = trained;
    x.there = there;
    x.present = true;
}
#if DELAYS
// Delays (ms) of synapses that are there, in the same layout; shared: see Weights::Shared. They stay from 0 to `most`.
int engine_delays(Engine *e, int layer, int recurrent, int trained, int shared, double most, real *d, real *g, real *m, real *v) {
    return guarded([&] {
        auto &x = weights_of(e, layer, recurrent);
        x.d = {d, x.w.stride}; x.dg = {g, x.w.stride}; x.dm = {m, x.w.stride}; x.dv = {v, x.w.stride};
        x.delayed = true;
        x.delays_trained = trained;
        x.shared = shared;
        x.alike = shared == x.SOURCE ? layer_of(e, layer).n : shared == x.TARGET ? x.n_pre : 1;
        x.most = real(most);
    });
}
#endif
int engine_take_delays(Engine *e) { return guarded([&] { e->take_delays(); }); }
// parameters: [hidden layer][n]
[[gnu::cold]] int engine_regulariser(Engine *e, int number, int n, const double *parameters) {
    return guarded([&] {
        e->regulariser_number = number;
        for (auto &l : e->hidden) {
            l.regulariser.assign(parameters, parameters + n);
            parameters += n;
        }
    });
}
int engine_run(Engine *e, const BatchView *batch) { return guarded([&] { e->run(*batch); }); }
// For benchmarks: from now on, or no longer, the tasks of loops are timed; and which loop, which task of it and how long it took,
// of those that were. Returns how many.
[[gnu::cold]] void engine_time_tasks(Engine *e, int on) { e->pool.now().time_tasks(on); }
[[gnu::cold]] int engine_tasks(Engine *e, int *loop, int *task, double *seconds) {
    const auto &took = e->pool.now().took;
    for (size_t i = 0; loop && i < took.size(); ++i) {
        loop[i] = took[i].loop;
        task[i] = took[i].task;
        seconds[i] = took[i].seconds;
    }
    return int(took.size());
}
int engine_block_samples() { return eventprop::BLOCK_SAMPLES; }
int engine_begin_gradients(Engine *e, int64_t first) { return guarded([&] { e->begin_gradients(first); }); }
// Sums over the batch, or those that are given, become the gradients.
int engine_finish_gradients(Engine *e, const real *given) { return guarded([&] { e->finish_gradients(given); }); }
// For sums over a batch of which others have parts: numbers in a node of the tree, how many nodes there are here once all
// samples have been, and one of them.
int64_t engine_sum_size(const Engine *e) { return int64_t(e->sums.size()); }
int engine_close_block(Engine *e) { return guarded([&] { e->close_block(); }); }
int engine_nodes(const Engine *e) { return e->sums.count(); }
const real *engine_node(const Engine *e, int i) { return e->sums.node(i); }
int engine_gradient_norm2(Engine *e, double *to) { return guarded([&] { *to = e->gradient_norm2(); }); }
// The optimiser's parameters are those of weights, then of neurons, then of delays.
int engine_update(Engine *e, const double *parameters, double factor) {
    return guarded([&] {
        constexpr int n = Optimiser::n_parameters;
        real values[3 * n];
        std::transform(parameters, parameters + 3 * n, values, [](double x) { return real(x); });
        e->update(values, values + n, values + 2 * n, real(factor));
    });
}
// A recorded variable of sample i of the last batch, [step][neuron]: number `row` of the layer's state, or of its adjoints.
[[gnu::cold]] void engine_trace(Engine *e, int i, int layer, int backward, int row, float *to) {
    const bool read_out = layer == int(e->hidden.size());
    const auto &slot = e->slots[i];
    const auto &trace = read_out ? slot.output : slot.layers[layer];
    const eventprop::Layer &l = read_out ? e->output : e->hidden[layer];
    int rows = 0;
    e->with_model(l, [&](auto model) { rows = backward ? decltype(model)::n_adjoint : decltype(model)::n_state; });
    const real *from = backward ? trace.adjoints.data : trace.states.data;
    for (int k = 0; k < e->K; ++k)
        for (int j = 0; j < l.n; ++j)
            to[size_t(k) * l.n + j] = float(from[((size_t(j / P) * e->K + k) * rows + row) * P + j % P]);
}
// Spikes of sample i of the last batch: layer -1 is the input, the last one the read-out. Returns their number; copies
// where ids is given. at: time since the start of the step, the whole of it on the grid.
[[gnu::cold]] int64_t engine_spikes(Engine *e, int i, int layer, uint16_t *steps, uint16_t *ids, float *at) {
    const auto &slot = e->slots[i];
    const auto &s = layer < 0 ? slot.input : layer < int(e->hidden.size()) ? slot.layers[layer].spikes : slot.output.spikes;
    if (ids)
        for (int k = 0; k < e->K; ++k)
            for (uint32_t j = s.step_start[k]; j < s.step_start[k + 1]; ++j) {
                steps[j] = uint16_t(k);
                ids[j] = s.id[j];
                at[j] = float(s.at.empty() ? e->output.dt : s.at[j]);
            }
    return int64_t(s.id.size());
}
}
#pragma GCC visibility pop
