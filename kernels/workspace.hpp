// SPDX-License-Identifier: Apache-2.0
#pragma once
// Memory that a thread keeps between calls of a kernel, and the range over which kernels run in parallel.
// Internal to kernels.

#include <Kokkos_Core.hpp>
#include <cstddef>
#include <memory>
#include <new>

namespace moebius::kernels {

/// Independent indices on the host; with a serial Kokkos a plain loop.
using HostRange = Kokkos::RangePolicy<Kokkos::DefaultHostExecutionSpace, Kokkos::IndexType<int>>;

/// Floats on a cache line border that grow and never shrink. Contents do not survive growth.
class Workspace {
 public:
  float* floats(std::size_t count) {
    if (count > count_) {
      data_.reset();
      count_ = 0;
      data_.reset(static_cast<float*>(::operator new(count * sizeof(float), alignment)));
      count_ = count;
    }
    return data_.get();
  }

 private:
  static constexpr std::align_val_t alignment{64};
  struct Release {
    void operator()(float* p) const { ::operator delete(p, alignment); }
  };
  std::unique_ptr<float, Release> data_;
  std::size_t count_ = 0;
};

}  // namespace moebius::kernels
