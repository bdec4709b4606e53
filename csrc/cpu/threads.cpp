// A civil pool: workers sleep when there is nothing to do, and take small pieces of work as they
// come free, so that a core that another process holds slows the whole by its share and no more.
//
// A worker that has just finished spins for a moment before it sleeps, since the layers of a
// network follow each other within microseconds and waking a thread costs as much as a small layer.

#include "cpu/threads.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace goturn::cpu {
namespace {

constexpr auto kSpin = std::chrono::microseconds(40);

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

// Spins until `done`, for at most kSpin; whether it came true.
template <class Done>
bool spin_until(const Done& done) {
  const auto limit = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int turn = 0; turn < 64; ++turn) {
      if (done()) return true;
      relax();
    }
  } while (std::chrono::steady_clock::now() < limit);
  return false;
}

// One call of parallel_for.  Lives on the caller's stack, in the pool's list while indices are
// left.
struct Job {
  const std::function<void(std::int64_t)>* body;
  std::int64_t count;
  std::atomic<std::int64_t> next{0};
  std::atomic<int> helpers{0};
  std::atomic<bool> failed{false};
  std::exception_ptr error{};  // the first one thrown; for the caller, once there are no helpers

  void work() noexcept {
    try {
      for (;;) {
        const std::int64_t index = next.fetch_add(1, std::memory_order_relaxed);
        if (index >= count) return;
        (*body)(index);
      }
    } catch (...) {
      next.store(count, std::memory_order_relaxed);  // what has not begun is left out
      if (!failed.exchange(true)) error = std::current_exception();
    }
  }
};

class Pool {
 public:
  explicit Pool(int threads) {
    workers_.reserve(static_cast<std::size_t>(threads - 1));
    try {
      for (int worker = 1; worker < threads; ++worker) {
        workers_.emplace_back([this] { serve(); });
      }
    } catch (const std::exception&) {
      // The system gives no more: those that there are do the work.
    }
  }

  ~Pool() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  void run(Job& job) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      jobs_.push_back(&job);
      posted_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    job.work();
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      jobs_.erase(std::find(jobs_.begin(), jobs_.end(), &job));
    }
    // Nobody new can find the job now; those who did may still be at their last index.
    const auto left = [&job] { return job.helpers.load(std::memory_order_acquire) == 0; };
    if (!spin_until(left)) {
      std::unique_lock<std::mutex> lock(mutex_);
      idle_.wait(lock, left);
    }
    if (job.error) std::rethrow_exception(job.error);
  }

 private:
  void serve() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      Job* job = find();
      if (job != nullptr) {
        job->helpers.fetch_add(1, std::memory_order_relaxed);
        lock.unlock();
        job->work();
        lock.lock();
        // Under the lock: the caller may be about to sleep, and `job` is gone once it has seen 0.
        if (job->helpers.fetch_sub(1, std::memory_order_release) == 1) idle_.notify_all();
        continue;
      }
      if (stopping_) return;
      const std::uint64_t seen = posted_.load(std::memory_order_relaxed);
      lock.unlock();
      spin_until([&] { return posted_.load(std::memory_order_acquire) != seen; });
      lock.lock();
      wake_.wait(lock, [&] { return stopping_ || find() != nullptr; });
    }
  }

  // A job with indices left; under the lock.
  Job* find() const {
    for (Job* job : jobs_) {
      if (job->next.load(std::memory_order_relaxed) < job->count) return job;
    }
    return nullptr;
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable idle_;
  std::vector<Job*> jobs_;
  std::atomic<std::uint64_t> posted_{0};
  bool stopping_ = false;
  std::vector<std::thread> workers_;
};

int default_threads() {
  const char* text = std::getenv("GOTURN_NUM_THREADS");
  if (text != nullptr && *text != '\0') {
    int wanted = 0;
    const char* const end = text + std::strlen(text);
    const auto [last, error] = std::from_chars(text, end, wanted);
    if (error == std::errc() && last == end && wanted >= 1 && wanted <= kMaxThreads) return wanted;
    throw std::runtime_error("GOTURN_NUM_THREADS must be a whole number from 1 to " +
                             std::to_string(kMaxThreads) + "; got " + text);
  }
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
    return std::clamp(CPU_COUNT(&allowed), 1, kMaxThreads);
  }
  // More processors than the set has places.
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, kMaxThreads);
}

// The pool in use.  Callers hold a share of it, so that set_thread_count cannot pull it away.
struct Shared {
  std::mutex mutex;
  std::shared_ptr<Pool> pool;
  int wanted = 0;  // 0 until somebody asks

  std::shared_ptr<Pool> get() {
    const std::lock_guard<std::mutex> lock(mutex);
    if (!pool) pool = std::make_shared<Pool>(threads());
    return pool;
  }

  // Under the lock.
  int threads() {
    if (wanted == 0) wanted = default_threads();
    return wanted;
  }
};

// Never destroyed: workers may outlive static destructors, and a forked child must not join them.
Shared& shared() {
  static Shared* const instance = [] {
    auto* const created = new Shared;
    // Held across fork, so that the child finds both locks free and starts threads of its own.
    pthread_atfork([] { shared().mutex.lock(); }, [] { shared().mutex.unlock(); },
                   [] {
                     Shared& own = shared();
                     // The parent's pool came along as memory without its threads: it must not be
                     // ended, which would wait for them, but forgotten.
                     if (own.pool) new std::shared_ptr<Pool>(std::move(own.pool));
                     own.pool.reset();
                     own.mutex.unlock();
                   });
    return created;
  }();
  return *instance;
}

}  // namespace

void parallel_for(std::int64_t count, const std::function<void(std::int64_t)>& body) {
  const std::shared_ptr<Pool> pool = count > 1 ? shared().get() : nullptr;
  if (!pool || pool->threads() == 1) {
    for (std::int64_t index = 0; index < count; ++index) body(index);
    return;
  }
  Job job{&body, count};
  pool->run(job);
}

std::mutex& fork_safe_mutex() { return shared().mutex; }

int thread_count() {
  Shared& own = shared();
  const std::lock_guard<std::mutex> lock(own.mutex);
  return own.threads();
}

void set_thread_count(int count) {
  Shared& own = shared();
  std::shared_ptr<Pool> old;
  {
    const std::lock_guard<std::mutex> lock(own.mutex);
    own.wanted = std::clamp(count, 1, kMaxThreads);
    old.swap(own.pool);
  }
  // The last one to let go of the old pool ends it: here, or a call that is still running.
}

}  // namespace goturn::cpu
