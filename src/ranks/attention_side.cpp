// SPDX-License-Identifier: Apache-2.0
#include "ranks/attention_side.hpp"

#include <algorithm>
#include <cstring>

#include "base/check.hpp"
#include "base/clock.hpp"
#include "policy/pipeline_schedule.hpp"

namespace moebius::ranks {

namespace {

/// Places of a row that it does not use hold -1.
bool is_expert(std::int32_t id) { return id >= 0; }

/// Rows of an expert call from which on arithmetic and not the reading of weights sets its time.
constexpr int compute_bound_rows = 16;

}  // namespace

AttentionSide::AttentionSide(const Parts& parts, StageMap stages, int max_micro_batch_tokens)
    : parts_(parts),
      stages_(stages),
      max_micro_batch_tokens_(max_micro_batch_tokens),
      queues_(static_cast<std::size_t>(parts.config.num_layers) + 1),
      queued_tokens_(queues_.size(), 0),
      under_way_tokens_(queues_.size(), 0),
      held_(queues_.size(), 0),
      enough_tokens_(std::int64_t{compute_bound_rows} * parts.config.num_experts / std::max(parts.config.experts_per_token, 1)),
      segment_of_row_(static_cast<std::size_t>(parts.states.capacity()), -1),
      rows_free_(parts.states.capacity()) {}

bool AttentionSide::admit(double now, PhaseClock& clock) {
  bool changed = parts_.workload.admit();
  while (auto piece = parts_.workload.next_piece(rows_free_)) {
    changed = true;
    const std::int32_t idx = new_segment(*piece);
    const auto first = piece->sequence->tokens.begin() + piece->begin;
    new_tokens_.assign(first, first + piece->num_tokens);
    clock.mark(Phase::admit);
    parts_.stack.embed(parts_.states, segment(idx).rows, new_tokens_);
    clock.mark(Phase::attention);
    make_ready(idx, 0, now);
  }
  if (changed) clock.mark(Phase::admit);
  return changed;
}

std::int32_t AttentionSide::new_segment(const Workload::Piece& piece) {
  if (free_segments_.empty()) {
    free_segments_.push_back(static_cast<std::int32_t>(segments_.size()));
    segments_.emplace_back();
  }
  const std::int32_t idx = free_segments_.back();
  free_segments_.pop_back();
  Segment& self = segment(idx);
  self.sequence = piece.sequence;
  self.begin = piece.begin;
  self.rows.resize(static_cast<std::size_t>(piece.num_tokens));
  parts_.states.acquire(self.rows);
  rows_free_ -= piece.num_tokens;
  for (const std::int32_t row : self.rows) segment_of_row_[static_cast<std::size_t>(row)] = idx;
  self.pred = piece.sequence->last_segment;
  self.succ = -1;
  if (self.pred >= 0) segment(self.pred).succ = idx;
  self.ready_layer = -1;
  self.entered_layer = -1;
  self.num_outputs_missing = 0;
  piece.sequence->last_segment = idx;
  ++piece.sequence->num_segments_in_flight;
  ++num_in_flight_;
  ++counters_.segments;
  return idx;
}

void AttentionSide::release_segment(std::int32_t idx) {
  Segment& self = segment(idx);
  MOEBIUS_EXPECT(self.pred < 0 && self.num_outputs_missing == 0);  // predecessors leave first
  if (self.succ >= 0) segment(self.succ).pred = -1;
  Sequence& sequence = *self.sequence;
  if (sequence.last_segment == idx) sequence.last_segment = -1;
  for (const std::int32_t row : self.rows) segment_of_row_[static_cast<std::size_t>(row)] = -1;
  parts_.states.release(self.rows);
  rows_free_ += self.num_tokens();
  parts_.workload.tokens_passed(sequence, self.begin + self.num_tokens());
  self.rows.clear();
  self.sequence = nullptr;
  free_segments_.push_back(idx);
  --num_in_flight_;
  if (--sequence.num_segments_in_flight == 0) parts_.workload.segments_done(sequence);
}

void AttentionSide::make_ready(std::int32_t idx, int layer, double now) {
  segment(idx).ready_layer = layer;
  // Entering may free the successor to enter, and so on down the sequence.
  while (idx >= 0) {
    Segment& self = segment(idx);
    const bool waits = self.ready_layer == self.entered_layer ||
                       (self.pred >= 0 && segment(self.pred).entered_layer < self.ready_layer);
    if (waits) return;
    enter_queue(idx, now);
    idx = self.succ;
  }
}

void AttentionSide::enter_queue(std::int32_t idx, double now) {
  Segment& self = segment(idx);
  self.entered_layer = self.ready_layer;
  self.queued_s = now;
  const auto layer = static_cast<std::size_t>(self.ready_layer);
  if (layer > 0 && parts_.config.is_moe(LayerId(self.ready_layer - 1))) under_way_tokens_[layer] -= self.num_tokens();
  queues_[layer].push_back(idx);
  queued_tokens_[layer] += self.num_tokens();
  update_table(self.ready_layer);
}

void AttentionSide::update_table(int layer) {
  const auto& queue = queues_[static_cast<std::size_t>(layer)];
  std::uint8_t& held = held_[static_cast<std::size_t>(layer)];
  num_held_ -= held;
  held = is_held(layer) ? 1 : 0;
  num_held_ += held;
  parts_.table.set({stages_.attention_stage(layer), 0}, held != 0 ? 0 : queued_tokens_[static_cast<std::size_t>(layer)],
                   queue.empty() ? 0.0 : segment(queue.front()).queued_s);
}

bool AttentionSide::is_held(int layer) {
  const std::int64_t tokens = queued_tokens_[static_cast<std::size_t>(layer)];
  return tokens > 0 && tokens < enough_tokens_ && under_way_tokens_[static_cast<std::size_t>(layer)] > 0 &&
         now_ - segment(queues_[static_cast<std::size_t>(layer)].front()).queued_s < patience_s_;
}

void AttentionSide::show_held(double now, double patience_s) {
  now_ = now;
  patience_s_ = patience_s;
  for (std::size_t layer = 0; num_held_ > 0 && layer < held_.size(); ++layer) {
    if (held_[layer] != 0) update_table(static_cast<int>(layer));
  }
}

void AttentionSide::clear_batch() {
  batch_segments_.clear();
  batch_rows_.clear();
  batch_positions_.clear();
  batch_refs_.clear();
}

void AttentionSide::add_to_batch(std::int32_t idx) {
  const Segment& next = segment(idx);
  batch_segments_.push_back(idx);
  batch_rows_.insert(batch_rows_.end(), next.rows.begin(), next.rows.end());
  for (std::int32_t i = 0; i < next.num_tokens(); ++i) batch_positions_.push_back(next.first_position() + i);
  batch_refs_.push_back({&next.sequence->table, next.first_position(), next.num_tokens()});
}

void AttentionSide::drain_queue(int layer) {
  auto& queue = queues_[static_cast<std::size_t>(layer)];
  clear_batch();
  while (!queue.empty()) {
    if (!batch_rows_.empty() && static_cast<int>(batch_rows_.size()) + segment(queue.front()).num_tokens() > max_micro_batch_tokens_) break;
    add_to_batch(queue.front());
    queue.pop_front();
  }
  MOEBIUS_EXPECT(!batch_rows_.empty());
  queued_tokens_[static_cast<std::size_t>(layer)] -= static_cast<std::int64_t>(batch_rows_.size());
  update_table(layer);
  ++counters_.micro_batches;
}

std::vector<std::int32_t> AttentionSide::queued_segments(int layer) const {
  const auto& queue = queues_[static_cast<std::size_t>(layer)];
  return {queue.begin(), queue.end()};
}

bool AttentionSide::all_entered(int layer, std::span<const std::int32_t> segments) const {
  return std::ranges::all_of(segments, [&](std::int32_t idx) { return segments_[static_cast<std::size_t>(idx)].entered_layer == layer; });
}

policy::AttentionWork AttentionSide::work_of(std::span<const std::int32_t> segments) const {
  policy::AttentionWork work;
  for (const std::int32_t idx : segments) {
    const Segment& one = segments_[static_cast<std::size_t>(idx)];
    work.add_segment(one.first_position(), one.num_tokens(), 0);
  }
  return work;
}

void AttentionSide::set_pipeline(int num_token_parts, PipelineOrder order) {
  parts_.num_token_parts = num_token_parts;
  parts_.shared = order == PipelineOrder::aass    ? SharedExperts::apart
                  : order == PipelineOrder::fused ? SharedExperts::before_dispatch
                                                  : SharedExperts::behind_dispatch;
}

void AttentionSide::run_some(int layer, std::int32_t micro_batch, std::span<const std::int32_t> segments, double now, PhaseClock& clock) {
  batch_number_ = micro_batch;
  clear_batch();
  for (const std::int32_t idx : segments) add_to_batch(idx);
  MOEBIUS_EXPECT(!batch_rows_.empty() && static_cast<int>(batch_rows_.size()) <= max_micro_batch_tokens_);
  auto& queue = queues_[static_cast<std::size_t>(layer)];
  const std::size_t num_queued = queue.size();
  std::erase_if(queue, [&](std::int32_t idx) { return std::ranges::find(segments, idx) != segments.end(); });
  MOEBIUS_EXPECT(num_queued - queue.size() == segments.size());
  queued_tokens_[static_cast<std::size_t>(layer)] -= static_cast<std::int64_t>(batch_rows_.size());
  update_table(layer);
  ++counters_.micro_batches;
  run_batch(layer, now, clock);
}

void AttentionSide::run_shared(LayerId layer, std::int32_t micro_batch, std::span<const std::int32_t> segments, PhaseClock& clock) {
  const InStage here(clock, {.layer = layer.value, .micro_batch = micro_batch});
  clear_batch();
  for (const std::int32_t idx : segments) add_to_batch(idx);
  add_shared_experts(layer, clock);
}

void AttentionSide::add_shared_experts(LayerId layer, PhaseClock& clock) {
  if (parts_.config.shared_intermediate_size == 0 && !parts_.pace.slow()) return;
  if (parts_.config.shared_intermediate_size > 0) parts_.stack.add_shared_experts(layer, batch_rows_, parts_.states);
  parts_.pace.shared_experts(static_cast<std::int64_t>(batch_rows_.size()));
  clock.mark(Phase::shared_experts, static_cast<std::int64_t>(batch_rows_.size()));
}

void AttentionSide::run(int layer, double now, PhaseClock& clock) {
  drain_queue(layer);
  run_batch(layer, now, clock);
}

void AttentionSide::run_batch(int layer, double now, PhaseClock& clock) {
  const InStage here(clock, {.layer = layer, .micro_batch = batch_number_});
  if (layer > 0 && parts_.config.is_moe(LayerId(layer - 1))) {
    parts_.stack.combine(LayerId(layer - 1), batch_rows_, parts_.states);
    parts_.pace.combine(static_cast<std::int64_t>(batch_rows_.size()));
    clock.mark(Phase::combine, static_cast<std::int64_t>(batch_rows_.size()));
  }
  if (layer == parts_.config.num_layers) {
    run_lm_head(clock);
  } else {
    run_layer(LayerId(layer), now, clock);
  }
}

policy::AttentionWork AttentionSide::attention_work(LayerId layer) const {
  policy::AttentionWork work;
  for (const model::SegmentRef& ref : batch_refs_) work.add_segment(ref.first_position, ref.num_tokens, parts_.config.window(layer));
  return work;
}

void AttentionSide::run_layer(LayerId layer, double now, PhaseClock& clock) {
  const auto num_rows = static_cast<std::int64_t>(batch_rows_.size());
  const double begin_s = now_s();
  const model::MicroBatch batch{.rows = batch_rows_, .positions = batch_positions_, .segments = batch_refs_};
  parts_.stack.attend(layer, batch, parts_.states, parts_.kv);
  if (parts_.pace.slow()) parts_.pace.attention(attention_work(layer));
  if (!parts_.config.is_moe(layer)) {
    parts_.stack.dense_mlp(layer, batch_rows_, parts_.states);
    parts_.pace.dense_mlp(num_rows);
    clock.mark(Phase::attention, num_rows);
    for (const std::int32_t idx : batch_segments_) make_ready(idx, layer.value + 1, now);
    return;
  }
  clock.mark(Phase::attention, num_rows);
  parts_.stack.route(layer, batch_rows_, parts_.states);
  if (parts_.capacity != nullptr) apply_capacity(layer);
  const int room = parts_.states.experts_per_token();
  for (const std::int32_t idx : batch_segments_) {
    Segment& self = segment(idx);
    self.num_outputs_missing = 0;
    for (const std::int32_t row : self.rows) {
      self.num_outputs_missing += static_cast<std::int32_t>(std::count_if(parts_.states.topk_ids(row), parts_.states.topk_ids(row) + room, is_expert));
    }
    under_way_tokens_[layer.idx() + 1] += self.num_tokens();
    if (self.num_outputs_missing > 0) self.generation = generations_.sent();
  }
  parts_.pace.router(num_rows);
  clock.mark(Phase::router, num_rows);
  const double stage_s = clock.last_mark_s() - begin_s;
  fixed_stage_s_ = fixed_stage_s_ == 0 ? stage_s : std::min(fixed_stage_s_ * 1.02, stage_s);
  if (parts_.shared == SharedExperts::before_dispatch) add_shared_experts(layer, clock);
  dispatch(layer);
  clock.mark(Phase::dispatch, num_rows);
  if (parts_.shared == SharedExperts::behind_dispatch) add_shared_experts(layer, clock);
  for (const std::int32_t idx : batch_segments_) {  // what lost all its experts waits for nobody
    if (segment(idx).num_outputs_missing == 0 && segment(idx).entered_layer == layer.value) make_ready(idx, layer.value + 1, now);
  }
}

void AttentionSide::apply_capacity(LayerId layer) {
  batch_counted_.clear();
  for (const std::int32_t idx : batch_segments_) {
    const Segment& self = segment(idx);
    batch_counted_.insert(batch_counted_.end(), self.rows.size(), parts_.capacity->counts(self.sequence->generates()) ? 1 : 0);
  }
  parts_.capacity->apply(layer, batch_rows_, batch_counted_, parts_.stack, parts_.states);
}

void AttentionSide::dispatch(LayerId layer) {
  const int k = parts_.states.experts_per_token();
  for (const std::int32_t row : batch_rows_) {
    const std::int32_t* ids = parts_.states.topk_ids(row);
    dispatch_rows_.push_back(row);
    dispatch_experts_.insert(dispatch_experts_.end(), ids, ids + k);
    const auto num_experts = static_cast<std::size_t>(std::count_if(ids, ids + k, is_expert));
    if (parts_.recorder != nullptr) parts_.recorder->add(layer, {ids, num_experts});
    counters_.pairs_sent += static_cast<std::int64_t>(num_experts);
  }
  if (!parts_.defer_dispatch) send(layer, parts_.router.route(layer, dispatch_experts_));
}

void AttentionSide::send(LayerId layer, std::span<const policy::PhysicalExpert> hosts) {
  const auto num_rows = static_cast<std::int64_t>(dispatch_rows_.size());
  std::size_t begin = 0;
  for (int part = 0; part < parts_.num_token_parts; ++part) {
    const auto end = begin + static_cast<std::size_t>(policy::rows_of_part(num_rows, parts_.num_token_parts, part));
    send_part(layer, batch_number_ < 0 ? PartTag{} : PartTag{batch_number_, part}, begin, end, hosts);
    begin = end;
  }
  dispatch_rows_.clear();
  dispatch_experts_.clear();
}

void AttentionSide::send_part(LayerId layer, PartTag part, std::size_t begin, std::size_t end, std::span<const policy::PhysicalExpert> hosts) {
  const auto k = static_cast<std::size_t>(parts_.states.experts_per_token());
  for (std::size_t i = begin; i < end; ++i) {
    for (std::size_t k_idx = 0; k_idx < k; ++k_idx) {
      const policy::PhysicalExpert host = hosts[i * k + k_idx];
      if (!host.rank.valid()) continue;
      if (pairs_to_.size() <= host.rank.idx()) pairs_to_.resize(host.rank.idx() + 1);
      pairs_to_[host.rank.idx()].push_back(
          {{static_cast<RowTag>(dispatch_rows_[i]), static_cast<std::uint32_t>(k_idx)}, host.place.value});
    }
  }
  for (std::size_t rank = 0; rank < pairs_to_.size(); ++rank) {
    if (!pairs_to_[rank].empty()) parts_.sender.send(layer, generations_.current(), RankId(rank), pairs_to_[rank], part);
    pairs_to_[rank].clear();
  }
}

void AttentionSide::on_outputs(const comm::MessageHeader& header, std::span<const std::byte> payload, double now) {
  const std::size_t output_bytes = static_cast<std::size_t>(parts_.config.hidden_size) * sizeof(float);
  const BlockLayout layout = outputs_layout(header.num_rows, output_bytes);
  MOEBIUS_EXPECT(payload.size() == layout.total_bytes);
  for (std::size_t i = 0; i < header.num_rows; ++i) {
    const auto tag = load_at<OutputTag>(payload, 0, i);
    if (i + 2 < header.num_rows) prefetch_for_read(payload.data() + layout.data_offset + (i + 2) * output_bytes, output_bytes);
    if (i + 1 < header.num_rows) prefetch_for_write(output_place(load_at<OutputTag>(payload, 0, i + 1)), output_bytes);
    std::memcpy(output_place(tag), payload.data() + layout.data_offset + i * output_bytes, output_bytes);
    on_output(tag, header.layer, now);
  }
}

void AttentionSide::on_outputs_in_place(const comm::MessageHeader& header, std::span<const std::byte> payload, double now) {
  MOEBIUS_EXPECT(payload.size() == header.num_rows * sizeof(OutputTag));
  for (std::size_t i = 0; i < header.num_rows; ++i) on_output(load_at<OutputTag>(payload, 0, i), header.layer, now);
}

void AttentionSide::on_output(OutputTag tag, int layer, double now) {
  MOEBIUS_EXPECT(tag.row < segment_of_row_.size() && tag.k_idx < static_cast<std::uint32_t>(parts_.states.experts_per_token()));
  const std::int32_t idx = segment_of_row_[tag.row];
  MOEBIUS_EXPECT(idx >= 0 && segment(idx).num_outputs_missing > 0 && segment(idx).entered_layer == layer);
  ++counters_.outputs_received;
  if (--segment(idx).num_outputs_missing > 0) return;
  generations_.answered(segment(idx).generation);
  make_ready(idx, layer + 1, now);
}

void AttentionSide::run_lm_head(PhaseClock& clock) {
  std::size_t num_rows = 0;
  for (auto* part : {&scored_, &drawn_}) {
    part->positions.clear();
    part->rows.clear();
  }
  wanted_logits_.clear();
  for (const std::int32_t idx : batch_segments_) {
    const Segment& self = segment(idx);
    for (std::int32_t i = 0; i < self.num_tokens(); ++i) {
      const Scorer::Wants wants = Scorer::wants(*self.sequence, self.begin + i);
      if (wants == Scorer::Wants::nothing) continue;
      HeadRows& part = wants == Scorer::Wants::logits ? drawn_ : scored_;
      part.positions.push_back({self.sequence, self.begin + i});
      part.rows.push_back(self.rows[static_cast<std::size_t>(i)]);
      ++num_rows;
    }
  }
  score_rows();
  parts_.stack.lm_head(drawn_.rows, parts_.states, [&](int i, std::span<const float> logits) {
    const HeadPosition& position = drawn_.positions[static_cast<std::size_t>(i)];
    parts_.scorer.on_logits(*position.sequence, position.fed_idx, logits);
  });
  parts_.pace.lm_head(static_cast<std::int64_t>(num_rows));
  clock.mark(Phase::lm_head, static_cast<std::int64_t>(num_rows));
  for (const std::int32_t idx : batch_segments_) release_segment(idx);
  clock.mark(Phase::admit);
}

void AttentionSide::score_rows() {
  for (std::size_t i = 0; i < scored_.rows.size(); ++i) {
    HeadPosition& position = scored_.positions[i];
    position.num_wanted = Scorer::add_wanted(*position.sequence, position.fed_idx, static_cast<int>(i), wanted_logits_);
  }
  summaries_.resize(scored_.rows.size());
  parts_.stack.summarise_head(scored_.rows, parts_.states, summaries_, wanted_logits_);
  std::size_t first_wanted = 0;
  for (std::size_t i = 0; i < scored_.rows.size(); ++i) {
    const HeadPosition& position = scored_.positions[i];
    parts_.scorer.on_log_probs(*position.sequence, position.fed_idx, summaries_[i],
                               std::span<const model::WantedLogit>(wanted_logits_).subspan(first_wanted, position.num_wanted));
    first_wanted += position.num_wanted;
  }
}

}  // namespace moebius::ranks
