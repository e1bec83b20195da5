// SPDX-License-Identifier: Apache-2.0
#include "ranks/run_memory.hpp"

#include <algorithm>
#include <vector>

#include "model/attention_stack.hpp"
#include "ranks/capacity_stage.hpp"
#include "ranks/live_placement.hpp"
#include "ranks/rank_engine.hpp"

namespace moebius::ranks {
namespace {

/// Attention ranks write to expert ranks and back; what a colocated rank sends to itself takes no ring (outbox.hpp). In
/// lock-step all is collective; ranks with whole models send nothing.
comm::WritesTo who_writes(const policy::RankLayout& layout, int num_ranks, Execution execution) {
  if (execution == Execution::lockstep || layout.replicated) return [](RankId, RankId) { return false; };
  std::vector<std::uint8_t> attention(static_cast<std::size_t>(num_ranks)), expert(attention);
  for (const RankId rank : layout.attention_ranks) attention[rank.idx()] = 1;
  for (const RankId rank : layout.expert_ranks) expert[rank.idx()] = 1;
  return [attention = std::move(attention), expert = std::move(expert)](RankId from, RankId to) {
    if (from == to) return false;
    return (attention[from.idx()] != 0 && expert[to.idx()] != 0) || (expert[from.idx()] != 0 && attention[to.idx()] != 0);
  };
}

ModelConfig row_config(const Job& job, const JobSetup& setup) {
  return config_of_rows(job, setup.config, *setup.group_placement, setup.group.attention_ranks, setup.group.expert_ranks);
}

/// In lock-step rows travel by collectives, and ranks with whole models give none away.
std::size_t bytes_of_exchange(const Job& job, const JobSetup& setup) {
  if (job.schedule.execution == Execution::lockstep || setup.layout.replicated) return 0;
  return exchange_bytes(job, row_config(job, setup), setup.roles);
}

comm::RingOptions rings(const Job& job, const JobSetup& setup, bool one_node) {
  const std::size_t most_sources = std::max(setup.group.attention_ranks.size(), setup.group.expert_ranks.size());
  return ring_options(row_config(job, setup), job, most_sources, one_node ? Rows::in_place : Rows::travel);
}

std::unique_ptr<comm::PeerMemory> make_peers(comm::Session& session, const Job& job, const JobSetup& setup) {
  if (!rebalances(job, setup.layout.expert_ranks.size())) return nullptr;
  return std::make_unique<comm::PeerMemory>(
      session, live_bytes(job, setup.config, *setup.placement, setup.layout.expert_ranks, session.rank()));
}

}  // namespace

RunMemory::RunMemory(comm::Session& session, const Job& job, const JobSetup& setup)
    : lockstep_(job.schedule.execution == Execution::lockstep),
      exchanges_(session, bytes_of_exchange(job, setup)),
      window_(session, rings(job, setup, exchanges_.segments().size() == static_cast<std::size_t>(session.num_ranks())),
              who_writes(setup.layout, session.num_ranks(), job.schedule.execution)),
      weights_(session, has_attention(setup.roles) ? model::AttentionStack::weight_bytes(setup.config, job.model.compute) : 0),
      all_to_all_(session),
      peers_(make_peers(session, job, setup)) {}

std::map<RankId, std::span<std::byte>> RunMemory::exchanges() const {
  // Only messages through shared memory order what ranks store in each other's exchange.
  const bool in_use = window_.fast_path() == comm::FastPath::on && std::ranges::any_of(exchanges_.segments(), [](const auto& segment) { return !segment.second.empty(); });
  return in_use ? exchanges_.segments() : std::map<RankId, std::span<std::byte>>();
}

void RunMemory::publish(comm::Session& session) {
  weights_.publish();
  if (peers_ != nullptr) peers_->publish(session);
}

void RunMemory::close() {
  if (peers_ != nullptr) peers_->close();
  all_to_all_.close();
  exchanges_.close();
  weights_.close();
  window_.close();
}

}  // namespace moebius::ranks
