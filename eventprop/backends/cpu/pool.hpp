// A pool of threads for loops over independent tasks.
#pragma once
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace eventprop {

// Threads that wait a short while in a loop and then sleep; task i of a loop goes to whoever comes first.
// Results never depend on it: tasks write to places of their own.
class Pool {
public:
    explicit Pool(int n) { for (int i = 1; i < n; ++i) threads.emplace_back([this, i] { work(i); }); }
    ~Pool() {
        { std::lock_guard<std::mutex> l(m); stop = true; ++generation; }
        cv.notify_all();
        for (auto &t : threads) t.join();
    }
    template <class F> void run(int n, F &&f) {
        auto call = [](void *c, int task, int thread) { (*static_cast<std::remove_reference_t<F> *>(c))(task, thread); };
        body = call; context = &f; count = n; next = 0; busy = static_cast<int>(threads.size());
        if (!threads.empty()) {
            { std::lock_guard<std::mutex> l(m); ++generation; }
            cv.notify_all();
        }
        take(0);
        int spins = 0;
        while (busy.load(std::memory_order_acquire) > 0)
            if (++spins > 20000) std::this_thread::yield();
        if (failed.exchange(false)) std::rethrow_exception(error);
    }
    int size() const { return static_cast<int>(threads.size()) + 1; }

private:
    void take(int thread) {
        try {
            for (int i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) body(context, i, thread);
        } catch (...) {
            std::lock_guard<std::mutex> l(m);
            error = std::current_exception();
            failed = true;
        }
    }
    void work(int thread) {
        unsigned seen = 0;
        for (;;) {
            for (int spin = 0; spin < 4000 && generation.load(std::memory_order_acquire) == seen; ++spin)
                std::atomic_signal_fence(std::memory_order_seq_cst);
            if (generation.load(std::memory_order_acquire) == seen) {
                std::unique_lock<std::mutex> l(m);
                cv.wait(l, [&] { return generation.load(std::memory_order_acquire) != seen; });
            }
            seen = generation.load(std::memory_order_acquire);
            if (stop) return;
            take(thread);
            busy.fetch_sub(1, std::memory_order_release);
        }
    }
    std::vector<std::thread> threads;
    std::mutex m;
    std::condition_variable cv;
    std::atomic<unsigned> generation{0};
    std::atomic<int> next{0}, busy{0};
    std::atomic<bool> failed{false};
    std::exception_ptr error;
    int count = 0;
    bool stop = false;
    void (*body)(void *, int, int) = nullptr;
    void *context = nullptr;
};

}  // namespace eventprop
