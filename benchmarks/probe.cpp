// What this machine can do at best, measured: reads from memory and fp32 multiply-adds.
//
//   c++ -std=c++17 -O3 -march=native -pthread probe.cpp -o probe && ./probe THREADS
//
// Prints one line of JSON: bytes/s of a streaming read and FLOP/s of independent FMAs, all threads
// together, one number a pass; the clock in Hz, from a chain of dependent integer adds; and how
// much of the buffer lies in huge pages. FLOP/s over clock and threads is to be compared with what
// the core can do in theory: two FMA pipes of 8 floats give 32 FLOP a cycle.

#include <sys/mman.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

namespace {

#if defined(__AVX512F__)
constexpr int kFloats = 16;
constexpr int kAccumulators = 24;  // of 32 registers
#elif defined(__AVX__)
constexpr int kFloats = 8;
constexpr int kAccumulators = 12;  // of 16 registers; two pipes of latency 4 need 8
#else
constexpr int kFloats = 4;
constexpr int kAccumulators = 12;
#endif

using Vector = float __attribute__((vector_size(kFloats * sizeof(float))));

constexpr size_t kPage = size_t{2} << 20;
constexpr size_t kBytes = size_t{512} << 20;  // larger than any cache it should not fit
constexpr int kPasses = 7;
constexpr int64_t kFmaRounds = 3'000'000;
constexpr int64_t kAdds = 20'000'000;

// Keeps a result alive without a store that would count.
template <class T>
void keep(T& value) {
  asm volatile("" : : "g"(&value) : "memory");
}

// Threads wait here for each other; yields, so that it works with more threads than cores.
class Barrier {
 public:
  explicit Barrier(int threads) : threads_(threads) {}

  void wait() {
    const int turn = turn_.load();
    if (arrived_.fetch_add(1) + 1 == threads_) {
      arrived_.store(0);
      turn_.store(turn + 1);
    } else {
      while (turn_.load() == turn) std::this_thread::yield();
    }
  }

 private:
  const int threads_;
  std::atomic<int> arrived_{0};
  std::atomic<int> turn_{0};
};

// Seconds of each pass of work(thread) on all threads at once; the first pass is not counted.
template <class Work>
std::vector<double> seconds(int threads, Work work) {
  std::vector<double> result;
  Barrier barrier(threads);
  const auto body = [&](int thread) {
    for (int pass = 0; pass <= kPasses; ++pass) {
      barrier.wait();
      const auto start = std::chrono::steady_clock::now();
      work(thread);
      barrier.wait();
      const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
      if (thread == 0 && pass > 0) result.push_back(taken.count());
    }
  };
  std::vector<std::thread> pool;
  for (int thread = 0; thread < threads; ++thread) pool.emplace_back(body, thread);
  for (auto& thread : pool) thread.join();
  return result;
}

void read_all(const Vector* data, size_t count) {
  Vector sums[8] = {};
  for (size_t i = 0; i + 8 <= count; i += 8) {
#pragma GCC unroll 8
    for (int k = 0; k < 8; ++k) sums[k] += data[i + k];
  }
  for (Vector& sum : sums) keep(sum);
}

void multiply_add() {
  const Vector factor = Vector{} + 0.999f, term = Vector{} + 0.001f;  // tends to 1: stays normal
  volatile float start = 2.0f;  // unknown to the compiler, or it folds a chain that starts at 1
  Vector sums[kAccumulators];
  for (int k = 0; k < kAccumulators; ++k) sums[k] = Vector{} + start * static_cast<float>(k);
  for (int64_t i = 0; i < kFmaRounds; ++i) {
#pragma GCC unroll 32
    for (int k = 0; k < kAccumulators; ++k) sums[k] = sums[k] * factor + term;
  }
  for (Vector& sum : sums) keep(sum);
}

// One add a cycle. Both numbers are opaque: some cores fold constants before executing them.
void dependent_adds() {
  int64_t sum = 0, step = 1;
  for (int64_t i = 0; i < kAdds; i += 16) {
#pragma GCC unroll 16
    for (int k = 0; k < 16; ++k) {
      asm volatile("" : "+r"(sum), "+r"(step));
      sum += step;
    }
  }
  keep(sum);
}

// A buffer in 2 MiB pages where the system grants them; nullptr if there is no such memory.
char* huge_buffer() {
  void* raw =
      mmap(nullptr, kBytes + kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) return nullptr;
  const auto address = (reinterpret_cast<uintptr_t>(raw) + kPage - 1) / kPage * kPage;
  char* buffer = reinterpret_cast<char*>(address);
  madvise(buffer, kBytes, MADV_HUGEPAGE);  // refused on some systems; huge_page_bytes tells
  return buffer;
}

// Bytes of this process that lie in huge pages, from the kernel's account.
long long huge_page_bytes() {
  std::ifstream file("/proc/self/smaps_rollup");
  for (std::string word; file >> word;) {
    long long kib = 0;
    if (word == "AnonHugePages:" && file >> kib) return kib * 1024;
  }
  return 0;
}

void print_rates(const char* name, double amount, const std::vector<double>& times) {
  std::printf("\"%s\": [", name);
  for (size_t i = 0; i < times.size(); ++i) {
    std::printf("%s%.6g", i > 0 ? ", " : "", amount / times[i]);
  }
  std::printf("], ");
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc == 2 ? std::atoi(argv[1]) : 0;
  if (threads < 1 || threads > 1024) {
    std::fprintf(stderr, "usage: probe THREADS (1 to 1024)\n");
    return 2;
  }
  char* buffer = huge_buffer();
  if (buffer == nullptr) {
    std::fprintf(stderr, "no memory for a buffer of %zu bytes\n", kBytes);
    return 1;
  }

  const size_t share = kBytes / sizeof(Vector) / threads;
  auto* vectors = reinterpret_cast<Vector*>(buffer);
  std::vector<std::thread> writers;  // each thread's share near that thread
  for (int thread = 0; thread < threads; ++thread) {
    writers.emplace_back([=] {
      for (size_t i = 0; i < share; ++i) vectors[thread * share + i] = Vector{} + 1.0f;
    });
  }
  for (auto& writer : writers) writer.join();

  const auto read = seconds(threads, [=](int t) { read_all(vectors + t * share, share); });
  const auto fma = seconds(threads, [](int) { multiply_add(); });
  const auto adds = seconds(threads, [](int) { dependent_adds(); });

  std::printf("{");
  print_rates("read_bytes_per_s", static_cast<double>(share) * threads * sizeof(Vector), read);
  print_rates("flops_per_s", 2.0 * kFmaRounds * kAccumulators * kFloats * threads, fma);
  print_rates("clock_hz", static_cast<double>(kAdds), adds);
  std::printf("\"huge_page_bytes\": %lld, \"buffer_bytes\": %zu}\n", huge_page_bytes(), kBytes);
  return 0;
}
