// SPDX-License-Identifier: Apache-2.0
// No collective and no two-sided message is on the asynchronous path: a job with ten times the requests
// makes exactly as many collective calls as a small one (those of set-up and wind-up), and no rank ever
// sends a two-sided message. Counted through MPI's profiling interface.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "comm/session.hpp"
#include "io/job_file.hpp"
#include "model/runtime.hpp"
#include "ranks/run_job.hpp"
#include "support/mpi_call_counter.hpp"

namespace moebius::ranks {
namespace {

test::MpiCallCounts operator-(const test::MpiCallCounts& a, const test::MpiCallCounts& b) {
  return {.collectives = a.collectives - b.collectives,
          .two_sided = a.two_sided - b.two_sided,
          .exclusive_locks = a.exclusive_locks - b.exclusive_locks,
          .puts = a.puts - b.puts,
          .flushes = a.flushes - b.flushes,
          .atomics = a.atomics - b.atomics,
          .probes = a.probes - b.probes};
}

test::MpiCallCounts calls_of_job(comm::Session& session, std::int64_t num_requests, const std::string& layout) {
  const std::string output = std::string(MOEBIUS_BINARY_DIR) + "/mpi_calls_test_" + std::to_string(session.num_ranks()) + layout;
  const std::vector<std::string> overrides = {"model.path=" MOEBIUS_SOURCE_DIR "/inputs/models/tiny",
                                              "input.path=" MOEBIUS_SOURCE_DIR "/inputs/data/endings.jsonl",
                                              "output.path=" + output, "layout.mode=" + layout, "run.progress=off",
                                              "run.watchdog_s=60"};
  const ResolvedJob job = io::read_job_text("", "this test", overrides);
  const test::MpiCallCounts before = test::mpi_call_counts();
  const JobOutcome outcome = run_job(session, job, {.on_existing = io::OnExisting::replace, .max_requests = num_requests});
  if (session.rank() == RankId(0)) {
    EXPECT_EQ(outcome.requests, num_requests);
    EXPECT_TRUE(outcome.conserved);
    std::filesystem::remove_all(output);
  }
  return test::mpi_call_counts() - before;
}

TEST(MpiCalls, NoCollectiveAndNoTwoSidedMessageOnThePath) {
  comm::Session session;
  {
    const model::KernelRuntime kernels;
    for (const char* layout : {"split", "colocated"}) {
      const test::MpiCallCounts small = calls_of_job(session, 4, layout), large = calls_of_job(session, 40, layout);
      EXPECT_EQ(small.collectives, large.collectives) << layout;
      EXPECT_GT(small.collectives, 0) << "the counter counts nothing";
      EXPECT_EQ(small.two_sided + large.two_sided, 0) << layout;
      EXPECT_EQ(small.exclusive_locks + large.exclusive_locks, 0) << layout;
      EXPECT_GT(large.probes, 0) << "the loop makes no progress calls";
    }
  }
  session.finalize();
}

}  // namespace
}  // namespace moebius::ranks
