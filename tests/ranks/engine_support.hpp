// SPDX-License-Identifier: Apache-2.0
#pragma once
// A whole job in one process and one thread: several RankEngines over loopback rings whose turns are
// interleaved at random, so that one test sees many schedules and each can be repeated from its seed.

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "comm/loopback_transport.hpp"
#include "comm/peer_memory.hpp"
#include "io/model_files.hpp"
#include "io/row_digest.hpp"
#include "io/safetensors.hpp"
#include "policy/layout.hpp"
#include "ranks/expert_plan.hpp"
#include "ranks/rank_engine.hpp"

namespace moebius::ranks {

struct EngineRun {
  std::map<std::pair<std::int64_t, int>, Row> rows;  ///< by (line, choice)
  std::vector<std::int64_t> lines;                   ///< in the order in which their rows came out
  std::int64_t pairs_sent = 0, rows_computed = 0, outputs_received = 0, micro_batches = 0, refused = 0, turns = 0, expert_calls = 0;
  std::size_t pipeline_answers = 0;                  ///< of the solver of one rank, the most: different r1, r2, order
  std::vector<LiveChange> changes;                   ///< of the placement, where experts move
  std::vector<policy::ExpertMove> moves;             ///< of all of them
  std::int64_t bytes_staged = 0;
  std::vector<std::int64_t> rows_of_rank;            ///< rows that the experts of each rank computed
  std::int64_t tokens_fed = 0, root_tokens = 0, root_tokens_reused = 0, blocks_evicted = 0;
  [[nodiscard]] Digest128 digest() const {
    Digest128 sum;
    for (const auto& [key, row] : rows) sum += io::row_digest(row);
    return sum;
  }
};

struct TestModel {
  explicit TestModel(const std::string& model_dir, const std::string& tokenizer_dir)
      : config(io::read_model_config(model_dir)),
        checkpoint(io::Checkpoint::open(model_dir)),
        tensors(checkpoint.lookup()),
        tokenizer(io::read_tokenizer(tokenizer_dir)),
        chat_template(io::read_chat_template(model_dir)) {}
  ModelConfig config;
  io::Checkpoint checkpoint;
  TensorLookup tensors;
  model::Tokenizer tokenizer;
  model::ChatTemplate chat_template;
};

/// A model of tests/data/goldens, read once.
inline const TestModel& golden_model(const std::string& name = "qwen3_moe") {
  static std::map<std::string, std::unique_ptr<TestModel>> models;
  auto& model = models[name];
  const std::string data = std::string(MOEBIUS_SOURCE_DIR) + "/tests/data/goldens/";
  if (model == nullptr) model = std::make_unique<TestModel>(data + "models/" + name, data + "tokenizers/qwen");
  return *model;
}

/// Tokens of the vocabulary of 512 that all golden models have.
inline std::vector<TokenId> random_tokens(std::mt19937_64& random, int count) {
  std::vector<TokenId> tokens;
  for (int i = 0; i < count; ++i) tokens.push_back(static_cast<TokenId>(random() % 512));
  return tokens;
}

/// The memory by which ranks move experts, where the job asks for that.
class PeerMemories {
 public:
  PeerMemories(const TestModel& model, const Job& job, const policy::TablePlacement& placement, std::span<const RankId> expert_ranks, int num_ranks) {
    if (!rebalances(job, expert_ranks.size())) return;
    std::vector<std::span<std::byte>> memories;
    for (int rank = 0; rank < num_ranks; ++rank) {
      const std::size_t bytes = live_bytes(job, model.config, placement, expert_ranks, RankId(rank));
      memory_.push_back(std::make_unique<std::byte[]>(bytes + line));
      const std::size_t beyond = reinterpret_cast<std::uintptr_t>(memory_.back().get()) % line;
      memories.emplace_back(memory_.back().get() + (line - beyond), bytes);
    }
    for (int rank = 0; rank < num_ranks; ++rank) peers_.push_back(std::make_unique<comm::PeerMemory>(RankId(rank), memories));
  }
  [[nodiscard]] comm::PeerMemory* of(RankId rank) { return peers_.empty() ? nullptr : peers_[rank.idx()].get(); }

 private:
  static constexpr std::size_t line = 64;
  std::vector<std::unique_ptr<std::byte[]>> memory_;
  std::vector<std::unique_ptr<comm::PeerMemory>> peers_;
};

/// Adds what a rank counted; fails the test where it kept blocks or promises of the KV cache.
inline void add_counters(const RankEngine& engine, EngineRun& run) {
  if (engine.attention() != nullptr) {
    run.pairs_sent += engine.attention()->counters().pairs_sent;
    run.outputs_received += engine.attention()->counters().outputs_received;
    run.micro_batches += engine.attention()->counters().micro_batches;
    run.tokens_fed += engine.workload()->counters().tokens_fed;
    run.root_tokens += engine.workload()->counters().root_tokens;
    run.root_tokens_reused += engine.workload()->counters().root_tokens_reused;
    const model::KvCache& kv = *engine.kv();
    run.blocks_evicted += kv.num_evicted();
    // Every block and every promise came back.
    EXPECT_EQ(kv.num_used(), 0);
    EXPECT_EQ(kv.num_reserved(), 0);
    EXPECT_EQ(kv.num_kept() + kv.num_free(), kv.num_blocks());
  }
  if (engine.solver() != nullptr) run.pipeline_answers = std::max(run.pipeline_answers, engine.solver()->answers().size());
  if (engine.live() != nullptr) {
    run.bytes_staged += engine.live()->counters().bytes_staged;
    if (engine.live()->coordinator() != nullptr) {
      run.changes = engine.live()->coordinator()->changes();
      run.moves = engine.live()->coordinator()->moves();
    }
  }
  if (engine.experts() != nullptr) {
    run.rows_computed += engine.experts()->counters().rows_computed;
    run.expert_calls += engine.experts()->counters().calls;
  }
  run.rows_of_rank.push_back(engine.experts() == nullptr ? 0 : engine.experts()->counters().rows_computed);
}

/// Scored texts and drawn completions of different lengths.
inline std::vector<Request> some_requests() {
  std::mt19937_64 random(2);
  std::vector<Request> requests;
  for (int i = 0; i < 6; ++i) {
    Request& request = requests.emplace_back();
    request.custom_id = std::to_string(i);
    request.input_line = i + 1;
    std::vector<TokenId> tokens;
    for (int t = 0; t < 30 + 7 * i; ++t) tokens.push_back(static_cast<TokenId>(random() % 512));
    request.context = tokens;
    request.kind = i % 2 == 0 ? RequestKind::loglikelihood_rolling : RequestKind::completion;
    request.sampling = {.temperature = 1.0, .max_tokens = 6};
  }
  return requests;
}

/// Rows in place: as on one node; else as if each rank were a node of its own. Runs the requests on `num_ranks` engines; fails the test when the job does not end.
inline EngineRun run_engines(const TestModel& model, const Job& job, int num_ranks, const std::vector<Request>& requests,
                             std::uint64_t seed, int num_slots = 2, Rows way = Rows::in_place) {
  const policy::RankLayout layout =
      policy::decide_layout(num_ranks, job.layout.mode, job.layout.attention_ranks, job.layout.expert_ranks);
  const auto is_in = [](const std::vector<RankId>& ranks, RankId rank) { return std::ranges::find(ranks, rank) != ranks.end(); };
  const comm::RingOptions ring{.slot_bytes = ring_options(model.config, job, 1, Rows::in_place).slot_bytes,
                               .num_slots = num_slots};
  comm::LoopbackNetwork network(num_ranks, ring, [&](RankId from, RankId to) {
    return (is_in(layout.attention_ranks, from) && is_in(layout.expert_ranks, to)) ||
           (is_in(layout.expert_ranks, from) && is_in(layout.attention_ranks, to));
  });
  const auto placement = place_experts(job, model.config, layout);

  EngineRun run;
  std::size_t next = 0;
  const ClaimSource claim = [&]() -> std::optional<std::vector<ParsedLine>> {
    if (next == requests.size()) return std::nullopt;
    return std::vector<ParsedLine>{requests[next++]};
  };
  const RowSink sink = [&](std::vector<Row> rows) {
    run.lines.push_back(rows.front().input_line);
    for (Row& row : rows) run.rows[{row.input_line, row.choice_idx}] = std::move(row);
  };
  std::vector<std::unique_ptr<std::byte[]>> memory;
  std::map<RankId, std::span<std::byte>> exchanges;
  for (int rank = 0; way == Rows::in_place && rank < num_ranks; ++rank) {
    const bool attention = is_in(layout.attention_ranks, RankId(rank));
    const std::size_t bytes = exchange_bytes(job, config_of_rows(job, model.config, *placement, layout.attention_ranks, layout.expert_ranks), attention ? Roles::attention : Roles::expert);
    memory.push_back(std::make_unique_for_overwrite<std::byte[]>(bytes));
    exchanges[RankId(rank)] = {memory.back().get(), bytes};
  }
  PeerMemories peers(model, job, *placement, layout.expert_ranks, num_ranks);
  std::vector<std::unique_ptr<PhaseClock>> clocks;
  std::vector<std::unique_ptr<RankEngine>> engines;
  for (int rank = 0; rank < num_ranks; ++rank) {
    const RankId id(rank);
    const bool attention = is_in(layout.attention_ranks, id), expert = is_in(layout.expert_ranks, id);
    clocks.push_back(std::make_unique<PhaseClock>());
    engines.push_back(std::make_unique<RankEngine>(
        RankEngine::Parts{.job = job,
                          .config = model.config,
                          .tensors = model.tensors,
                          .tokenizer = &model.tokenizer,
                          .chat_template = &model.chat_template,
                          .placement = *placement,
                          .roles = attention && expert ? Roles::both : attention ? Roles::attention : Roles::expert,
                          .attention_ranks = layout.attention_ranks,
                          .expert_ranks = layout.expert_ranks,
                          .transport = network.endpoint(id),
                          .claim = claim,
                          .sink = sink,
                          .exchanges = exchanges,
                          .peers = peers.of(id)},
        *clocks.back(), [](const LoopStatus&) {}));
  }
  std::mt19937_64 random(seed);
  constexpr std::int64_t max_turns = 5'000'000;
  for (; run.turns < max_turns; ++run.turns) {
    if (std::ranges::all_of(engines, [](const auto& engine) { return engine->loop().finished(); })) break;
    auto& engine = engines[random() % engines.size()];
    if (!engine->loop().finished()) engine->loop().turn();
  }
  EXPECT_LT(run.turns, max_turns) << "the job did not end";
  for (int rank = 0; rank < num_ranks; ++rank) {
    add_counters(*engines[static_cast<std::size_t>(rank)], run);
    run.refused += network.endpoint(RankId(rank)).counters().reserve_refused;
  }
  return run;
}

}  // namespace moebius::ranks
