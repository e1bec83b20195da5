// SPDX-License-Identifier: Apache-2.0
// main for tests whose code allocates Kokkos views: they live between initialize and finalize.
#include <gtest/gtest.h>

#include <Kokkos_Core.hpp>

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  Kokkos::initialize();
  const int result = RUN_ALL_TESTS();
  Kokkos::finalize();
  return result;
}
