// SPDX-License-Identifier: Apache-2.0
#pragma once
// The life of Kokkos: made after MPI has started, gone before MPI ends; every model object must die
// inside it. The only way for folders above `model` to start the kernels.

#include <string>

namespace moebius::model {

class KernelRuntime {
 public:
  KernelRuntime();
  ~KernelRuntime();
  KernelRuntime(const KernelRuntime&) = delete;
  KernelRuntime& operator=(const KernelRuntime&) = delete;
};

/// Instruction set that the kernels run with on this processor: "avx512", "avx2", "portable".
std::string instruction_set();

}  // namespace moebius::model
