// SPDX-License-Identifier: Apache-2.0
#include "ranks/outbox.hpp"

#include <cstring>

#include "base/check.hpp"

namespace moebius::ranks {

Outbox::Outbox(comm::Transport& transport)
    : transport_(transport), waiting_(static_cast<std::size_t>(transport.num_ranks())) {}

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
  auto& queue = waiting_[to.idx()];
  if (queue.empty()) {
    // An empty message still needs a slot; reserve one byte so that "no room" and "no bytes" differ.
    const auto slot = transport_.try_reserve(to, std::max<std::size_t>(bytes, 1));
    if (!slot.empty()) {
      encode(slot.first(bytes));
      transport_.commit(to, header, bytes);
      return;
    }
  }
  Waiting message{header, std::vector<std::byte>(bytes)};
  encode(message.payload);
  queue.push_back(std::move(message));
  ++num_waiting_;
}

std::size_t Outbox::pump() {
  if (num_waiting_ == 0) return 0;
  std::size_t moved = 0;
  for (std::size_t to = 0; to < waiting_.size(); ++to) {
    auto& queue = waiting_[to];
    while (!queue.empty()) {
      const Waiting& message = queue.front();
      const std::size_t bytes = message.payload.size();
      const auto slot = transport_.try_reserve(RankId(to), std::max<std::size_t>(bytes, 1));
      if (slot.empty()) break;
      if (bytes != 0) std::memcpy(slot.data(), message.payload.data(), bytes);
      transport_.commit(RankId(to), message.header, bytes);
      queue.pop_front();
      --num_waiting_;
      ++moved;
    }
  }
  return moved;
}

RankId Outbox::blocked_on() const {
  for (std::size_t to = 0; to < waiting_.size(); ++to) {
    if (!waiting_[to].empty()) return RankId(to);
  }
  return {};
}

}  // namespace moebius::ranks
