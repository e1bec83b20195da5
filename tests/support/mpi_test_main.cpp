// SPDX-License-Identifier: Apache-2.0
// main for GoogleTest under mpirun: every rank runs every test; only rank 0 prints, but a rank that
// fails prints too; the process group fails when any rank failed.
#include <gtest/gtest.h>
#include <mpi.h>

#include <cstdio>

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  ::testing::InitGoogleTest(&argc, argv);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  auto& listeners = ::testing::UnitTest::GetInstance()->listeners();
  struct FailurePrinter : ::testing::EmptyTestEventListener {
    int rank = 0;
    void OnTestPartResult(const ::testing::TestPartResult& result) override {
      if (result.failed()) {
        std::fprintf(stderr, "[rank %d] %s:%d %s\n", rank, result.file_name() ? result.file_name() : "?",
                     result.line_number(), result.summary());
      }
    }
  };
  if (rank != 0) {
    delete listeners.Release(listeners.default_result_printer());
    auto* printer = new FailurePrinter;  // owned by the listener list
    printer->rank = rank;
    listeners.Append(printer);
  }
  const int mine = RUN_ALL_TESTS();
  int any = 0;
  MPI_Allreduce(&mine, &any, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  MPI_Finalize();
  return any;
}
