// The pool of threads that the CPU's operations share.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>

namespace goturn::cpu {

// Calls body(index) once for each index of [0, count), on this thread and on waiting workers, and
// returns when all calls have returned.
//
// Which thread runs an index is left to chance; a body must give the same result whoever runs it,
// so that results do not depend on the number of threads.  Several threads may call this at once:
// each works on its own indices and the workers help whom they find.  What a body throws is thrown
// here, once nothing runs any more; some indices are then left out.  A body must not call
// parallel_for.
void parallel_for(std::int64_t count, const std::function<void(std::int64_t)>& body);

inline constexpr int kMaxThreads = 256;

// How many threads work on one call, the caller's included: at first as many as there are
// processors that the process may run on, or GOTURN_NUM_THREADS.  Where the system does not give so
// many, fewer do the work.
//
// Here and in the first parallel_for, std::runtime_error if GOTURN_NUM_THREADS is no such number.
int thread_count();

// Sets thread_count(), 1 to kMaxThreads, for the calls that follow; those that run keep the threads
// they have.
void set_thread_count(int count);

// A lock for anything of this module that a moment will do for, never around a call of the above.
// Fork waits for it, so that a child does not find it held by a thread that it does not have.
std::mutex& fork_safe_mutex();

}  // namespace goturn::cpu
