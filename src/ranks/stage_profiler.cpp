// SPDX-License-Identifier: Apache-2.0
#include "ranks/stage_profiler.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <optional>

#include "base/clock.hpp"
#include "base/failure.hpp"
#include "comm/ring_transport.hpp"
#include "io/model_files.hpp"
#include "io/safetensors.hpp"
#include "model/attention_stack.hpp"
#include "policy/device_model.hpp"
#include "ranks/agreement.hpp"
#include "ranks/rank_engine.hpp"

namespace moebius::ranks {
namespace {

/// Layers that are measured in turn, so that their weights come from memory as in a run.
constexpr int most_layers = 4;
/// KV positions that the measurement may fill in each layer.
constexpr int most_positions = 8192;

/// Median seconds of `body`, called after as many warm-ups as there is time for.
template <class Body>
double median_s(const StageProfileOptions& options, const Body& body) {
  const double first_s = now_s();
  body(0);
  const double once_s = std::max(now_s() - first_s, 1e-9);
  const double affordable = options.most_point_s / once_s;
  const int warm_ups = std::clamp(static_cast<int>(affordable / 3), 0, options.num_warm_ups);
  const int repeats = std::clamp(static_cast<int>(affordable * 2 / 3), 3, options.num_repeats);
  for (int i = 0; i < warm_ups; ++i) body(i + 1);
  std::vector<double> seconds;
  for (int i = 0; i < repeats; ++i) {
    const double begin_s = now_s();
    body(warm_ups + i + 1);
    seconds.push_back(now_s() - begin_s);
  }
  std::ranges::nth_element(seconds, seconds.begin() + repeats / 2);
  return seconds[static_cast<std::size_t>(repeats / 2)];
}

std::vector<int> row_counts(int most) {
  std::vector<int> counts;
  for (int rows = 1; rows < most; rows *= 2) counts.push_back(rows);
  counts.push_back(most);
  return counts;
}

/// An attention rank's stages, on made-up tokens.
class StageBench {
 public:
  StageBench(const Job& job, const ModelConfig& config, const TensorLookup& tensors)
      : config_(config),
        limits_(resolve_limits(job, config)),
        stack_(config, job.model.compute, tensors, limits_.micro_batch_tokens),
        states_(config, job.model.compute, limits_.micro_batch_tokens) {
    for (int layer = 0; layer < config.num_layers; ++layer) (config.is_moe(LayerId(layer)) ? moe_ : dense_).push_back(layer);
    moe_.resize(std::min<std::size_t>(moe_.size(), most_layers));
    dense_.resize(std::min<std::size_t>(dense_.size(), most_layers));
    const int num_layers = (moe_.empty() ? 0 : moe_.back()) + 1;
    num_positions_ = std::min<int>(most_positions, static_cast<int>(std::max<std::int64_t>(limits_.kv_tokens, model::KvCache::block_tokens)));
    kv_ = std::make_unique<model::KvCache>(stack_.kv_layout(), num_layers, num_positions_ / model::KvCache::block_tokens);
    rows_.resize(static_cast<std::size_t>(limits_.micro_batch_tokens));
    states_.acquire(rows_);
    std::vector<TokenId> tokens(rows_.size());
    for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<TokenId>(i % static_cast<std::size_t>(config.vocab_size));
    stack_.embed(states_, rows_, tokens);
  }

  /// `sequences` segments of `tokens` tokens behind `context` positions each; nothing where that is too large.
  std::optional<policy::CostSample> attention(int sequences, int tokens, int context, const StageProfileOptions& options) {
    const int num_rows = sequences * tokens, block = model::KvCache::block_tokens;
    const std::int64_t blocks = std::int64_t{sequences} * ((context + tokens + block - 1) / block);
    if (num_rows > limits_.micro_batch_tokens || blocks > kv_->num_blocks() || context + tokens > config_.max_position_embeddings || moe_.empty()) return std::nullopt;
    if (!kv_->reserve(blocks)) return std::nullopt;
    std::vector<model::KvTable> tables(static_cast<std::size_t>(sequences));
    std::vector<model::SegmentRef> segments;
    std::vector<int> positions;
    policy::AttentionWork work;
    for (model::KvTable& table : tables) {
      kv_->append_until(table, context + tokens);
      segments.push_back({&table, context, tokens});
      for (int i = 0; i < tokens; ++i) positions.push_back(context + i);
      work.add_segment(context, tokens, 0);
    }
    const auto rows = std::span<const std::int32_t>(rows_).first(static_cast<std::size_t>(num_rows));
    const model::MicroBatch batch{.rows = rows, .positions = positions, .segments = segments};
    const double seconds = median_s(options, [&](int i) {
      const LayerId layer(moe_[static_cast<std::size_t>(i) % moe_.size()]);
      stack_.attend(layer, batch, states_, *kv_);
      stack_.route(layer, rows, states_);
      stack_.combine(layer, rows, states_);
      reset_some(rows, i);
    });
    std::int64_t freed = 0;
    for (model::KvTable& table : tables) freed += kv_->free(table);
    kv_->release(freed);
    return policy::CostSample{policy::attention_terms(num_rows, static_cast<double>(work.score_pairs), static_cast<double>(work.kv_positions)), seconds};
  }

  policy::CostSample shared(int num_rows, const StageProfileOptions& options) {
    return rows_stage(num_rows, options, moe_, [&](LayerId layer, std::span<const std::int32_t> rows) { stack_.add_shared_experts(layer, rows, states_); });
  }
  policy::CostSample dense(int num_rows, const StageProfileOptions& options) {
    return rows_stage(num_rows, options, dense_, [&](LayerId layer, std::span<const std::int32_t> rows) { stack_.dense_mlp(layer, rows, states_); });
  }
  policy::CostSample head(int num_rows, const StageProfileOptions& options) {
    std::vector<model::LogitsSummary> summaries(static_cast<std::size_t>(num_rows));
    std::vector<model::WantedLogit> wanted;
    return rows_stage(num_rows, options, moe_, [&](LayerId, std::span<const std::int32_t> rows) { stack_.summarise_head(rows, states_, summaries, wanted); });
  }
  [[nodiscard]] bool has_dense() const { return !dense_.empty(); }
  [[nodiscard]] int most_rows() const { return limits_.micro_batch_tokens; }

 private:
  /// Residuals that stages added to again and again would overflow.
  void reset_some(std::span<const std::int32_t> rows, int i) {
    constexpr int seldom = 8;
    if (i % seldom != 0) return;
    for (const std::int32_t row : rows) std::fill_n(states_.residual(row), states_.hidden_size(), 0.5F);
  }
  template <class Stage>
  policy::CostSample rows_stage(int num_rows, const StageProfileOptions& options, const std::vector<int>& layers, const Stage& stage) {
    const auto rows = std::span<const std::int32_t>(rows_).first(static_cast<std::size_t>(num_rows));
    for (const LayerId layer : {LayerId(layers.front())}) {
      if (config_.is_moe(layer)) stack_.route(layer, rows, states_);
    }
    const double seconds = median_s(options, [&](int i) {
      stage(LayerId(layers[static_cast<std::size_t>(i) % layers.size()]), rows);
      reset_some(rows, i);
    });
    return {policy::gemm_terms(num_rows), seconds};
  }

  const ModelConfig& config_;
  Job::Limits limits_;
  model::AttentionStack stack_;
  model::TokenStates states_;
  std::unique_ptr<model::KvCache> kv_;
  std::vector<std::int32_t> rows_;
  std::vector<int> moe_, dense_;
  int num_positions_ = 0;
};

/// Prompts of several lengths and places, and generations of several contexts.
std::vector<policy::CostSample> attention_samples(StageBench& bench, const StageProfileOptions& options) {
  std::vector<policy::CostSample> samples;
  const auto add = [&](int sequences, int tokens, int context) {
    if (auto sample = bench.attention(sequences, tokens, context, options)) samples.push_back(std::move(*sample));
  };
  for (const int context : {0, 128, 512, 1536}) {
    for (const int tokens : {8, 32, 64}) {
      for (const int sequences : {1, 4}) add(sequences, tokens, context);
    }
    for (const int sequences : {1, 4, 16, 64}) add(sequences, 1, std::max(context, 16));
  }
  return samples;
}

/// Messages of several sizes to and fro; half of that is one way.
class LinkBench {
 public:
  LinkBench(comm::Transport& transport, RankId peer) : transport_(transport), peer_(peer) {}
  std::vector<policy::CostSample> run(const StageProfileOptions& options, bool first) {
    std::vector<policy::CostSample> samples;
    for (std::size_t bytes = 64; bytes <= transport_.max_payload_bytes(); bytes *= 4) {
      std::vector<double> seconds;
      for (int i = -options.num_warm_ups; i < options.num_repeats; ++i) {
        const double begin_s = now_s();
        if (first) send(bytes);
        receive();
        if (!first) send(bytes);
        if (i >= 0) seconds.push_back((now_s() - begin_s) / 2);
      }
      std::ranges::nth_element(seconds, seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2));
      samples.push_back({policy::link_terms(static_cast<double>(bytes)), seconds[seconds.size() / 2]});
    }
    return samples;
  }

 private:
  void send(std::size_t bytes) {
    std::span<std::byte> slot;
    while ((slot = transport_.try_reserve(peer_, bytes)).empty()) transport_.progress();
    std::memset(slot.data(), 1, bytes);
    transport_.commit(peer_, {}, bytes);
    transport_.flush();
  }
  void receive() {
    std::size_t got = 0;
    std::vector<std::byte> copy(transport_.max_payload_bytes());
    const comm::MessageHandler take = [&](RankId, const comm::MessageHeader&, std::span<const std::byte> payload) { std::memcpy(copy.data(), payload.data(), payload.size()); };
    while (got == 0) {
      got = transport_.drain(take, 1);
      transport_.flush();
      transport_.progress();
    }
  }
  comm::Transport& transport_;
  RankId peer_;
};

/// The first rank of each kind that rank 0 can be paired with; -1: there is none.
RankId partner(const comm::Session& session, bool same_node) {
  for (int rank = 1; rank < session.num_ranks(); ++rank) {
    if ((session.node_idx_of(RankId(rank)) == session.node_idx_of(RankId(0))) == same_node) return RankId(rank);
  }
  return RankId();
}

std::vector<policy::CostSample> link_samples(comm::Session& session, const ModelConfig& config, const Job& job, bool same_node, const StageProfileOptions& options) {
  const RankId peer = partner(session, same_node), self = session.rank();
  if (!peer.valid()) return {};
  comm::Window window(session, ring_options(config, job, 1, Rows::travel),
                      [&](RankId from, RankId to) { return (from == RankId(0) && to == peer) || (from == peer && to == RankId(0)); });
  std::vector<policy::CostSample> samples;
  if (self == RankId(0) || self == peer) {
    comm::RingTransport transport(window);
    samples = LinkBench(transport, self == RankId(0) ? peer : RankId(0)).run(options, self == RankId(0));
  }
  session.barrier();
  window.close();
  return samples;
}

MeasuredStage fitted(std::string name, std::vector<std::string> terms, std::vector<policy::CostSample> samples) {
  MeasuredStage stage{.name = std::move(name), .terms = std::move(terms), .samples = std::move(samples), .fit = {}};
  stage.fit = policy::fit_relative(stage.samples);
  return stage;
}

}  // namespace

std::vector<MeasuredStage> profile_stages(comm::Session& session, const Job& job, const io::SpeedProfile& experts, const StageProfileOptions& options) {
  ModelConfig config;
  std::unique_ptr<io::Checkpoint> checkpoint;
  std::unique_ptr<StageBench> bench;
  together(session, [&] {
    config = io::read_model_config(job.model.path);
    checkpoint = std::make_unique<io::Checkpoint>(io::Checkpoint::open(job.model.path));
    bench = std::make_unique<StageBench>(job, config, checkpoint->lookup());
  });
  session.barrier();
  std::vector<MeasuredStage> stages;
  stages.push_back(fitted("attention", {"1", "rows", "pairs of query and key", "positions read"}, attention_samples(*bench, options)));
  const auto add_rows = [&](const char* name, auto measure) {
    session.barrier();
    std::vector<policy::CostSample> samples;
    for (const int rows : row_counts(bench->most_rows())) samples.push_back(measure(rows));
    stages.push_back(fitted(name, {"1", "rows"}, std::move(samples)));
  };
  if (config.shared_intermediate_size > 0) add_rows("shared experts", [&](int rows) { return bench->shared(rows, options); });
  if (bench->has_dense()) add_rows("dense layer", [&](int rows) { return bench->dense(rows, options); });
  add_rows("LM head", [&](int rows) { return bench->head(rows, options); });
  bench.reset();
  for (const bool same_node : {true, false}) {
    auto samples = link_samples(session, config, job, same_node, options);
    if (session.rank() == RankId(0) && !samples.empty()) stages.push_back(fitted(same_node ? "link in a node" : "link between nodes", {"1", "bytes"}, std::move(samples)));
  }
  if (session.rank() != RankId(0)) return {};
  std::vector<policy::CostSample> calls;
  for (const auto& point : experts.curves.front()) calls.push_back({policy::gemm_terms(point.rows), point.seconds});
  stages.push_back(fitted("expert call", {"1", "rows"}, std::move(calls)));
  return stages;
}

StageCosts costs_of(const std::vector<MeasuredStage>& stages) {
  StageCosts costs;
  const auto copy = [](const policy::CostFit& fit, auto& to) { std::ranges::copy(fit.coefficients, to.begin()); };
  for (const MeasuredStage& stage : stages) {
    if (stage.name == "attention") copy(stage.fit, costs.attention);
    if (stage.name == "shared experts") copy(stage.fit, costs.shared);
    if (stage.name == "dense layer") copy(stage.fit, costs.dense);
    if (stage.name == "LM head") copy(stage.fit, costs.head);
    if (stage.name == "expert call") copy(stage.fit, costs.expert);
    if (stage.name == "link in a node") copy(stage.fit, costs.link_in_node);
    if (stage.name == "link between nodes") copy(stage.fit, costs.link_between_nodes);
  }
  return costs;
}

}  // namespace moebius::ranks
