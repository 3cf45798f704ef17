// A pool of threads for loops over independent tasks.
#pragma once
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <type_traits>
#include <vector>

namespace eventprop {

// Threads that wait a short while in a loop and then sleep; task i of a loop goes to whoever comes first.
// Results never depend on it, nor on how many there are: tasks write to places of their own.
class Team {
public:
    // As many threads besides the caller as can be had, `n` at most.
    explicit Team(int n) {
        threads.reserve(n);
        try {
            for (int i = 1; i <= n; ++i) threads.emplace_back([this, i] { work(i); });
        } catch (...) {}
    }
    ~Team() {
        { std::lock_guard<std::mutex> l(m); stop = true; ++generation; }
        cv.notify_all();
        for (auto &t : threads) t.join();
    }
    // Where f(task, thread) fails, its exception is thrown here, when all tasks are done.
    template <class F> void run(int n, F &&f) {
        auto call = [](void *c, int task, int thread) { (*static_cast<std::remove_reference_t<F> *>(c))(task, thread); };
        run(n, call, &f);
    }
    __attribute__((noinline)) void run(int n, void (*call)(void *, int, int), void *with) {  // compiled once for all loops
        ready();
        const double start = timed ? seconds() : 0;
        body = call; context = with; count = n; next = 0; busy = size(); ++loops;
        if (!threads.empty()) {
            { std::lock_guard<std::mutex> l(m); ++generation; }
            cv.notify_all();
        }
        take(0);
        int spins = 0;
        while (busy.load(std::memory_order_acquire) > 0)
            if (++spins > 20000) std::this_thread::yield();
        if (timed) note(-1, seconds() - start);
        if (failed.exchange(false)) std::rethrow_exception(error);
    }
    int size() const { return static_cast<int>(threads.size()); }

    // For benchmarks: which loop since then, which task of it, and the time that a processor has worked on it; task -1 is all
    // that the caller has done in a loop.
    struct Took { int loop, task; double seconds; };
    std::vector<Took> took;
    void time_tasks(bool on) {
        took.clear();
        loops = 0;
        timed = on;
    }

private:
    static double seconds() {
        timespec now;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
        return double(now.tv_sec) + 1e-9 * double(now.tv_nsec);
    }
    void note(int task, double seconds) {
        std::lock_guard<std::mutex> l(m);
        took.push_back({loops, task, seconds});
    }
    // A thread's first exception needs memory, without which the process ends: where there is none left, it is too late.
    static void ready() { [[maybe_unused]] volatile int now = std::uncaught_exceptions(); }
    void take(int thread) {
        try {
            for (int i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) {
                const double start = timed ? seconds() : 0;
                body(context, i, thread);
                if (timed) note(i, seconds() - start);
            }
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
            ready();
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
    int count = 0, loops = 0;
    bool stop = false, timed = false;
    void (*body)(void *, int, int) = nullptr;
    void *context = nullptr;
};

// The caller and a team. A forked process has none of its parent's threads: it gets a team of its own, and leaves the one
// it inherited, whose threads it cannot wait for and whose mutex may be locked, untouched.
class Pool {
public:
    explicit Pool(int n) : wanted(n) { gather(); }
    ~Pool() { leave_inherited(); }
    Pool(const Pool &) = delete;
    Pool &operator=(const Pool &) = delete;

    template <class F> void run(int n, F &&f) {
        now().run(n, f);
    }
    int size() const { return 1 + team->size(); }
    // The team of this process.
    Team &now() {
        here();
        return *team;
    }

private:
    __attribute__((noinline)) void here() {
        if (owner == getpid() && team) return;
        leave_inherited();
        gather();
    }
    void leave_inherited() {
        if (owner != getpid()) (void)team.release();
    }
    // Threads that use up what the system allows leave nothing to work with: then, with half of them. A little memory is kept
    // back for what each needs once it runs.
    [[gnu::cold]] void gather() {
        for (int others = wanted - 1;;) {
            const std::unique_ptr<char[]> spare(others ? new (std::nothrow) char[SPARE] : nullptr);
            [[maybe_unused]] char *volatile kept = spare.get();  // or the compiler may leave it out
            if (!spare) others = 0;
            team.reset(new Team(others));
            owner = getpid();
            const int found = team->size();
            if (found == others) break;
            team.reset();
            others = found / 2;
        }
        team->run(0, [](int, int) {});
    }
    static constexpr size_t SPARE = 16 << 20;
    int wanted;
    pid_t owner = 0;
    std::unique_ptr<Team> team;
};

}  // namespace eventprop
