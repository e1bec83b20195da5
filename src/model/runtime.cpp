// SPDX-License-Identifier: Apache-2.0
#include "model/runtime.hpp"

#include <Kokkos_Core.hpp>

#include "kernels/isa.hpp"

namespace moebius::model {

KernelRuntime::KernelRuntime() { Kokkos::initialize(); }

KernelRuntime::~KernelRuntime() { Kokkos::finalize(); }

std::string instruction_set() { return kernels::to_string(kernels::active_isa()); }

}  // namespace moebius::model
