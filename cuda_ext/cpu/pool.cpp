#include "pool.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace avatar {
namespace {

constexpr std::align_val_t kAlignment{64};  // a cache line, and the widest register
constexpr int kSpins = 4000;  // about 40 microseconds, the usual gap between two kernels of a frame

void pause_cpu() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

// Denormal numbers cost a hundred cycles each; the caller's own mode comes back afterwards.
struct FlushDenormals {
#if defined(__x86_64__)
  unsigned before = _mm_getcsr();
  FlushDenormals() { _mm_setcsr(before | 0x8040); }
  ~FlushDenormals() { _mm_setcsr(before); }
#elif defined(__aarch64__)
  static uint64_t mode() {
    uint64_t bits;
    asm volatile("mrs %0, fpcr" : "=r"(bits));
    return bits;
  }
  static void set(uint64_t bits) { asm volatile("msr fpcr, %0" : : "r"(bits)); }
  uint64_t before = mode();
  FlushDenormals() { set(before | 1u << 24); }
  ~FlushDenormals() { set(before); }
#else
  FlushDenormals() {}
#endif
};

class Pool {
 public:
  explicit Pool(int threads) {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
  }

  ~Pool() {
    {
      std::lock_guard<std::mutex> lock(sleep_mutex_);
      stopping_ = true;
      epoch_.fetch_add(1);
    }
    wake_.notify_all();
    for (auto& worker : workers_) worker.join();
  }

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  void run(int64_t count, Task task, void* context) {
    FlushDenormals flush;
    if (workers_.empty() || count <= 1) {
      for (int64_t i = 0; i < count; ++i) task(context, i);
      return;
    }
    task_ = task;
    context_ = context;
    count_ = count;
    next_.store(0);
    open_.store(true);
    epoch_.fetch_add(1);
    if (sleepers_.load() > 0) {
      std::lock_guard<std::mutex> lock(sleep_mutex_);
      wake_.notify_all();
    }
    take();
    // A worker that has not entered by now finds the door closed: nobody waits for one that is still asleep.
    open_.store(false);
    for (int spins = 0; inside_.load() != 0; ++spins) {
      if (spins < kSpins) pause_cpu();
      else std::this_thread::yield();
    }
  }

 private:
  void take() {
    for (int64_t i = next_.fetch_add(1); i < count_; i = next_.fetch_add(1)) task_(context_, i);
  }

  void work() {
    FlushDenormals flush;
    uint64_t seen = 0;
    while (true) {
      for (int spins = 0; spins < kSpins && epoch_.load() == seen; ++spins) pause_cpu();
      if (epoch_.load() == seen) {
        std::unique_lock<std::mutex> lock(sleep_mutex_);
        sleepers_.fetch_add(1);
        wake_.wait(lock, [&] { return epoch_.load() != seen; });
        sleepers_.fetch_sub(1);
      }
      seen = epoch_.load();
      if (stopping_) return;
      inside_.fetch_add(1);
      if (open_.load()) take();
      inside_.fetch_sub(1);
    }
  }

  std::vector<std::thread> workers_;
  std::mutex sleep_mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> epoch_{0};
  std::atomic<int64_t> next_{0};
  std::atomic<int> inside_{0}, sleepers_{0};
  std::atomic<bool> open_{false}, stopping_{false};
  Task task_ = nullptr;
  void* context_ = nullptr;
  int64_t count_ = 0;
};

std::mutex* run_mutex = new std::mutex;
Pool* pool = nullptr;
int wanted = 0;

int cores() {
  const unsigned count = std::thread::hardware_concurrency();
  return count == 0 ? 1 : static_cast<int>(count);
}

// A forked child has no worker threads; it makes a new pool on first use.
void forget_pool() {
  run_mutex = new std::mutex;
  pool = nullptr;
}

Pool& the_pool() {
  if (pool == nullptr) {
#if defined(__unix__) || defined(__APPLE__)
    static const int once = pthread_atfork(nullptr, nullptr, forget_pool);
    (void)once;
#endif
    pool = new Pool(wanted > 0 ? wanted : cores());
  }
  return *pool;
}

}  // namespace

void run_parallel(int64_t count, Task task, void* context) {
  std::lock_guard<std::mutex> lock(*run_mutex);
  the_pool().run(count, task, context);
}

void set_threads(int count) {
  std::lock_guard<std::mutex> lock(*run_mutex);
  wanted = count;
  delete pool;
  pool = nullptr;
}

int get_threads() {
  std::lock_guard<std::mutex> lock(*run_mutex);
  return the_pool().threads();
}

void* reserve(Buffer& buffer, size_t bytes) {
  if (bytes > buffer.bytes || buffer.data == nullptr) {
    release(buffer);
    const size_t rounded = (bytes + bytes / 4 + 127) / 64 * 64;
    buffer.data = ::operator new(rounded, kAlignment);
    buffer.bytes = rounded;
  }
  return buffer.data;
}

void release(Buffer& buffer) {
  ::operator delete(buffer.data, kAlignment);
  buffer = Buffer{};
}

}  // namespace avatar
