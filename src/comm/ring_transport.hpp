// SPDX-License-Identifier: Apache-2.0
#pragma once
// The Transport of a run: one-sided rings in the run's Window, by MPI Puts between nodes and by load
// and store within one. No collective, no two-sided message, no lock after the Window was made.
//
// On the fast path try_reserve gives the reader's own slot and commit makes it visible; over Puts
// commit sends the payload and flush() publishes. progress() also completes the credits that the last
// drain sent: a loop that drains must call it (every loop does, in every turn).
// Over a network whose one-sided operations are done in software, flush() and progress() may wait
// until the other rank is inside MPI; that rank never waits for this one to read or send.

#include <memory>

#include "comm/ring_endpoint.hpp"
#include "comm/transport.hpp"
#include "comm/window.hpp"
#include "comm/window_port.hpp"

namespace moebius::comm {

class RingTransport final : public Transport {
 public:
  /// Not collective. One per Window, and the Window outlives it.
  explicit RingTransport(Window& window);

  [[nodiscard]] RankId rank() const override { return window_.rank(); }
  [[nodiscard]] int num_ranks() const override { return window_.num_ranks(); }
  [[nodiscard]] std::size_t max_payload_bytes() const override { return window_.ring_options().slot_bytes; }
  std::span<std::byte> try_reserve(RankId to, std::size_t bytes) override;
  void commit(RankId to, const MessageHeader& header, std::size_t bytes) override;
  void flush() override;
  std::size_t drain(const MessageHandler& handler, std::size_t max_messages) override;
  void progress() override;
  [[nodiscard]] const TransportCounters& counters() const override { return rings_.counters(); }

 private:
  Window& window_;
  RingEndpoint<WindowProducerMemory, WindowConsumerMemory> rings_;
};

}  // namespace moebius::comm
