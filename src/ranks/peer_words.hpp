// SPDX-License-Identifier: Apache-2.0
#pragma once
// Waits, without waiting, until a word of several ranks has reached a value: each look reads those that have not.

#include <cstdint>
#include <span>
#include <vector>

#include "comm/peer_memory.hpp"

namespace moebius::ranks {

class PeerWords {
 public:
  PeerWords(comm::PeerMemory& memory, std::vector<RankId> ranks, std::size_t offset)
      : memory_(memory), offset_(offset), ranks_(std::move(ranks)), words_(ranks_.size()), fresh_(ranks_.size()), reads_(ranks_.size()), is_reading_(ranks_.size()) {}

  /// Whether all words were at least `least` when they were read, some of them now. They never fall.
  [[nodiscard]] bool reach(std::uint64_t least) {
    bool all = true;
    for (std::size_t i = 0; i < ranks_.size(); ++i) {
      if (words_[i] < least) look(i);
      all = all && words_[i] >= least;
    }
    return all;
  }

 private:
  void look(std::size_t i) {
    if (is_reading_[i] == 0) {
      reads_[i] = memory_.start_read(ranks_[i], offset_, std::as_writable_bytes(std::span(&fresh_[i], 1)));
      is_reading_[i] = 1;
    }
    if (!memory_.finished(reads_[i])) return;
    is_reading_[i] = 0;
    words_[i] = fresh_[i];
  }

  comm::PeerMemory& memory_;
  std::size_t offset_;
  std::vector<RankId> ranks_;
  std::vector<std::uint64_t> words_, fresh_;  // [ranks] as known; being read
  std::vector<comm::PeerMemory::ReadId> reads_;
  std::vector<std::uint8_t> is_reading_;
};

}  // namespace moebius::ranks
