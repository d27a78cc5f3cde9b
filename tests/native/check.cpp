// Draws a fixed scene, takes it back, and runs blendshapes and a network; prints sums that every processor must agree on.
#include <cmath>
#include <cstdio>
#include <vector>

#include "../../cuda_ext/cpu/kernels.h"
#include "../../cuda_ext/cpu/pool.h"

using Values = std::vector<float>;

static float noise(uint32_t& state) {
  state = state * 1664525u + 1013904223u;
  return static_cast<float>(state >> 8) / 16777216.0f - 0.5f;
}

static Values random_values(size_t count, float scale, float shift, uint32_t seed) {
  Values values(count);
  for (float& value : values) value = shift + scale * noise(seed);
  return values;
}

static void report(const char* name, const Values& values) {
  double sum = 0, square = 0;
  for (float value : values) {
    sum += value;
    square += static_cast<double>(value) * value;
  }
  std::printf("%s %.9g %.9g\n", name, sum, std::sqrt(square));
}

static void check_splat() {
  constexpr int count = 900, size = 90;
  constexpr size_t plane = size * size;
  Values means = random_values(3 * count, 30, 0, 1), turns = random_values(4 * count, 2, 0, 2);
  Values scales = random_values(3 * count, 2, -0.5f, 3), logits = random_values(count, 6, 0, 4);
  Values colors = random_values(3 * count, 1, 0.5f, 5);
  for (int i = 0; i < count; ++i) means[3 * i + 2] = 55 + 0.3f * means[3 * i + 2];
  Values rgb(3 * plane), alpha(plane);
  avatar::SplatContext context;
  const avatar::SplatInputs in{means.data(), turns.data(), scales.data(), logits.data(), colors.data(), {},
                               count, 1, 130.0f, size};
  avatar::cpu::splat_forward({in, &context, rgb.data(), alpha.data()});
  report("rgb", rgb);
  report("alpha", alpha);
  const Values d_rgb = random_values(3 * plane, 1, 0, 6), d_alpha = random_values(plane, 1, 0, 7);
  Values d_means(3 * count), d_turns(4 * count), d_scales(3 * count), d_logits(count), d_colors(3 * count);
  avatar::cpu::splat_backward({in, &context, rgb.data(), alpha.data(), d_rgb.data(), d_alpha.data(),
                               {d_means.data(), d_turns.data(), d_scales.data(), d_logits.data(), d_colors.data()}});
  report("d_means", d_means);
  report("d_turns", d_turns);
  report("d_scales", d_scales);
  report("d_logits", d_logits);
  report("d_colors", d_colors);
}

static void check_others() {
  constexpr int64_t columns = 3001, rows = 9, samples = 700;
  const Values base = random_values(columns, 1, 0, 8), deltas = random_values(rows * columns, 1, 0, 9);
  const Values coefficients = random_values(rows, 2, 0, 10);
  Values out(columns);
  avatar::cpu::deform({base.data(), deltas.data(), coefficients.data(), columns, rows, 1, out.data()});
  report("deform", out);
  const avatar::MlpShape shape{3, {20, 33, 64, 3}};
  const Values inputs = random_values(samples * 20, 1, 0, 11);
  const Values weights = random_values(avatar::weights_of(shape), 0.6f, 0, 12);
  Values values(samples * 3);
  avatar::cpu::mlp({inputs.data(), weights.data(), shape, samples, values.data()});
  report("mlp", values);
}

int main() {
  check_splat();
  check_others();
}
