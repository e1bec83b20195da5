// SPDX-License-Identifier: Apache-2.0
#include "ranks/recordings.hpp"

#include <algorithm>
#include <cstring>

#include "base/clock.hpp"

namespace moebius::ranks {
namespace {

/// 40 bytes each, and half as many transfers of 64 bytes: 18 MiB in a rank, 144 MiB in rank 0.
constexpr std::size_t most_intervals_of_a_rank = std::size_t{1} << 18, most_intervals_of_a_job = std::size_t{1} << 21;
/// 150 bytes each. Enough for a curve as wide as a page.
constexpr std::size_t most_points_of_a_rank = 600, fewest_points_of_a_rank = 60, most_points_of_a_job = std::size_t{1} << 17;
/// Short runs have a curve too; long ones come to whole seconds by doubling.
constexpr double first_period_s = 0.01;

}  // namespace

std::size_t max_intervals(int num_ranks) {
  return std::min(most_intervals_of_a_rank, most_intervals_of_a_job / static_cast<std::size_t>(num_ranks));
}

std::size_t max_series_points(int num_ranks) {
  return std::clamp(most_points_of_a_job / static_cast<std::size_t>(num_ranks), fewest_points_of_a_rank, most_points_of_a_rank);
}

void Recordings::begin(comm::Session& session, const Job& job, RankEngine& engine) {
  origin_s_ = now_s();
  if (session.num_nodes() == 1) {
    std::vector<std::byte> bytes(sizeof(origin_s_));
    std::memcpy(bytes.data(), &origin_s_, sizeof(origin_s_));
    session.broadcast(bytes);
    std::memcpy(&origin_s_, bytes.data(), sizeof(origin_s_));
  }
  engine_ = &engine;
  clock_.mark(Phase::idle);
  for (std::size_t i = 0; i < num_phases; ++i) before_[i] = clock_.total(static_cast<Phase>(i)).seconds;
  if (engine.pace().slow()) clock_.go_by([this, &pace = engine.pace()] { return std::max(origin_s_, pace.time_s()); });
  if (job.run.timeline) {
    timeline_.emplace(origin_s_, max_intervals(session.num_ranks()));
    clock_.record_in(&*timeline_);
    engine.record_in(&*timeline_);
  }
  series_.emplace(first_period_s, max_series_points(session.num_ranks()));
  take_point();
  begin_s_ = clock_.last_mark_s();
}

void Recordings::take_point() {
  SeriesPoint point{.time_s = clock_.last_mark_s() - origin_s_};
  for (std::size_t i = 0; i < num_phases; ++i) point.seconds[i] = clock_.total(static_cast<Phase>(i)).seconds - before_[i];
  if (engine_->attention() != nullptr) {
    point.tokens_fed = engine_->workload()->counters().tokens_fed;
    point.tokens_out = engine_->workload()->counters().tokens_out;
    point.queued_tokens = engine_->attention()->num_queued();
  }
  if (engine_->experts() != nullptr) {
    const ExpertCounters& experts = engine_->experts()->counters();
    point.expert_rows = experts.rows_computed;
    point.queued_rows = experts.rows_received - experts.rows_computed;
  }
  series_->add(point);
}

void Recordings::end() {
  take_point();
  clock_.record_in(nullptr);
  clock_.go_by({});
  engine_->record_in(nullptr);
}

}  // namespace moebius::ranks
