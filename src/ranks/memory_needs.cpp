// SPDX-License-Identifier: Apache-2.0
#include "ranks/memory_needs.hpp"

#include <algorithm>
#include <cstring>

#include "io/model_files.hpp"
#include "model/attention_stack.hpp"
#include "model/expert_stack.hpp"
#include "ranks/available_memory.hpp"
#include "ranks/capacity_stage.hpp"
#include "ranks/expert_plan.hpp"
#include "ranks/rank_engine.hpp"

namespace moebius::ranks {
namespace {

/// A rank without a model: MPI, HDF5, tokenizer and code; 55 to 65 MiB with Open MPI 4.1 and the tiny model.
constexpr std::int64_t program_bytes = std::int64_t{64} << 20;
constexpr const char* more_ranks = "use more expert ranks on more nodes, or compute = \"bf16\"";
constexpr const char* fewer_tokens = "lower limits.max_tokens_in_flight";

bool is_in(const std::vector<RankId>& ranks, RankId rank) { return std::ranges::find(ranks, rank) != ranks.end(); }

std::int64_t times(std::int64_t count, std::size_t bytes) {
  std::int64_t product = 0;
  // Limits of a job file may be any number: what overflows is more than any machine has.
  return __builtin_mul_overflow(count, static_cast<std::int64_t>(bytes), &product) ? std::int64_t{1} << 62 : product;
}

/// Rows of a micro-batch between two kernels, and logits of a few rows; a rotary table. Never less than what
/// AttentionStack takes, and not much more.
std::int64_t attention_scratch(const ModelConfig& config, ComputeType compute, const Job::Limits& limits) {
  const kernels::KvLayout kv = model::kv_layout(config, compute);
  const std::int64_t hidden = config.hidden_size, heads = config.num_heads;
  const std::int64_t queries = heads * config.head_dim, mixed = heads * kv.value_dim;
  std::int64_t projected = queries + std::int64_t{2} * config.num_kv_heads * config.head_dim, latent = 0;
  if (config.is_mla()) {
    projected = std::max<std::int64_t>(queries, config.q_lora_rank) + config.kv_lora_rank + config.qk_rope_head_dim;
    latent = config.q_lora_rank + queries + heads * kv.key_dim + heads * config.v_head_dim;
  }
  const std::int64_t widest = std::max({hidden, projected, queries, mixed, heads * config.v_head_dim});
  const bool any_dense = std::ranges::find(config.moe_layer, 0) != config.moe_layer.end();
  const std::int64_t ffn = 3 * std::max(any_dense ? config.intermediate_size : 0, config.shared_intermediate_size);
  const std::int64_t row = 2 * hidden + projected + mixed + latent + widest + config.num_experts + ffn + 32;
  return times(limits.micro_batch_tokens, static_cast<std::size_t>(row) * 4) + times(config.vocab_size, 16 * 4) +
         times(config.max_position_embeddings, static_cast<std::size_t>(config.rope_dim()) * 4);
}

void add_attention(const Job::Limits& limits, const ModelConfig& config, const ModelConfig& row_config, ComputeType compute, comm::FastPath sharing,
                   policy::RankMemory& rank) {
  const auto add = [&](const char* kind, std::int64_t bytes, const char* remedy) { rank.own.push_back({kind, bytes, remedy}); };
  const policy::MemoryNeed weights{"attention weights", static_cast<std::int64_t>(model::AttentionStack::weight_bytes(config, compute)),
                                   "use fewer attention ranks on a node, or compute = \"bf16\""};
  (sharing == comm::FastPath::on ? rank.shared : rank.own).push_back(weights);
  const std::size_t kv_block = model::KvCache::bytes(model::kv_layout(config, compute), config.num_layers, 1);
  add("KV cache", times((limits.kv_tokens + model::KvCache::block_tokens - 1) / model::KvCache::block_tokens, kv_block),
      "lower limits.kv_tokens");
  add("tokens in flight", times(limits.max_tokens_in_flight, model::TokenStates::bytes(row_config, compute, 1)), fewer_tokens);
  add("scratch", attention_scratch(config, compute, limits), "lower limits.micro_batch_tokens");
}

void add_experts(const Job::Limits& limits, const ModelConfig& config, ComputeType compute, std::int64_t num_sources,
                 std::size_t num_hosted, policy::RankMemory& rank) {
  const auto hidden = static_cast<std::size_t>(config.hidden_size);
  rank.own.push_back({"expert weights", times(static_cast<std::int64_t>(num_hosted), model::ExpertStack::expert_bytes(config, compute)),
                      more_ranks});
  rank.own.push_back({"expert queues", times(num_sources * limits.max_tokens_in_flight, hidden * element_bytes(compute)), fewer_tokens});
  rank.own.push_back({"scratch", times(limits.expert_rows, hidden * 8 + static_cast<std::size_t>(config.moe_intermediate_size) * 12),
                      "lower limits.expert_rows"});
}

}  // namespace

std::vector<policy::RankMemory> memory_needs(const Job& job, const ModelConfig& config, const policy::RankLayout& layout,
                                             const policy::ExpertPlacement& placement, comm::FastPath sharing,
                                             const std::function<int(RankId)>& node_of) {
  const Job::Limits limits = resolve_limits(job, config);
  const ComputeType compute = job.model.compute;
  const std::size_t num_attention = layout.attention_ranks.size(), num_expert = layout.expert_ranks.size();
  const policy::RankLayout group = policy::exchange_group(layout, layout.attention_ranks.front());
  const ModelConfig row_config = config_of_rows(job, config, placement, group.attention_ranks, group.expert_ranks);
  const std::size_t ring_bytes = comm::ring_bytes(ring_options(row_config, job, std::max(num_attention, num_expert), Rows::travel));
  std::vector<RankId> all = layout.attention_ranks;
  if (!layout.colocated()) all.insert(all.end(), layout.expert_ranks.begin(), layout.expert_ranks.end());
  std::vector<policy::RankMemory> needs;
  for (const RankId id : all) {
    policy::RankMemory rank{.rank = id, .node_idx = node_of(id), .own = {{"program", program_bytes, ""}}, .shared = {}};
    const bool attention = is_in(layout.attention_ranks, id), expert = is_in(layout.expert_ranks, id);
    if (attention) add_attention(limits, config, row_config, compute, sharing, rank);
    if (expert) {
      const auto stored = [&](RankId source) {  // rows of the others stay where they are
        return source != id && !layout.replicated && (sharing == comm::FastPath::off || node_of(source) != node_of(id));
      };
      add_experts(limits, config, compute, std::ranges::count_if(layout.attention_ranks, stored),
                  placement.hosted(id).size() + (rebalances(job, num_expert) ? static_cast<std::size_t>(job.rebalance.spare_places) : 0), rank);
    }
    const std::size_t num_writers = layout.replicated ? 0 : (attention ? num_expert : 0) + (expert ? num_attention : 0) - (attention && expert ? 2 : 0);
    rank.own.push_back({"rings", times(static_cast<std::int64_t>(num_writers), ring_bytes), "use fewer ranks"});
    needs.push_back(std::move(rank));
  }
  return needs;
}

policy::PlanMemory plan_memory_of(const Job& job, const ModelConfig& config, comm::FastPath sharing) {
  const Job::Limits limits = resolve_limits(job, config);
  const ComputeType compute = job.model.compute;
  policy::PlanMemory memory{.of_any = {{"program", program_bytes, ""}},
                            .expert_bytes = static_cast<std::int64_t>(model::ExpertStack::expert_bytes(config, compute)),
                            .moe_layers = static_cast<int>(std::ranges::count(config.moe_layer, 1)),
                            .num_experts = config.num_experts};
  policy::RankMemory attention, experts;
  add_attention(limits, config, config, compute, comm::FastPath::off, attention);
  memory.of_attention = attention.own;
  add_experts(limits, config, compute, sharing == comm::FastPath::off ? 1 : 0, 0, experts);
  for (const policy::MemoryNeed& need : experts.own) {
    if (need.kind == "expert queues") memory.queue_bytes_of_source = need.bytes;
    if (need.kind == "scratch") memory.of_experts.push_back(need);
  }
  memory.ring_bytes = [config, job](int sources) {
    return static_cast<std::int64_t>(comm::ring_bytes(ring_options(config, job, static_cast<std::size_t>(sources), Rows::travel)));
  };
  if (sharing == comm::FastPath::on) memory.shared_kind = "attention weights";
  return memory;
}

std::vector<policy::NodePlan> plan_on_one_node(const Job& job, int num_ranks) {
  const ModelConfig config = io::read_model_config(job.model.path);
  const policy::RankLayout layout =
      policy::decide_layout(num_ranks, job.layout.mode, job.layout.attention_ranks, job.layout.expert_ranks);
  const auto placement = place_experts(job, config, layout);
  const auto needs = memory_needs(job, config, layout, *placement, comm::fast_path_from_environment(), [](RankId) { return 0; });
  return policy::plan_memory(needs, std::vector<policy::NodeMemory>{available_memory(1.0)});
}

void check_memory(const std::vector<policy::RankMemory>& needs, const std::vector<policy::NodeMemory>& available) {
  if (const auto message = policy::refusal(policy::plan_memory(needs, available))) throw Failure{ExitCode::does_not_fit, *message};
}

std::vector<policy::NodeMemory> gather_available_memory(comm::Session& session) {
  const double share = static_cast<double>(session.ranks_on_my_node().size()) / session.memory_node().num_ranks();
  const policy::NodeMemory mine = available_memory(share);
  std::vector<std::byte> bytes(sizeof(std::int64_t) + mine.limit.size());
  std::memcpy(bytes.data(), &mine.available_bytes, sizeof(std::int64_t));
  std::memcpy(bytes.data() + sizeof(std::int64_t), mine.limit.data(), mine.limit.size());
  const auto gathered = session.gather_to_root(bytes);
  std::vector<policy::NodeMemory> nodes(gathered.empty() ? 0 : static_cast<std::size_t>(session.num_nodes()));
  for (std::size_t rank = gathered.size(); rank-- > 0;) {  // the lowest rank of a node speaks for it
    policy::NodeMemory& node = nodes[static_cast<std::size_t>(session.node_idx_of(RankId(static_cast<int>(rank))))];
    std::memcpy(&node.available_bytes, gathered[rank].data(), sizeof(std::int64_t));
    node.limit.assign(reinterpret_cast<const char*>(gathered[rank].data()) + sizeof(std::int64_t),
                      gathered[rank].size() - sizeof(std::int64_t));
  }
  return nodes;
}

}  // namespace moebius::ranks
