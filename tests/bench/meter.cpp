// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/meter.hpp"

#include <time.h>

#include <algorithm>
#include <span>

#include "kernels/peak.hpp"

namespace moebius::bench {

namespace {

constexpr std::size_t piece_floats = std::size_t{1} << 20;    // 4 MiB, a read of a tenth of a millisecond
constexpr std::size_t memory_floats = std::size_t{64} << 20;  // eight times the last-level cache
constexpr double seconds_between_samples = 2e-3;

/// What the machine reaches when nothing disturbs it: the value that a tenth of the samples exceed.
double high(std::vector<double>& values) {
  const auto place = values.begin() + static_cast<std::ptrdiff_t>(values.size() * 9 / 10);
  std::nth_element(values.begin(), place, values.end());
  return *place;
}

}  // namespace

double median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

void Meter::begin() {
  if (!memory_) {
    const auto bytes = memory_.emplace(memory_floats * sizeof(float)).take(memory_floats * sizeof(float));
    array_ = {reinterpret_cast<float*>(bytes.data()), memory_floats};
    std::fill(array_.begin(), array_.end(), 1.0F);
  }
  seconds_.clear();
  peak_flops_.clear();
  read_bytes_.clear();
  since_sample_ = seconds_between_samples;
}

void Meter::add(ComputeType type, double seconds) {
  seconds_.push_back(seconds);
  since_sample_ += seconds;
  if (since_sample_ >= seconds_between_samples) sample(type);
}

void Meter::sample(ComputeType type) {
  since_sample_ = 0;
  peak_flops_.push_back(kernels::measure_peak_flops(type, 2e-4));
  read_bytes_.push_back(kernels::measure_read_bandwidth(std::span<const float>(array_).subspan(next_piece_ * piece_floats, piece_floats), 0.0));
  next_piece_ = (next_piece_ + 1) % (memory_floats / piece_floats);
}

double Meter::finish(benchmark::State& state, const Work& work) {
  const double seconds = median(seconds_);
  if (work.flops > 0) {
    state.counters["GFLOP/s"] = work.flops / seconds * 1e-9;
    state.counters["of limit"] = work.flops / seconds / high(peak_flops_);
  }
  if (work.bytes > 0) {
    state.counters["GB/s"] = work.bytes / seconds * 1e-9;
    state.counters["of read"] = work.bytes / seconds / high(read_bytes_);
  }
  return seconds;
}

void Meter::limits(benchmark::State& state, ComputeType type, double seconds) {
  begin();
  for ([[maybe_unused]] auto _ : state) {
    const double end = thread_seconds() + seconds;
    while (thread_seconds() < end) sample(type);
    state.SetIterationTime(seconds);
  }
  state.counters["GFLOP/s"] = high(peak_flops_) * 1e-9;
  state.counters["GB/s"] = high(read_bytes_) * 1e-9;
  state.counters["median GB/s"] = median(read_bytes_) * 1e-9;
}

}  // namespace moebius::bench
