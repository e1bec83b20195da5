// SPDX-License-Identifier: Apache-2.0
#include "ranks/outbox.hpp"

#include <cstring>

#include "base/check.hpp"
#include "base/clock.hpp"

namespace moebius::ranks {

Outbox::Outbox(comm::Transport& transport)
    : transport_(transport), to_(static_cast<std::size_t>(transport.num_ranks())) {}

void Outbox::deliver_own_to(comm::MessageHandler handler) {
  own_handler_ = std::move(handler);
  own_message_.resize(transport_.max_payload_bytes());
}

void Outbox::deliver_own(const comm::MessageHeader& header, std::size_t bytes,
                         const std::function<void(std::span<std::byte>)>& encode) {
  MOEBIUS_EXPECT(!delivering_own_);  // the one buffer is in use while the handler reads it
  delivering_own_ = true;
  const auto payload = std::span(own_message_).first(bytes);
  encode(payload);
  own_handler_(transport_.rank(), header, payload);
  delivering_own_ = false;
}

void Outbox::send(RankId to, const comm::MessageHeader& header, std::size_t bytes,
                  const std::function<void(std::span<std::byte>)>& encode) {
  MOEBIUS_EXPECT(bytes <= transport_.max_payload_bytes());
  if (to == transport_.rank() && own_handler_) return deliver_own(header, bytes, encode);
  encode(open(to, bytes));
  seal(to, header);
}

std::span<std::byte> Outbox::open(RankId to, std::size_t bytes) {
  MOEBIUS_EXPECT(bytes <= transport_.max_payload_bytes());
  Destination& destination = to_[to.idx()];
  if (destination.waiting.empty()) {
    const auto slot = transport_.try_reserve(to, bytes);
    if (!slot.empty()) {
      destination.open_slots.push_back(bytes);
      return slot.first(bytes);
    }
  }
  destination.waiting.push_back({{}, std::vector<std::byte>(bytes)});
  ++destination.num_open_waiting;
  ++num_waiting_;
  return destination.waiting.back().payload;
}

void Outbox::seal(RankId to, const comm::MessageHeader& header) {
  Destination& destination = to_[to.idx()];
  if (!destination.open_slots.empty()) {  // opened before any that waits
    commit(to, header, destination.open_slots.front());
    destination.open_slots.pop_front();
    return;
  }
  MOEBIUS_EXPECT(destination.num_open_waiting > 0);
  destination.waiting[destination.waiting.size() - destination.num_open_waiting].header = header;
  --destination.num_open_waiting;
}

void Outbox::commit(RankId to, comm::MessageHeader header, std::size_t bytes) {
  header.sent_s = now_s();
  transport_.commit(to, header, bytes);
}

std::size_t Outbox::pump() {
  if (num_waiting_ == 0) return 0;
  std::size_t moved = 0;
  for (std::size_t to = 0; to < to_.size(); ++to) {
    Destination& destination = to_[to];
    MOEBIUS_EXPECT(destination.open_slots.empty() && destination.num_open_waiting == 0);
    while (!destination.waiting.empty()) {
      const Waiting& message = destination.waiting.front();
      const std::size_t bytes = message.payload.size();
      const auto slot = transport_.try_reserve(RankId(to), bytes);
      if (slot.empty()) break;
      if (bytes != 0) std::memcpy(slot.data(), message.payload.data(), bytes);
      commit(RankId(to), message.header, bytes);
      destination.waiting.pop_front();
      --num_waiting_;
      ++moved;
    }
  }
  return moved;
}

RankId Outbox::blocked_on() const {
  for (std::size_t to = 0; to < to_.size(); ++to) {
    if (!to_[to].waiting.empty()) return RankId(to);
  }
  return {};
}

}  // namespace moebius::ranks
