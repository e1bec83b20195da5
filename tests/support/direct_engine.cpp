// SPDX-License-Identifier: Apache-2.0
#include "tests/support/direct_engine.hpp"

#include <algorithm>
#include <cstring>
#include <random>

#include "base/check.hpp"
#include "model/logits_reader.hpp"

namespace moebius::test {
namespace {

std::vector<model::HostedExpert> all_experts(const ModelConfig& config) {
  std::vector<model::HostedExpert> hosted;
  for (int l = 0; l < config.num_layers; ++l) {
    for (int e = 0; config.is_moe(LayerId(l)) && e < config.num_experts; ++e) hosted.push_back({LayerId(l), ExpertId(e)});
  }
  return hosted;
}

}  // namespace

void DirectRun::append(const DirectRun& next) {
  hidden.resize(next.hidden.size());
  for (std::size_t l = 0; l < hidden.size(); ++l) hidden[l].insert(hidden[l].end(), next.hidden[l].begin(), next.hidden[l].end());
  logits.insert(logits.end(), next.logits.begin(), next.logits.end());
}

DirectEngine::DirectEngine(const ModelConfig& config, const TensorLookup& tensors, DirectEngineOptions options)
    : config_(config),
      options_(std::move(options)),
      attention_(config, options_.compute, tensors, options_.max_step_tokens),
      experts_(config, options_.compute, tensors, all_experts(config), options_.expert_rows),
      kv_(attention_.kv_layout(), config.num_layers, options_.num_kv_blocks),
      states_(config, options_.compute, options_.max_step_tokens) {}

DirectEngine::Sequence DirectEngine::begin(int max_tokens) {
  Sequence sequence;
  sequence.num_reserved = model::KvCache::blocks_for(max_tokens);
  MOEBIUS_EXPECT(kv_.reserve(sequence.num_reserved));
  return sequence;
}

DirectEngine::Sequence DirectEngine::fork(const Sequence& parent, int num_tokens, int max_tokens) {
  Sequence child;
  child.num_reserved = model::KvCache::blocks_for(max_tokens) - num_tokens / model::KvCache::block_tokens;
  MOEBIUS_EXPECT(kv_.reserve(child.num_reserved));
  child.table = kv_.fork(parent.table, num_tokens);
  child.num_tokens = num_tokens;
  return child;
}

void DirectEngine::end(Sequence& sequence) {
  kv_.free(sequence.table);
  kv_.release(sequence.num_reserved);
  sequence = {};
}

void DirectEngine::shuffle(std::vector<std::int32_t>& ids) {
  if (options_.row_seed == 0) return;
  std::mt19937_64 random(options_.row_seed + num_shuffles_++);
  std::ranges::shuffle(ids, random);
}

std::vector<float> DirectEngine::residuals(std::span<const std::int32_t> rows) const {
  std::vector<float> values;
  for (const std::int32_t row : rows) {
    const float* residual = states_.residual(row);
    values.insert(values.end(), residual, residual + config_.hidden_size);
  }
  return values;
}

DirectRun DirectEngine::step(std::span<const Piece> pieces) {
  std::vector<TokenId> tokens;
  std::vector<int> positions;
  std::vector<model::SegmentRef> segments;
  for (const auto& [sequence, piece] : pieces) {
    const int num_tokens = static_cast<int>(piece.size());
    segments.push_back({&sequence->table, sequence->num_tokens, num_tokens});
    for (int i = 0; i < num_tokens; ++i) positions.push_back(sequence->num_tokens + i);
    tokens.insert(tokens.end(), piece.begin(), piece.end());
    sequence->num_tokens += num_tokens;
    kv_.append_until(sequence->table, sequence->num_tokens);
  }
  std::vector<std::int32_t> rows(tokens.size());
  states_.acquire(rows);
  shuffle(rows);
  attention_.embed(states_, rows, tokens);
  DirectRun result;
  for (int l = 0; l < config_.num_layers; ++l) {
    if (options_.before_layer) options_.before_layer(LayerId(l), rows, states_);
    result.hidden.push_back(residuals(rows));
    layer(LayerId(l), {.rows = rows, .positions = positions, .segments = segments});
  }
  if (options_.before_layer) options_.before_layer(LayerId(config_.num_layers), rows, states_);
  const std::span<const float> last = attention_.final_norm(rows, states_);
  result.hidden.emplace_back(last.begin(), last.end());
  attention_.lm_head(rows, states_, [&](int i, std::span<const float> logits) {
    MOEBIUS_EXPECT(result.logits.size() == static_cast<std::size_t>(i) * logits.size());
    result.logits.insert(result.logits.end(), logits.begin(), logits.end());
  });
  states_.release(rows);
  return result;
}

void DirectEngine::layer(LayerId layer, const model::MicroBatch& batch) {
  attention_.attend(layer, batch, states_, kv_);
  if (!config_.is_moe(layer)) return attention_.dense_mlp(layer, batch.rows, states_);
  attention_.route(layer, batch.rows, states_);
  experts(layer, batch.rows);
  attention_.add_shared_experts(layer, batch.rows, states_);
  attention_.combine(layer, batch.rows, states_);
}

void DirectEngine::experts(LayerId layer, std::span<const std::int32_t> rows) {
  const auto k = static_cast<std::size_t>(config_.experts_per_token), max_rows = static_cast<std::size_t>(options_.expert_rows);
  std::vector<std::vector<std::int32_t>> queues(static_cast<std::size_t>(config_.num_experts));  // [expert] i * k + k_idx
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::int32_t* ids = states_.topk_ids(rows[i]);
    for (std::size_t k_idx = 0; k_idx < k; ++k_idx) {
      MOEBIUS_EXPECT(k_idx == 0 || ids[k_idx - 1] < ids[k_idx]);
      queues.at(static_cast<std::size_t>(ids[k_idx])).push_back(static_cast<std::int32_t>(i * k + k_idx));
    }
  }
  std::vector<const std::byte*> from;
  std::vector<float*> to;
  for (std::size_t expert = 0; expert < queues.size(); ++expert) {
    shuffle(queues[expert]);
    for (std::size_t begin = 0; begin < queues[expert].size(); begin += max_rows) {
      const auto call = std::span(queues[expert]).subspan(begin, std::min(max_rows, queues[expert].size() - begin));
      from.clear();
      to.clear();
      for (const std::int32_t entry : call) {
        const auto pair = static_cast<std::size_t>(entry);
        from.push_back(states_.expert_input(rows[pair / k]));
        to.push_back(states_.expert_output(rows[pair / k], static_cast<int>(pair % k)));
      }
      experts_.forward(layer, PlaceId(expert), from, to);  // every expert is hosted, in order: a place is an expert id
    }
  }
}

DirectRun DirectEngine::run(std::span<const TokenId> tokens, int chunk_tokens) {
  const std::size_t chunk = chunk_tokens == 0 ? tokens.size() : static_cast<std::size_t>(chunk_tokens);
  Sequence sequence = begin(static_cast<int>(tokens.size()));
  DirectRun result;
  for (std::size_t first = 0; first < tokens.size(); first += chunk) {
    const Piece piece{&sequence, tokens.subspan(first, std::min(chunk, tokens.size() - first))};
    result.append(step({&piece, 1}));
  }
  end(sequence);
  return result;
}

std::vector<TokenId> DirectEngine::greedy(std::span<const TokenId> prompt, int n) {
  Sequence sequence = begin(static_cast<int>(prompt.size()) + n);
  std::vector<TokenId> next(prompt.begin(), prompt.end()), generated;
  model::LogitsReader reader;
  while (static_cast<int>(generated.size()) < n) {
    const Piece piece{&sequence, next};
    const DirectRun run = step({&piece, 1});
    reader.read(std::span(run.logits).last(static_cast<std::size_t>(config_.vocab_size)));
    next = {reader.argmax()};
    generated.push_back(reader.argmax());
  }
  end(sequence);
  return generated;
}

std::vector<float> DirectEngine::token_logprobs(const DirectRun& run, std::span<const TokenId> tokens) const {
  const auto vocab = static_cast<std::size_t>(config_.vocab_size);
  std::vector<float> logprobs;
  model::LogitsReader reader;
  for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
    reader.read(std::span(run.logits).subspan(i * vocab, vocab));
    logprobs.push_back(reader.log_prob(tokens[i + 1]));
  }
  return logprobs;
}

}  // namespace moebius::test
