// Threads of our own: torch's OpenMP workers spin after each op and steal the cores, and static shares stall when busy.
#pragma once
#include <cstddef>
#include <cstdint>

#include "../include/splat.h"

namespace avatar {

using Task = void (*)(void* context, int64_t index);

void run_parallel(int64_t count, Task task, void* context);
void set_threads(int count);  // 0: one for each core
int get_threads();

// Grows to the asked size, 64-byte aligned, contents undefined.
void* reserve(Buffer& buffer, size_t bytes);
void release(Buffer& buffer);

}  // namespace avatar
