// SPDX-License-Identifier: Apache-2.0
#include "ranks/pipeline_turns.hpp"

#include <algorithm>

#include "base/check.hpp"
#include "base/failure.hpp"

namespace moebius::ranks {

int micro_batches_per_mini_batch(const Job& job) {
  if (job.pipeline.r1 > 0) return job.pipeline.r1;
  return std::max(2, (job.limits.max_tokens_in_flight + job.limits.micro_batch_tokens - 1) / job.limits.micro_batch_tokens);
}

bool asks_solver(const Job::Pipeline& pipeline) { return pipeline.r1 == 0 || pipeline.r2 == 0 || pipeline.order == PipelineOrder::automatic; }

void check_pipeline(const Job& job, const policy::RankLayout& layout) {
  if (job.schedule.execution != Execution::pipeline || !layout.colocated()) return;
  throw Failure{ExitCode::bad_usage, "schedule.execution = \"pipeline\" cannot run here (every rank has both attention and experts, so that neither "
                                     "could go on while the other works) use layout.mode = \"split\" with two ranks or more, or schedule.execution = \"async\""};
}

PipelineTurns::PipelineTurns(const Parts& parts) : parts_(parts) {
  MOEBIUS_EXPECT(parts_.attention == nullptr || parts_.solver != nullptr || !asks_solver(parts_.pipeline));
}

void PipelineTurns::choose(std::span<const std::int32_t> segments) {
  int r2 = parts_.pipeline.r2;
  r1_ = parts_.pipeline.r1;
  order_ = parts_.pipeline.order;
  if (parts_.solver != nullptr) {
    policy::PipelineSolver::MiniBatch batch{.work = parts_.attention->work_of(segments), .segments = static_cast<int>(segments.size())};
    for (const std::int32_t segment : segments) batch.longest_segment = std::max<std::int64_t>(batch.longest_segment, parts_.attention->segment_tokens(segment));
    const policy::PipelineChoice choice = parts_.solver->choose(batch);
    r1_ = choice.r1;
    r2 = choice.r2;
    order_ = choice.order;
  }
  parts_.attention->set_pipeline(r2, order_);
}

bool PipelineTurns::admit(double now, PhaseClock& clock) {
  if (parts_.attention == nullptr || !mini_batch_.empty()) return false;
  const bool changed = parts_.attention->admit(now, clock);
  const std::vector<std::int32_t> segments = parts_.attention->queued_segments(0);
  if (!segments.empty()) cut_mini_batch(segments);
  return changed || !segments.empty();
}

void PipelineTurns::cut_mini_batch(std::span<const std::int32_t> segments) {
  choose(segments);
  first_number_ = next_number_;
  next_number_ += r1_;
  std::int64_t num_tokens = 0, before = 0, last = -1;
  for (const std::int32_t segment : segments) num_tokens += parts_.attention->segment_tokens(segment);
  for (const std::int32_t segment : segments) {  // by where a segment begins: even but for a segment
    const std::int64_t batch = before * r1_ / num_tokens;
    if (batch != last) mini_batch_.emplace_back();
    last = batch;
    mini_batch_.back().push_back(segment);
    before += parts_.attention->segment_tokens(segment);
  }
  layer_ = 0;
  turn_ = 0;
}

bool PipelineTurns::ready() const {
  if (parts_.attention == nullptr) return !running_.shares.empty() || !arrived_.empty();
  if (mini_batch_.empty()) return false;
  return turn_ >= mini_batch_.size() || parts_.attention->all_entered(layer_, mini_batch_[turn_]);
}

void PipelineTurns::run(double now, PhaseClock& clock) {
  if (parts_.attention != nullptr) run_attention(now, clock);
  else run_experts(clock);
}

void PipelineTurns::run_attention(double now, PhaseClock& clock) {
  const std::size_t num_batches = mini_batch_.size();
  if (turn_ < num_batches) parts_.attention->run_some(layer_, number_of(turn_), mini_batch_[turn_], now, clock);
  else parts_.attention->run_shared(LayerId(layer_), number_of(turn_ - num_batches), mini_batch_[turn_ - num_batches], clock);
  next_turn();
}

bool PipelineTurns::shared_apart() const {
  return order_ == PipelineOrder::aass && layer_ < parts_.num_layers && parts_.config.is_moe(LayerId(layer_)) && parts_.config.shared_intermediate_size > 0;
}

void PipelineTurns::next_turn() {
  const std::size_t num_turns = mini_batch_.size() * (shared_apart() ? 2 : 1);
  if (++turn_ < num_turns) return;
  turn_ = 0;
  if (++layer_ > parts_.num_layers) mini_batch_.clear();
}

void PipelineTurns::run_experts(PhaseClock& clock) {
  if (running_.shares.empty()) {
    running_ = arrived_.take();
    std::ranges::reverse(running_.shares);  // taken from the back
    parts_.experts->answer_for(running_.sources);
    for (const PartQueue::Share& share : running_.shares) parts_.experts->bring_forward(running_.layer, share.place, share.rows_of);
  }
  PartQueue::Share& share = running_.shares.back();
  share.num_rows -= parts_.experts->run(running_.layer, share.place, clock, share.num_rows);
  if (share.num_rows == 0) running_.shares.pop_back();
}

}  // namespace moebius::ranks
