#!/bin/sh
# Compiles the vector code for 64-bit Arm with warnings as errors and, under qemu, compares its results with this
# machine's. Needs aarch64-linux-gnu-g++; qemu-aarch64-static to run.
set -e
cd "$(dirname "$0")/../.."
compiler=${CROSS_COMPILER:-aarch64-linux-gnu-g++}
command -v "$compiler" > /dev/null || { echo "$compiler is not installed (Debian: g++-aarch64-linux-gnu)"; exit 1; }
flags="-std=c++17 -O3 -DISA=generic -fno-math-errno -fno-trapping-math -fno-signed-zeros -ffinite-math-only -Wall -Wextra -Werror -Wno-psabi -Wno-ignored-attributes"
sources="cuda_ext/cpu/*.cpp tests/native/check.cpp"
mkdir -p build/cross
# shellcheck disable=SC2086
"$compiler" $flags -static $sources -lpthread -o build/cross/check_arm
echo "compiled for 64-bit Arm"
command -v qemu-aarch64-static > /dev/null || { echo "qemu-aarch64-static is not installed; not run"; exit 0; }
# shellcheck disable=SC2086
${CXX:-g++} $flags $sources -lpthread -o build/cross/check_here
build/cross/check_here > build/cross/here.txt
qemu-aarch64-static build/cross/check_arm > build/cross/arm.txt
paste build/cross/here.txt build/cross/arm.txt | awk '
  function far(a, b, scale) { d = a - b; if (d < 0) d = -d; return d > 1e-4 * scale }
  { if (far($2, $5, $3) || far($3, $6, $3)) { print "differs: " $0; bad = 1 } }
  END { if (!bad) print NR " sums agree"; exit bad }'
