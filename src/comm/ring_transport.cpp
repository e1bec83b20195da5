// SPDX-License-Identifier: Apache-2.0
#include "comm/ring_transport.hpp"

namespace moebius::comm {

Checksum default_checksum() { return MOEBIUS_COMM_CHECKSUM != 0 ? Checksum::on : Checksum::off; }

RingTransport::RingTransport(Window& window) : window_(window), rings_(window.num_ranks(), window.ring_options()) {
  for (int r = 0; r < window.num_ranks(); ++r) {
    const RankId peer(r);
    if (const auto out = window.place(window.rank(), peer)) {
      rings_.add_producer(peer, WindowProducerMemory(window, peer, *out));
    }
    if (const auto in = window.place(peer, window.rank())) {
      rings_.add_consumer(peer, WindowConsumerMemory(window, peer, *in));
    }
  }
}

std::span<std::byte> RingTransport::try_reserve(RankId to, std::size_t bytes) { return rings_.try_reserve(to, bytes); }

void RingTransport::commit(RankId to, const MessageHeader& header, std::size_t bytes) {
  rings_.commit(to, header, bytes);
}

void RingTransport::flush() { rings_.flush(); }

std::size_t RingTransport::drain(const MessageHandler& handler, std::size_t max_messages) {
  return rings_.drain(handler, max_messages, [this] { window_.sync(); });
}

void RingTransport::progress() {
  rings_.complete_credits();
  window_.progress();
}

}  // namespace moebius::comm
