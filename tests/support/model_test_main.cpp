// SPDX-License-Identifier: Apache-2.0
// main for GoogleTest where tests use model objects: Kokkos lives around all tests.
#include <gtest/gtest.h>

#include "model/runtime.hpp"

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  const moebius::model::KernelRuntime runtime;
  return RUN_ALL_TESTS();
}
