// SPDX-License-Identifier: Apache-2.0
#pragma once
// A packed matrix together with its memory, for tests and benchmarks that have no arena.

#include <memory>
#include <new>
#include <span>

#include "kernels/gemm.hpp"

namespace moebius::test {

class OwnedMatrix {
 public:
  OwnedMatrix(ComputeType type, std::span<const float> w, int num_out, int num_in) {
    const std::size_t bytes = kernels::packed_bytes(type, num_out, num_in);
    memory_.reset(static_cast<std::byte*>(::operator new(bytes, alignment)));
    view_ = kernels::PackedMatrix::pack(type, w, num_out, num_in, {memory_.get(), bytes});
  }
  // NOLINTNEXTLINE(google-explicit-constructor): stands for the view wherever one is wanted
  operator const kernels::PackedMatrix&() const { return view_; }
  [[nodiscard]] std::size_t bytes() const { return view_.bytes(); }
  [[nodiscard]] std::span<std::byte> memory() const { return {memory_.get(), view_.bytes()}; }

 private:
  static constexpr std::align_val_t alignment{kernels::packed_alignment};
  struct Release {
    void operator()(std::byte* bytes) const { ::operator delete(bytes, alignment); }
  };
  std::unique_ptr<std::byte, Release> memory_;
  kernels::PackedMatrix view_;
};

}  // namespace moebius::test
