// SPDX-License-Identifier: Apache-2.0
// Requests that begin alike compute what they share once per attention rank, and every row keeps the bits
// that it has without the prefix cache: whatever the layout, the limits, and the blocks that had to go.
#include <gtest/gtest.h>

#include "engine_support.hpp"

namespace moebius::ranks {
namespace {

using Tokens = std::vector<TokenId>;

Job job_with_cache(bool on, std::int64_t kv_tokens = 0) {
  Job job;
  job.schedule.aging_ms = 1e9;  // wall time must not steer a test that repeats from its seed
  job.limits.prefix_cache = on;
  job.limits.kv_tokens = kv_tokens;
  return job;
}

Request scoring(std::int64_t line, Tokens context, std::mt19937_64& random) {
  Request request{.custom_id = std::to_string(line), .input_line = line, .context = std::move(context), .continuations = {}};
  for (int c = 0; c < 2; ++c) request.continuations.emplace_back(random_tokens(random, 1 + 4 * c));
  return request;
}

/// Requests of all kinds over a few shared prefixes whose lengths sit on, before and behind borders of blocks.
std::vector<Request> sharing_requests() {
  std::mt19937_64 random(21);
  std::vector<Tokens> prefixes;
  for (const int length : {31, 32, 33, 64, 100}) prefixes.push_back(random_tokens(random, length));
  prefixes.push_back(prefixes[3]);  // two prefixes that part after 64 tokens
  for (const TokenId token : random_tokens(random, 40)) prefixes.back().push_back(token);
  std::vector<Request> requests;
  for (int i = 0; i < 36; ++i) {
    Tokens context = prefixes[static_cast<std::size_t>(i) % prefixes.size()];
    for (const TokenId token : random_tokens(random, i % 5 == 0 ? 0 : static_cast<int>(random() % 40))) context.push_back(token);
    Request request = scoring(i + 1, std::move(context), random);
    if (i % 4 == 1) {
      request.kind = RequestKind::completion;
      request.continuations.clear();
      request.num_choices = 2;
      request.sampling = {.temperature = i % 8 == 1 ? 0.0 : 1.0, .max_tokens = 7, .num_logprobs = 1, .echo = i % 12 == 1};
    } else if (i % 9 == 2) {
      request.kind = RequestKind::loglikelihood_rolling;
      request.continuations.clear();
    }
    requests.push_back(std::move(request));
  }
  return requests;
}

TEST(PrefixReuse, BitsAreThoseOfTheRunWithoutAtAnyLayoutAndMemory) {
  const std::vector<Request> requests = sharing_requests();
  const EngineRun without = run_engines(golden_model(), job_with_cache(false), 1, requests, 1);
  EXPECT_EQ(without.root_tokens_reused, 0);
  EXPECT_EQ(without.blocks_evicted, 0);
  struct Case {
    int num_ranks;
    LayoutMode mode;
    int budget;
    std::int64_t kv_tokens;
  };
  // 192 positions are hardly more than the longest request needs: blocks are evicted all the time.
  const Case cases[] = {{1, LayoutMode::split, 1024, 0},  {1, LayoutMode::split, 64, 192}, {2, LayoutMode::split, 200, 224},
                        {3, LayoutMode::colocated, 7, 0}, {3, LayoutMode::split, 1, 192},  {4, LayoutMode::colocated, 40, 320}};
  std::uint64_t seed = 50;
  for (const Case& c : cases) {
    Job job = job_with_cache(true, c.kv_tokens);
    job.layout.mode = c.mode;
    job.limits.max_tokens_in_flight = c.budget;
    job.limits.segment_tokens = 1 + c.budget / 6;
    ++seed;
    SCOPED_TRACE(::testing::Message() << c.num_ranks << " ranks, kv " << c.kv_tokens << ", seed " << seed);
    const EngineRun run = run_engines(golden_model(), job, c.num_ranks, requests, seed);
    EXPECT_EQ(to_hex(run.digest()), to_hex(without.digest()));
    EXPECT_GT(run.root_tokens_reused, 0);
    EXPECT_EQ(run.root_tokens, without.root_tokens);
    EXPECT_EQ(run.tokens_fed + run.root_tokens_reused, without.tokens_fed);
    if (c.kv_tokens > 0) {
      EXPECT_GT(run.blocks_evicted, 0);
    }
  }
}

TEST(PrefixReuse, OneRankComputesASharedPrefixOnce) {
  std::mt19937_64 random(22);
  const Tokens prefix = random_tokens(random, 70);  // two full blocks and a bit
  std::vector<Request> requests;
  for (int i = 0; i < 12; ++i) {
    Tokens context = prefix;
    context.push_back(i);
    requests.push_back(scoring(i + 1, std::move(context), random));
  }
  const EngineRun run = run_engines(golden_model(), job_with_cache(true), 1, requests, 1);
  EXPECT_EQ(run.root_tokens, 12 * 71);
  EXPECT_EQ(run.root_tokens_reused, 11 * 64);  // although all of them were there before the first was done
  EXPECT_EQ(run.digest(), run_engines(golden_model(), job_with_cache(false), 1, requests, 1).digest());
}

TEST(PrefixReuse, TheSameContextAgainStillComputesItsLastToken) {
  std::mt19937_64 random(23);
  for (const int length : {1, 31, 32, 33, 64, 65}) {
    SCOPED_TRACE(length);
    const Tokens context = random_tokens(random, length);
    std::vector<Request> requests;
    for (int i = 0; i < 4; ++i) requests.push_back(scoring(i + 1, context, random));
    const EngineRun run = run_engines(golden_model(), job_with_cache(true), 1, requests, 2);
    EXPECT_EQ(run.root_tokens_reused, 3 * ((length - 1) / 32 * 32));
    EXPECT_EQ(run.digest(), run_engines(golden_model(), job_with_cache(false), 1, requests, 1).digest());
  }
}

TEST(PrefixReuse, PositionsWhoseLogitsAreWantedAreComputed) {
  std::mt19937_64 random(24);
  const Tokens text = random_tokens(random, 100);
  std::vector<Request> requests;
  for (int i = 0; i < 3; ++i) {
    requests.push_back({.custom_id = std::to_string(i), .input_line = i + 1, .kind = RequestKind::loglikelihood_rolling, .context = text, .continuations = {}});
  }
  const EngineRun run = run_engines(golden_model(), job_with_cache(true), 1, requests, 3);
  EXPECT_EQ(run.root_tokens_reused, 0);
  for (int line = 1; line <= 3; ++line) {
    const Row& row = run.rows.at({line, 0});
    EXPECT_TRUE(std::ranges::none_of(row.token_logprobs, [](float value) { return std::isnan(value); })) << "line " << line;
  }
}

TEST(PrefixReuse, AKeptPrefixServesRequestsThatComeLater) {
  std::mt19937_64 random(25);
  const Tokens prefix = random_tokens(random, 64);
  std::vector<Request> requests;
  for (int i = 0; i < 20; ++i) {
    // Others pass between two requests with the prefix, one sequence in the cache at a time.
    Tokens context = i % 10 == 0 ? prefix : random_tokens(random, 40);
    context.push_back(1);
    requests.push_back(scoring(i + 1, std::move(context), random));
  }
  EXPECT_EQ(run_engines(golden_model(), job_with_cache(true, 2048), 1, requests, 4).root_tokens_reused, 64);
  // With room for little more than one request, the others have pushed it out.
  const EngineRun little = run_engines(golden_model(), job_with_cache(true, 128), 1, requests, 4);
  EXPECT_EQ(little.root_tokens_reused, 0);
  EXPECT_GT(little.blocks_evicted, 0);
  EXPECT_EQ(little.digest(), run_engines(golden_model(), job_with_cache(false), 1, requests, 1).digest());
}

TEST(PrefixReuse, ATreeThatWaitsForAPrefixLetsOthersPass) {
  std::mt19937_64 random(26);
  const Tokens prefix = random_tokens(random, 320);
  std::vector<Request> requests;
  for (int i = 0; i < 6; ++i) {
    Tokens context = prefix;
    context.push_back(i);
    requests.push_back(scoring(i + 1, std::move(context), random));
  }
  requests.push_back(scoring(7, random_tokens(random, 5), random));
  Job job = job_with_cache(true);
  job.limits.max_tokens_in_flight = 400;
  job.limits.segment_tokens = 400;
  const EngineRun run = run_engines(golden_model(), job, 1, requests, 5);
  EXPECT_EQ(run.root_tokens_reused, 5 * 320);
  ASSERT_EQ(run.lines.size(), 7U);
  EXPECT_LE(std::ranges::find(run.lines, 7) - run.lines.begin(), 1);  // before all that wait for the first
  EXPECT_EQ(run.digest(), run_engines(golden_model(), job_with_cache(false), 1, requests, 1).digest());
}

TEST(PrefixReuse, NobodyReadsABlockBeforeItIsWrittenInAllLayers) {
  std::mt19937_64 random(27);
  const Tokens prefix = random_tokens(random, 200);
  std::vector<Request> requests;
  for (int i = 0; i < 8; ++i) {
    Tokens context(prefix.begin(), prefix.begin() + 40 + 20 * i);
    context.push_back(i);
    requests.push_back(scoring(i + 1, std::move(context), random));
  }
  const EngineRun without = run_engines(golden_model(), job_with_cache(false), 1, requests, 1);
  // Small segments and many expert ranks: later positions overtake earlier ones wherever they may.
  Job job = job_with_cache(true);
  job.layout = {.mode = LayoutMode::split, .attention_ranks = 1, .expert_ranks = 4};
  job.limits.segment_tokens = 3;
  job.limits.micro_batch_tokens = 8;
  for (std::uint64_t seed = 60; seed < 66; ++seed) {
    const EngineRun run = run_engines(golden_model(), job, 5, requests, seed);
    EXPECT_EQ(to_hex(run.digest()), to_hex(without.digest())) << "seed " << seed;
    EXPECT_GT(run.root_tokens_reused, 0);
  }
}

}  // namespace
}  // namespace moebius::ranks
