// SPDX-License-Identifier: Apache-2.0
#include "ranks/expert_side.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/check.hpp"
#include "base/clock.hpp"

namespace moebius::ranks {
ExpertSide::ExpertSide(const ExpertSideOptions& options, model::ExpertStack& stack, StageMap stages,
                       policy::QueueTable& table, Outbox& outbox, StagePace& pace, std::size_t max_payload_bytes)
    : options_(options),
      stack_(stack),
      stages_(stages),
      table_(table),
      outbox_(outbox),
      pace_(pace),
      row_bytes_(static_cast<std::size_t>(options.hidden_size) * element_bytes(options.compute)),
      max_rows_per_block_(max_output_rows(max_payload_bytes, static_cast<std::size_t>(options.hidden_size) * sizeof(float))),
      max_tags_per_block_(max_payload_bytes / sizeof(OutputTag)),
      store_(std::make_unique_for_overwrite<std::byte[]>(static_cast<std::size_t>(options.max_rows_stored) * row_bytes_)),
      num_users_(static_cast<std::size_t>(options.max_rows_stored)) {
  MOEBIUS_EXPECT(max_rows_per_block_ > 0);
  for (int layer = 0; layer < stack.num_layers(); ++layer) {
    queues_.emplace_back(static_cast<std::size_t>(stack.num_places(LayerId(layer))));
    max_hosted_ = std::max(max_hosted_, stack.num_hosted(LayerId(layer)));
    load_.emplace_back(static_cast<std::size_t>(options.num_experts), 0);
  }
  waiting_.resize(queues_.size());
  // Descending, so that the lowest row is taken first and a small job touches little memory.
  for (std::int64_t row = options.max_rows_stored; row-- > 0;) free_rows_.push_back(static_cast<std::int32_t>(row));
}

void ExpertSide::reach(RankId source, const model::RowExchange& rows) {
  if (exchanges_.size() <= source.idx()) exchanges_.resize(source.idx() + 1);
  exchanges_[source.idx()] = rows;
}

std::int32_t ExpertSide::store_row(const std::byte* hidden, std::int32_t num_users) {
  MOEBIUS_EXPECT(!free_rows_.empty());  // more rows in flight than the token budgets allow
  const std::int32_t row = free_rows_.back();
  free_rows_.pop_back();
  if (!free_rows_.empty()) prefetch_for_write(stored(free_rows_.back()), row_bytes_);
  std::memcpy(stored(row), hidden, row_bytes_);
  num_users_[static_cast<std::size_t>(row)] = num_users;
  return row;
}

void ExpertSide::release_row(std::int32_t stored_row) {
  if (stored_row != in_place && --num_users_[static_cast<std::size_t>(stored_row)] == 0) free_rows_.push_back(stored_row);
}

void ExpertSide::update_table(int layer, int place) {
  Queue& queue = queues_[static_cast<std::size_t>(layer)][static_cast<std::size_t>(place)];
  queue.shown = queue.size();
  const double oldest = queue.size() == 0 ? 0.0 : queue.entries[queue.head].arrived_s;
  const bool held = waiting_[static_cast<std::size_t>(layer)].held;
  table_.set({stages_.expert_stage(layer), place}, held ? 0 : static_cast<std::int64_t>(queue.size()), oldest);
}

bool ExpertSide::is_held(int layer) const {
  const Layer& self = waiting_[static_cast<std::size_t>(layer)];
  // Rows whose arithmetic takes as long as reading the weights of all experts lose nothing by running apart.
  if (self.rows == 0 || patience_s_ <= 0 || now_ - self.first_s >= patience_s_ || static_cast<double>(self.rows) * row_s_ >= fixed_pass_s()) return false;
  const int before = options_.layer_before[static_cast<std::size_t>(layer)];
  return before >= 0 && std::ranges::find(last_layer_, before) != last_layer_.end();
}

void ExpertSide::update_layer(int layer) {
  Layer& self = waiting_[static_cast<std::size_t>(layer)];
  const bool held = is_held(layer);
  if (held == self.held) return;
  self.held = held;
  num_held_ += held ? 1 : -1;
  for (std::size_t place = 0; place < queues_[static_cast<std::size_t>(layer)].size(); ++place) update_table(layer, static_cast<int>(place));
}

void ExpertSide::show_held(double now, double patience_s) {
  now_ = now;
  patience_s_ = patience_s;
  for (std::size_t layer = 0; num_held_ > 0 && layer < waiting_.size(); ++layer) {
    if (waiting_[layer].held) update_layer(static_cast<int>(layer));
  }
}

void ExpertSide::saw(RankId source, int layer) {
  if (last_layer_.size() <= source.idx()) last_layer_.resize(source.idx() + 1, -1);
  last_layer_[source.idx()] = layer;
}

void ExpertSide::on_fin(RankId from) {
  ++num_fins_;
  saw(from, -1);
}

void ExpertSide::add_entry(int layer, std::int32_t place, std::uint32_t generation, const Entry& entry) {
  auto& layer_queues = queues_[static_cast<std::size_t>(layer)];
  MOEBIUS_EXPECT(place >= 0 && static_cast<std::size_t>(place) < layer_queues.size());
  // The expert that the sender meant: it came with the sender's generation or before, and has not left.
  MOEBIUS_EXPECT(stack_.expert(LayerId(layer), PlaceId(place)).valid() && stack_.since(LayerId(layer), PlaceId(place)) <= generation);
  Queue& queue = layer_queues[static_cast<std::size_t>(place)];
  if (queue.size() == queue.shown) touched_.push_back(place);
  queue.entries.push_back(entry);
  Layer& waiting = waiting_[static_cast<std::size_t>(layer)];
  if (waiting.rows++ == 0) waiting.first_s = entry.arrived_s;
  ++counters_.rows_received;
}

void ExpertSide::show_grown(int layer) {
  update_layer(layer);
  for (const std::int32_t place : touched_) update_table(layer, place);
  touched_.clear();
}

void ExpertSide::add_in_place(int layer, PlaceId place, std::uint32_t generation, RankId from, OutputTag tag, const std::byte* input, float* output,
                              double now) {
  add_entry(layer, place.value, generation, {input, output, in_place, from.value, tag, now});
}

void ExpertSide::on_dispatch_in_place(RankId from, const comm::MessageHeader& header, std::span<const std::byte> payload, double now) {
  MOEBIUS_EXPECT(payload.size() == header.num_pairs * sizeof(RowPair) && header.layer < queues_.size());
  MOEBIUS_EXPECT(from.idx() < exchanges_.size() && exchanges_[from.idx()]);
  const model::RowExchange& rows = *exchanges_[from.idx()];
  for (std::size_t i = 0; i < header.num_pairs; ++i) {
    const auto pair = load_at<RowPair>(payload, 0, i);
    const auto row = static_cast<std::int32_t>(pair.tag.row);
    add_in_place(header.layer, PlaceId(pair.place), header.generation, from, pair.tag, rows.input(row),
                 rows.output(row, static_cast<int>(pair.tag.k_idx)), now);
  }
  saw(from, header.layer);
  show_grown(header.layer);
}

void ExpertSide::on_dispatch(RankId from, const comm::MessageHeader& header, std::span<const std::byte> payload, double now) {
  const BlockLayout layout = dispatch_layout(header.num_rows, header.num_pairs, row_bytes_);
  MOEBIUS_EXPECT(payload.size() == layout.total_bytes && header.layer < queues_.size());
  // Pairs come grouped by ascending row: each hidden state is stored once, for as many users as it has pairs.
  std::int32_t last_row = -1;
  for (std::size_t begin = 0, end = 0; begin < header.num_pairs; begin = end) {
    const std::int32_t row = load_at<ExpertPair>(payload, layout.pairs_offset, begin).row_in_block;
    MOEBIUS_EXPECT(row > last_row && row < static_cast<std::int32_t>(header.num_rows));
    last_row = row;
    for (end = begin + 1; end < header.num_pairs; ++end) {
      if (load_at<ExpertPair>(payload, layout.pairs_offset, end).row_in_block != row) break;
    }
    const auto row_idx = static_cast<std::size_t>(row);
    if (row_idx + 2 < header.num_rows) prefetch_for_read(payload.data() + layout.data_offset + (row_idx + 2) * row_bytes_, row_bytes_);
    const std::int32_t stored_row = store_row(payload.data() + layout.data_offset + row_idx * row_bytes_, static_cast<std::int32_t>(end - begin));
    const auto tag = load_at<RowTag>(payload, 0, row_idx);
    for (std::size_t i = begin; i < end; ++i) {
      const auto pair = load_at<ExpertPair>(payload, layout.pairs_offset, i);
      add_entry(header.layer, pair.place, header.generation, {stored(stored_row), nullptr, stored_row, from.value, {tag, pair.k_idx}, now});
    }
  }
  saw(from, header.layer);
  show_grown(header.layer);
}

std::int64_t ExpertSide::run(int layer, PlaceId place, PhaseClock& clock, std::int64_t most_rows) {
  const Share share{place, most_rows};
  return run_shares(layer, {&share, 1}, Call::single, clock);
}

std::int64_t ExpertSide::run_layer(int layer, PhaseClock& clock) {
  shares_.clear();
  const auto& queues = queues_[static_cast<std::size_t>(layer)];
  for (std::size_t place = 0; place < queues.size(); ++place) {
    if (queues[place].size() > 0) shares_.push_back({PlaceId(place), std::numeric_limits<std::int64_t>::max()});
  }
  return run_shares(layer, shares_, Call::grouped, clock);
}

std::int64_t ExpertSide::run_shares(int layer, std::span<const Share> shares, Call call, PhaseClock& clock) {
  const InStage here(clock, {.layer = layer, .place = call == Call::single ? shares.front().place.value : -1});
  taken_.clear();
  ends_.clear();
  for (const Share& share : shares) {
    take_rows(queues_[static_cast<std::size_t>(layer)][share.place.idx()], share.most_rows);
    ends_.push_back(taken_.size());
  }
  const auto num_rows = static_cast<std::int64_t>(taken_.size());
  waiting_[static_cast<std::size_t>(layer)].rows -= num_rows;
  for (const Share& share : shares) update_table(layer, share.place.value);
  order_by_source();
  open_messages();
  clock.mark(Phase::dispatch);
  std::size_t begin = 0;
  for (std::size_t i = 0; i < shares.size(); begin = ends_[i++]) {
    if (i > 0) pace_.between_calls();
    compute(layer, shares[i].place, begin, ends_[i], clock);
  }
  if (call == Call::grouped && pace_.slow()) {
    pace_.expert_layer();
    clock.mark(Phase::expert);
  }
  for (const Entry& entry : taken_) release_row(entry.stored_row);
  seal_messages(layer);
  counters_.rows_sent += num_rows;
  clock.mark(Phase::dispatch, num_rows, num_rows * options_.hidden_size * static_cast<std::int64_t>(sizeof(float)));
  return num_rows;
}

void ExpertSide::bring_forward(int layer, PlaceId place, std::span<const SourceRows> rows) {
  Queue& queue = queues_[static_cast<std::size_t>(layer)][place.idx()];
  std::vector<SourceRows> left(rows.begin(), rows.end());
  const auto wanted = [&](const Entry& entry) {  // called once for each entry, in order
    const auto found = std::ranges::find(left, RankId(entry.source), &SourceRows::source);
    return found != left.end() && found->num_rows-- > 0;
  };
  const auto first = queue.entries.begin() + static_cast<std::ptrdiff_t>(queue.head);
  std::vector<Entry> later;
  auto end = first;
  for (auto entry = first; entry != queue.entries.end(); ++entry) {
    if (wanted(*entry)) *end++ = *entry;
    else later.push_back(*entry);
  }
  std::ranges::copy(later, end);
}

void ExpertSide::compute(int layer, PlaceId place, std::size_t begin, std::size_t end, PhaseClock& clock) {
  const InStage here(clock, {.layer = layer, .place = place.value});
  const auto num_rows = static_cast<std::int64_t>(end - begin);
  const double begin_s = now_s();
  stack_.forward(LayerId(layer), place, std::span(inputs_).subspan(begin, end - begin), std::span(outputs_).subspan(begin, end - begin));
  const double call_s = pace_.expert_call(begin_s, num_rows);
  expert_s_ += call_s;
  longest_call_s_ = std::max(longest_call_s_, call_s);
  fixed_call_s_ = fixed_call_s_ == 0 ? call_s : std::min(fixed_call_s_ * 1.02, call_s);
  const double row_s = call_s / static_cast<double>(num_rows);
  row_s_ = row_s_ == 0 ? row_s : std::min(row_s_ * 1.02, row_s);
  counters_.rows_computed += num_rows;
  counters_.calls += 1;
  load_[static_cast<std::size_t>(layer)][stack_.expert(LayerId(layer), place).idx()] += num_rows;
  clock.mark(Phase::expert, num_rows);
}

void ExpertSide::take_rows(Queue& queue, std::int64_t most_rows) {
  const std::size_t num_rows =
      std::min({queue.size(), static_cast<std::size_t>(options_.max_rows_per_call), static_cast<std::size_t>(most_rows)});
  MOEBIUS_EXPECT(num_rows > 0);
  const auto next = std::span(queue.entries).subspan(queue.head, num_rows);
  taken_.insert(taken_.end(), next.begin(), next.end());
  queue.head += num_rows;
  if (2 * queue.head >= queue.entries.size()) {  // each entry is moved at most once on average
    queue.entries.erase(queue.entries.begin(), queue.entries.begin() + static_cast<std::ptrdiff_t>(queue.head));
    queue.head = 0;
  }
}

void ExpertSide::order_by_source() {
  // Few sources, so that passing over the entries beats sorting.
  order_.clear();
  std::int32_t source = -1;
  while (order_.size() < taken_.size()) {
    std::int32_t next_source = std::numeric_limits<std::int32_t>::max();
    for (std::size_t i = 0; i < taken_.size(); ++i) {
      if (taken_[i].source == source) order_.push_back(i);
      else if (taken_[i].source > source) next_source = std::min(next_source, taken_[i].source);
    }
    source = next_source;
  }
  inputs_.clear();
  for (const Entry& entry : taken_) inputs_.push_back(entry.input);
}

void ExpertSide::open_messages() {
  outputs_.resize(taken_.size());
  messages_.clear();
  for (std::size_t begin = 0; begin < order_.size();) {
    const Entry& first = taken_[order_[begin]];
    const bool stay = first.stored_row == in_place;
    const std::size_t most = stay ? max_tags_per_block_ : max_rows_per_block_;
    std::size_t end = begin;
    while (end < order_.size() && end - begin < most && taken_[order_[end]].source == first.source) ++end;
    messages_.push_back({first.source, begin, static_cast<std::uint32_t>(end - begin), stay});
    const auto entries = std::span<const std::size_t>(order_).subspan(begin, end - begin);
    if (stay) {
      for (const std::size_t entry : entries) outputs_[entry] = taken_[entry].output;
    } else {
      open_message(entries);
    }
    begin = end;
  }
}

void ExpertSide::open_message(std::span<const std::size_t> entries) {
  const auto hidden = static_cast<std::size_t>(options_.hidden_size);
  const BlockLayout layout = outputs_layout(entries.size(), hidden * sizeof(float));
  const std::span<std::byte> bytes = outbox_.open(RankId(taken_[entries.front()].source), layout.total_bytes);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    store_at(bytes, 0, i, taken_[entries[i]].tag);
    outputs_[entries[i]] = reinterpret_cast<float*>(bytes.data() + layout.data_offset) + i * hidden;
  }
}

void ExpertSide::answer_for(std::span<const std::pair<RankId, PartTag>> sources) {
  for (const auto& [source, part] : sources) {
    if (parts_.size() <= source.idx()) parts_.resize(source.idx() + 1);
    parts_[source.idx()] = part;
  }
}

void ExpertSide::seal_messages(int layer) {
  for (const Message& message : messages_) {
    const auto source = static_cast<std::size_t>(message.source);
    const PartTag part = source < parts_.size() ? parts_[source] : PartTag{};
    const BlockKind kind = message.in_place ? BlockKind::expert_outputs_in_place : BlockKind::expert_outputs;
    const comm::MessageHeader header{.kind = static_cast<std::uint16_t>(kind),
                                     .layer = static_cast<std::uint16_t>(layer),
                                     .generation = static_cast<std::uint32_t>(counters_.calls - 1),
                                     .num_rows = message.num_rows,
                                     .num_pairs = 0,
                                     .micro_batch = part.micro_batch,
                                     .part = part.part};
    if (!message.in_place) {
      outbox_.seal(RankId(message.source), header);
      continue;
    }
    if (!options_.announce_in_place) continue;
    outbox_.send(RankId(message.source), header, message.num_rows * sizeof(OutputTag), [&](std::span<std::byte> bytes) {
      for (std::size_t i = 0; i < message.num_rows; ++i) store_at(bytes, 0, i, taken_[order_[message.begin + i]].tag);
    });
  }
}

}  // namespace moebius::ranks
