// Picks the instruction set once: the best the processor has, or what AVATAR_ISA asks for when the processor has it.
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "kernels.h"

namespace avatar {
namespace {

#if defined(AVATAR_X86)
int best_level() {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    return 4;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) return 3;
  return 2;
}

int choose_level() {
  const char* asked = std::getenv("AVATAR_ISA");
  const int best = best_level();
  if (asked == nullptr || *asked == 0) return best;
  const std::string name(asked);
  if (name != "v2" && name != "v3" && name != "v4")
    throw std::runtime_error("AVATAR_ISA is " + name + ", expected v2, v3 or v4");
  const int level = name[1] - '0';
  if (level > best)
    throw std::runtime_error("AVATAR_ISA is " + name + ", this processor goes to v" + std::to_string(best));
  return level;
}

int level() {
  static const int chosen = choose_level();
  return chosen;
}
#endif

}  // namespace

#if defined(AVATAR_X86)
const char* isa() { return level() == 4 ? "v4" : level() == 3 ? "v3" : "v2"; }
#define AVATAR_ROUTE(name, Args)                  \
  void cpu::name(const Args& args) {              \
    if (level() == 4) return v4::name(args);      \
    if (level() == 3) return v3::name(args);      \
    v2::name(args);                               \
  }
#else
const char* isa() { return "generic"; }
#define AVATAR_ROUTE(name, Args) \
  void cpu::name(const Args& args) { generic::name(args); }
#endif

AVATAR_KERNELS(AVATAR_ROUTE)

}  // namespace avatar
