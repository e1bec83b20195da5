// SPDX-License-Identifier: Apache-2.0
#include "ranks/lockstep_loop.hpp"

#include <cstring>
#include <numeric>
#include <thread>

#include "base/check.hpp"
#include "base/clock.hpp"

namespace moebius::ranks {
namespace {

// A dispatch block: BlockPair[pairs], padding to 64 bytes, hidden state[rows], padding. Outputs come back in the order of
// the pairs, so they need no tags, and both sides know how many there are.
struct BlockPair {
  std::uint32_t row;
  std::int32_t place;
};

std::int64_t in_one_word(std::int64_t rows, std::int64_t pairs) { return rows << 32 | pairs; }

template <class T>
void grow(std::vector<T>& values, std::size_t count) {
  if (values.size() < count) values.resize(count);
}

std::size_t sum(const std::vector<std::size_t>& bytes) { return std::accumulate(bytes.begin(), bytes.end(), std::size_t{0}); }

}  // namespace

LockstepLoop::LockstepLoop(const Parts& parts, EventLoop::Beat beat)
    : parts_(parts),
      beat_(std::move(beat)),
      self_(parts.transport.rank().idx()),
      row_bytes_(static_cast<std::size_t>(parts.config.hidden_size) * element_bytes(parts.compute)),
      output_bytes_(static_cast<std::size_t>(parts.config.hidden_size) * sizeof(float)),
      to_(static_cast<std::size_t>(parts.all.num_ranks())),
      from_(to_.size()),
      to_bytes_(to_.size()),
      from_bytes_(to_.size()),
      counts_out_(to_.size()),
      counts_in_(to_.size()),
      link_out_(to_.size()),
      link_in_(to_.size()) {
  status_.last_work_s = now_s();
  parts_.all.while_waiting([this](comm::AllToAll::Wait what) { wait(what); });
  parts_.pace.while_waiting([this] { parts_.transport.progress(); });
}

void LockstepLoop::run() {
  parts_.pace.start();
  while (parts_.all.any(parts_.attention != nullptr && !parts_.attention->finished())) {
    delay_few_bytes();
    parts_.clock.mark(Phase::idle);
    step();
  }
  parts_.clock.mark(Phase::idle);
}

void LockstepLoop::step() {
  AttentionSide* attention = parts_.attention;
  if (attention != nullptr) attention->admit(now_s(), parts_.clock);
  for (int layer = 0; layer <= parts_.config.num_layers; ++layer) {
    while (attention != nullptr && attention->num_queued(layer) > 0) attention->run(layer, now_s(), parts_.clock);
    worked(Phase::attention);
    if (layer < parts_.config.num_layers && parts_.config.is_moe(LayerId(layer))) exchange_layer(layer);
  }
}

void LockstepLoop::exchange_layer(int layer) {
  if (parts_.has_replicas) choose_replicas(layer);
  pack();
  exchange_rows();
  if (parts_.experts != nullptr) {
    queue_rows(layer);
    run_experts(layer);
    worked(Phase::expert);
  }
  exchange_outputs();
  if (parts_.attention != nullptr) take_outputs(layer);
  parts_.pairs.clear();
  parts_.clock.mark(Phase::dispatch);
}

std::size_t LockstepLoop::dispatch_bytes(const Counts& counts) const {
  return round_up_64(static_cast<std::size_t>(counts.pairs) * sizeof(BlockPair)) + round_up_64(static_cast<std::size_t>(counts.rows) * row_bytes_);
}

std::size_t LockstepLoop::outputs_bytes(const Counts& counts) const {
  return round_up_64(static_cast<std::size_t>(counts.pairs) * output_bytes_);
}

void LockstepLoop::choose_replicas(int layer) {
  rows_of_all_.assign(static_cast<std::size_t>(parts_.config.num_experts), 0);
  if (parts_.attention != nullptr) {
    for (const std::int32_t expert : parts_.attention->kept_experts()) {
      if (expert >= 0) ++rows_of_all_[static_cast<std::size_t>(expert)];
    }
  }
  parts_.all.sum(rows_of_all_);
  delay_few_bytes();
  parts_.clock.mark(Phase::idle);
  if (parts_.attention != nullptr) parts_.attention->dispatch_step(LayerId(layer), rows_of_all_, parts_.counts);
  parts_.clock.mark(Phase::dispatch);
}

void LockstepLoop::pack() {
  for (std::size_t rank = 0; rank < num_ranks(); ++rank) {
    const std::span<const RowPair> pairs = parts_.pairs.to(rank);
    Counts& counts = to_[rank] = {};
    if (rank == self_) continue;  // not copied
    counts.pairs = static_cast<std::int64_t>(pairs.size());
    for (std::size_t i = 0; i < pairs.size(); ++i) counts.rows += i == 0 || pairs[i].tag.row != pairs[i - 1].tag.row ? 1 : 0;
    to_bytes_[rank] = dispatch_bytes(counts);
    counts_out_[rank] = in_one_word(counts.rows, counts.pairs);
  }
  grow(packed_, sum(to_bytes_));
  std::byte* block = packed_.data();
  for (std::size_t rank = 0; rank < num_ranks(); block += to_bytes_[rank], ++rank) {
    if (rank == self_) continue;
    const std::span<const RowPair> pairs = parts_.pairs.to(rank);
    std::byte* rows = block + round_up_64(pairs.size() * sizeof(BlockPair));
    std::uint32_t num_rows = 0;
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      if (i == 0 || pairs[i].tag.row != pairs[i - 1].tag.row) {
        std::memcpy(rows + num_rows * row_bytes_, parts_.own_rows->input(static_cast<std::int32_t>(pairs[i].tag.row)), row_bytes_);
        ++num_rows;
      }
      const BlockPair pair{num_rows - 1, pairs[i].place};
      std::memcpy(block + i * sizeof(BlockPair), &pair, sizeof(pair));
    }
  }
  parts_.clock.mark(Phase::dispatch);
}

void LockstepLoop::exchange_rows() {
  parts_.all.exchange_counts(counts_out_, counts_in_);
  delay_few_bytes();
  parts_.clock.mark(Phase::idle);
  for (std::size_t rank = 0; rank < num_ranks(); ++rank) {
    from_[rank] = {counts_in_[rank] >> 32, counts_in_[rank] & 0xffffffff};
    from_bytes_[rank] = dispatch_bytes(from_[rank]);
  }
  grow(arrived_, sum(from_bytes_));
  parts_.all.exchange(packed_, to_bytes_, arrived_, from_bytes_);
  delay_dispatch();
  parts_.clock.mark(Phase::dispatch, 0, static_cast<std::int64_t>(sum(to_bytes_)));
}

void LockstepLoop::queue_rows(int layer) {
  const double now = now_s();
  std::size_t reply_bytes = 0;
  for (const Counts& counts : from_) reply_bytes += outputs_bytes(counts);
  grow(reply_, reply_bytes / sizeof(float));
  const std::byte* block = arrived_.data();
  std::byte* reply = reinterpret_cast<std::byte*>(reply_.data());
  for (std::size_t rank = 0; rank < num_ranks(); ++rank) {
    const Counts& counts = from_[rank];
    const std::byte* rows = block + round_up_64(static_cast<std::size_t>(counts.pairs) * sizeof(BlockPair));
    for (std::int64_t i = 0; i < counts.pairs; ++i) {
      BlockPair pair;
      std::memcpy(&pair, block + static_cast<std::size_t>(i) * sizeof(pair), sizeof(pair));
      MOEBIUS_EXPECT(pair.row < counts.rows);
      auto* output = reinterpret_cast<float*>(reply + static_cast<std::size_t>(i) * output_bytes_);
      parts_.experts->add_in_place(layer, PlaceId(pair.place), 0, RankId(rank), {}, rows + pair.row * row_bytes_, output, now);
    }
    block += from_bytes_[rank];
    reply += outputs_bytes(counts);
  }
  for (const RowPair& pair : parts_.pairs.to(self_)) {
    const auto row = static_cast<std::int32_t>(pair.tag.row);
    parts_.experts->add_in_place(layer, PlaceId(pair.place), 0, RankId(self_), pair.tag, parts_.own_rows->input(row),
                                 parts_.own_rows->output(row, static_cast<int>(pair.tag.k_idx)), now);
  }
  parts_.clock.mark(Phase::dispatch);
}

void LockstepLoop::run_experts(int layer) {
  for (int place = 0; place < parts_.hosted_per_layer[static_cast<std::size_t>(layer)]; ++place) {
    while (parts_.experts->num_queued(layer, PlaceId(place)) > 0) parts_.experts->run(layer, PlaceId(place), parts_.clock);
  }
  if (!parts_.pace.slow()) return;
  parts_.pace.expert_layer();
  parts_.clock.mark(Phase::expert);
}

void LockstepLoop::exchange_outputs() {
  for (std::size_t rank = 0; rank < num_ranks(); ++rank) {
    from_bytes_[rank] = outputs_bytes(to_[rank]);
    to_bytes_[rank] = outputs_bytes(from_[rank]);
  }
  grow(outputs_, sum(from_bytes_) / sizeof(float));
  grow(reply_, sum(to_bytes_) / sizeof(float));
  if (parts_.delay != nullptr) parts_.delay->meet();
  parts_.all.exchange(std::as_bytes(std::span(reply_)), to_bytes_, std::as_writable_bytes(std::span(outputs_)), from_bytes_);
  delay_outputs();
  parts_.clock.mark(Phase::dispatch_wait, 0, static_cast<std::int64_t>(sum(to_bytes_)));
}

void LockstepLoop::take_outputs(int layer) {
  const double now = now_s();
  const std::byte* outputs = reinterpret_cast<const std::byte*>(outputs_.data());
  for (std::size_t rank = 0; rank < num_ranks(); outputs += from_bytes_[rank], ++rank) {
    const std::span<const RowPair> pairs = parts_.pairs.to(rank);
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      if (rank != self_) std::memcpy(parts_.attention->output_place(pairs[i].tag), outputs + i * output_bytes_, output_bytes_);
      parts_.attention->on_output(pairs[i].tag, layer, now);
    }
  }
}

void LockstepLoop::delay_few_bytes() {
  if (parts_.delay != nullptr) parts_.delay->few_bytes();
}

void LockstepLoop::delay_dispatch() {
  if (parts_.delay == nullptr) return;
  for (std::size_t rank = 0; rank < num_ranks(); ++rank) {
    link_out_[rank] = parts_.delay->times().dispatch_bytes(to_[rank].rows, to_[rank].pairs);
    link_in_[rank] = parts_.delay->times().dispatch_bytes(from_[rank].rows, from_[rank].pairs);
  }
  parts_.delay->blocks(link_out_, link_in_);
}

void LockstepLoop::delay_outputs() {
  if (parts_.delay == nullptr) return;
  for (std::size_t rank = 0; rank < num_ranks(); ++rank) {
    link_out_[rank] = parts_.delay->times().outputs_bytes(from_[rank].pairs);
    link_in_[rank] = parts_.delay->times().outputs_bytes(to_[rank].pairs);
  }
  parts_.delay->blocks(link_out_, link_in_);
}

void LockstepLoop::worked(Phase phase) {
  status_.phase = phase;
  status_.last_work_s = now_s();
  if (parts_.experts != nullptr) status_.expert_rows = parts_.experts->counters().rows_computed;
  beat_(status_);
}

void LockstepLoop::wait(comm::AllToAll::Wait what) {
  status_.phase = Phase::idle;
  beat_(status_);
  parts_.transport.progress();
  if (what == comm::AllToAll::Wait::ranks) return parts_.pace.rest();
  std::this_thread::yield();
}

}  // namespace moebius::ranks
