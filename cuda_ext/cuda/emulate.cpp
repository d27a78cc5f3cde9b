// The fibers behind emulate.h.
#include <ucontext.h>

#include <stdexcept>
#include <vector>

#include "device.h"

namespace avatar {

dim3 threadIdx(0), blockIdx(0), blockDim(1), gridDim(1);

const char* cuda_architectures() { return "emulated"; }

namespace {

enum class State { ready, waits_for_warp, waits_for_block, done };

struct Fiber {
  ucontext_t context;
  State state = State::done;
  uint64_t given = 0;
  bool flag = false;
};

constexpr size_t kStack = 64 * 1024;

struct Block {
  std::vector<Fiber> fibers;
  std::vector<char> stacks;
  const std::function<void()>* thread = nullptr;
  ucontext_t scheduler;
  unsigned current = 0;
};

Block& block() {
  static Block one;
  return one;
}

void run_thread() {
  Block& b = block();
  (*b.thread)();
  b.fibers[b.current].state = State::done;
  swapcontext(&b.fibers[b.current].context, &b.scheduler);
}

void wait(State state) {
  Block& b = block();
  const unsigned mine = b.current;
  b.fibers[mine].state = state;
  swapcontext(&b.fibers[mine].context, &b.scheduler);
}

void resume(unsigned index) {
  Block& b = block();
  b.current = index;
  threadIdx = dim3(index, 0, 0);
  swapcontext(&b.scheduler, &b.fibers[index].context);
}

// Runs one warp until all of its threads have ended or wait for the block.
void run_warp(unsigned first, unsigned last) {
  Block& b = block();
  for (bool again = true; again;) {
    again = false;
    for (unsigned i = first; i < last; ++i)
      if (b.fibers[i].state == State::ready) resume(i);
    for (unsigned i = first; i < last; ++i)
      if (b.fibers[i].state == State::waits_for_warp) {
        b.fibers[i].state = State::ready;
        again = true;
      }
  }
}

void run_block(unsigned threads) {
  Block& b = block();
  b.fibers.resize(threads);
  b.stacks.resize(threads * kStack);
  for (unsigned i = 0; i < threads; ++i) {
    Fiber& fiber = b.fibers[i];
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = b.stacks.data() + i * kStack;
    fiber.context.uc_stack.ss_size = kStack;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, run_thread, 0);
    fiber.state = State::ready;
  }
  for (bool again = true; again;) {
    for (unsigned first = 0; first < threads; first += kWarp)
      run_warp(first, first + kWarp < threads ? first + kWarp : threads);
    again = false;
    for (Fiber& fiber : b.fibers)
      if (fiber.state == State::waits_for_block) {
        fiber.state = State::ready;
        again = true;
      }
  }
}

}  // namespace

void wait_for_block() { wait(State::waits_for_block); }
void wait_for_warp() { wait(State::waits_for_warp); }

uint64_t exchange(uint64_t value, int source) {
  Block& b = block();
  const unsigned mine = b.current;
  b.fibers[mine].given = value;
  wait_for_warp();
  const uint64_t taken = b.fibers[mine / kWarp * kWarp + source].given;
  wait_for_warp();
  return taken;
}

bool all_of_block(bool value) {
  Block& b = block();
  b.fibers[b.current].flag = value;
  wait_for_block();
  bool all = true;
  for (const Fiber& fiber : b.fibers) all = all && fiber.flag;
  wait_for_block();
  return all;
}

uint32_t ballot(bool value) {
  Block& b = block();
  const unsigned mine = b.current, first = mine / kWarp * kWarp;
  b.fibers[mine].flag = value;
  wait_for_warp();
  uint32_t bits = 0;
  for (unsigned lane = 0; lane < kWarp && first + lane < b.fibers.size(); ++lane)
    bits |= static_cast<uint32_t>(b.fibers[first + lane].flag) << lane;
  wait_for_warp();
  return bits;
}

void emulate(dim3 grid, int threads, const std::function<void()>& thread) {
  block().thread = &thread;
  blockDim = dim3(threads);
  gridDim = grid;
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = dim3(x, y, z);
        run_block(threads);
      }
}

}  // namespace avatar
