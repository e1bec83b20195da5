// SPDX-License-Identifier: Apache-2.0
#pragma once
// What one core of this machine can do at best, measured: the denominators for the shares that
// benchmarks print. With the instruction set in use.

#include <span>

#include "base/model_config.hpp"

namespace moebius::kernels {

/// Operations per second of a loop of multiply-adds that stays in registers, with the instruction that
/// products of `type` use; a multiply-add counts as two. The best of many runs of about a millisecond within `seconds`: short enough that some
/// are not interrupted on a busy machine.
double measure_peak_flops(ComputeType type, double seconds);

/// Bytes per second when the array is read from front to back: the median over pieces of 4 MiB, so that
/// interruptions do not count, nor what happens to lie in a cache. At least one pass, then until `seconds`
/// have passed. An array much larger than the last-level cache, on a cache line
/// border, tells what memory gives.
double measure_read_bandwidth(std::span<const float> array, double seconds);

}  // namespace moebius::kernels
