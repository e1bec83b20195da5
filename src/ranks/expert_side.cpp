// SPDX-License-Identifier: Apache-2.0
#include "ranks/expert_side.hpp"

#include <algorithm>
#include <cstring>

#include "base/check.hpp"

namespace moebius::ranks {

ExpertSide::ExpertSide(const ExpertSideOptions& options, model::ExpertStack& stack, StageMap stages,
                       policy::QueueTable& table, Outbox& outbox, RankId rank, std::size_t max_payload_bytes)
    : options_(options),
      stack_(stack),
      stages_(stages),
      table_(table),
      outbox_(outbox),
      rank_(rank),
      row_bytes_(static_cast<std::size_t>(options.hidden_size) * element_bytes(options.compute)),
      max_rows_per_block_(max_output_rows(max_payload_bytes, static_cast<std::size_t>(options.hidden_size) * sizeof(float))),
      store_(std::make_unique_for_overwrite<std::byte[]>(static_cast<std::size_t>(options.max_rows_stored) * row_bytes_)),
      num_users_(static_cast<std::size_t>(options.max_rows_stored)) {
  MOEBIUS_EXPECT(max_rows_per_block_ > 0);
  for (int layer = 0; layer < stack.num_layers(); ++layer) {
    const auto hosted = static_cast<std::size_t>(stack.num_hosted(LayerId(layer)));
    queues_.emplace_back(hosted);
    load_.emplace_back(hosted, 0);
  }
  // Descending, so that the lowest row is taken first and a small job touches little memory.
  for (std::int64_t row = options.max_rows_stored; row-- > 0;) free_rows_.push_back(static_cast<std::int32_t>(row));
}

std::int32_t ExpertSide::store_row(const std::byte* hidden, std::int32_t num_users) {
  MOEBIUS_EXPECT(!free_rows_.empty());  // more rows in flight than the token budgets allow
  const std::int32_t row = free_rows_.back();
  free_rows_.pop_back();
  std::memcpy(store_.get() + static_cast<std::size_t>(row) * row_bytes_, hidden, row_bytes_);
  num_users_[static_cast<std::size_t>(row)] = num_users;
  ++num_stored_;
  return row;
}

void ExpertSide::release_row(std::int32_t stored_row) {
  if (--num_users_[static_cast<std::size_t>(stored_row)] > 0) return;
  free_rows_.push_back(stored_row);
  --num_stored_;
}

void ExpertSide::update_table(int layer, int place) {
  const Queue& queue = queues_[static_cast<std::size_t>(layer)][static_cast<std::size_t>(place)];
  const double oldest = queue.size() == 0 ? 0.0 : queue.entries[queue.head].arrived_s;
  table_.set({stages_.expert_stage(layer), place}, static_cast<std::int64_t>(queue.size()), oldest);
}

void ExpertSide::on_dispatch(RankId from, const comm::MessageHeader& header, std::span<const std::byte> payload, double now) {
  const BlockLayout layout = dispatch_layout(header.num_rows, header.num_pairs, row_bytes_);
  MOEBIUS_EXPECT(payload.size() == layout.total_bytes && header.layer < queues_.size());
  auto& layer_queues = queues_[header.layer];
  pairs_per_row_.assign(header.num_rows, 0);
  for (std::size_t i = 0; i < header.num_pairs; ++i) {
    const auto pair = load_at<ExpertPair>(payload, layout.pairs_offset, i);
    MOEBIUS_EXPECT(pair.row_in_block < header.num_rows && pair.place >= 0 &&
                   static_cast<std::size_t>(pair.place) < layer_queues.size());
    ++pairs_per_row_[pair.row_in_block];
  }
  // Pairs come grouped by ascending row, so each hidden state is stored when its first pair is met.
  std::int32_t stored = -1, stored_for = -1;
  for (std::size_t i = 0; i < header.num_pairs; ++i) {
    const auto pair = load_at<ExpertPair>(payload, layout.pairs_offset, i);
    if (pair.row_in_block != stored_for) {
      MOEBIUS_EXPECT(pair.row_in_block > stored_for);
      stored_for = pair.row_in_block;
      stored = store_row(payload.data() + layout.data_offset + pair.row_in_block * row_bytes_,
                         pairs_per_row_[pair.row_in_block]);
    }
    const auto tag = load_at<RowTag>(payload, 0, pair.row_in_block);
    layer_queues[static_cast<std::size_t>(pair.place)].entries.push_back({stored, from.value, {tag, pair.k_idx}, now});
    update_table(header.layer, pair.place);
  }
  counters_.rows_received += header.num_pairs;
}

void ExpertSide::run(int layer, PlaceId place, PhaseClock& clock) {
  take_rows(queues_[static_cast<std::size_t>(layer)][place.idx()]);
  update_table(layer, place.value);
  open_messages();
  clock.mark(Phase::dispatch);

  stack_.forward(LayerId(layer), place, inputs_, outputs_);
  for (const Entry& entry : taken_) release_row(entry.stored_row);
  const auto num_rows = static_cast<std::int64_t>(taken_.size());
  counters_.rows_computed += num_rows;
  counters_.calls += 1;
  load_[static_cast<std::size_t>(layer)][place.idx()] += num_rows;
  clock.mark(Phase::expert, num_rows);

  seal_messages(layer);
  counters_.rows_sent += num_rows;
  clock.mark(Phase::dispatch, num_rows, num_rows * options_.hidden_size * static_cast<std::int64_t>(sizeof(float)));
}

void ExpertSide::take_rows(Queue& queue) {
  const std::size_t num_rows = std::min(queue.size(), static_cast<std::size_t>(options_.max_rows_per_call));
  MOEBIUS_EXPECT(num_rows > 0);
  const auto first = queue.entries.begin() + static_cast<std::ptrdiff_t>(queue.head);
  taken_.assign(first, first + static_cast<std::ptrdiff_t>(num_rows));
  queue.head += num_rows;
  if (2 * queue.head >= queue.entries.size()) {  // each entry is moved at most once on average
    queue.entries.erase(queue.entries.begin(), queue.entries.begin() + static_cast<std::ptrdiff_t>(queue.head));
    queue.head = 0;
  }
  std::ranges::stable_sort(taken_, {}, &Entry::source);
  inputs_.clear();
  for (const Entry& entry : taken_) inputs_.push_back(store_.get() + static_cast<std::size_t>(entry.stored_row) * row_bytes_);
}

void ExpertSide::open_messages() {
  const auto hidden = static_cast<std::size_t>(options_.hidden_size);
  outputs_.clear();
  messages_.clear();
  own_tags_.clear();
  for (std::size_t begin = 0; begin < taken_.size();) {
    const std::int32_t source = taken_[begin].source;
    if (RankId(source) == rank_ && own_.place) {
      own_tags_.push_back(taken_[begin].tag);
      outputs_.push_back(own_.place(taken_[begin].tag));
      ++begin;
      continue;
    }
    std::size_t end = begin;
    while (end < taken_.size() && end - begin < max_rows_per_block_ && taken_[end].source == source) ++end;
    const std::size_t num_rows = end - begin;
    const BlockLayout layout = outputs_layout(num_rows, hidden * sizeof(float));
    const std::span<std::byte> bytes = outbox_.open(RankId(source), layout.total_bytes);
    for (std::size_t i = 0; i < num_rows; ++i) {
      store_at(bytes, 0, i, taken_[begin + i].tag);
      outputs_.push_back(reinterpret_cast<float*>(bytes.data() + layout.data_offset) + i * hidden);
    }
    messages_.push_back({source, static_cast<std::uint32_t>(num_rows)});
    begin = end;
  }
}

void ExpertSide::seal_messages(int layer) {
  for (const Message& message : messages_) {
    outbox_.seal(RankId(message.source), {.kind = static_cast<std::uint16_t>(BlockKind::expert_outputs),
                                          .layer = static_cast<std::uint16_t>(layer),
                                          .generation = 0,
                                          .num_rows = message.num_rows,
                                          .num_pairs = 0});
  }
  if (!own_tags_.empty()) own_.arrived(layer, own_tags_);
}

}  // namespace moebius::ranks
