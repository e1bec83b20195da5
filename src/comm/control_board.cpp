// SPDX-License-Identifier: Apache-2.0
#include "comm/control_board.hpp"

#include <bit>

#include "base/check.hpp"
#include "base/clock.hpp"
#include "comm/shared_port.hpp"

namespace moebius::comm {

namespace {

// Words of a state, behind those of the counters. A reader may see words of two publications; each
// word alone is whole, and the table is for people, so that is good enough.
constexpr std::size_t state_word = num_counter_words;
constexpr std::size_t phase_and_peer = 0, since_time = 1, published_time = 2, queued = 3, computed = 4, num_state_words = 5;
static_assert(state_word + num_state_words <= num_control_words);

const RankId counters_owner(0);

constexpr std::uint64_t pack(std::uint16_t phase, RankId waits_for) {
  return (std::uint64_t{phase} << 32) | std::bit_cast<std::uint32_t>(waits_for.value);
}

}  // namespace

ControlBoard::ControlBoard(Session& session, Window& window) : window_(window), start_s_(0) {
  session.barrier();
  start_s_ = now_s();
  // From here on a reader sees "never published": bits of a negative time.
  store_release(window_.control_word(state_word + published_time), std::bit_cast<std::uint64_t>(-1.0));
  window_.sync();
  session.barrier();
}

std::int64_t ControlBoard::fetch_add(Counter counter, std::int64_t value) {
  MOEBIUS_EXPECT(static_cast<std::size_t>(counter) < num_counter_words);
  return window_.fetch_add(counters_owner, static_cast<std::size_t>(counter), value);
}

std::int64_t ControlBoard::read(Counter counter) { return fetch_add(counter, 0); }

void ControlBoard::publish_state(std::uint16_t phase, RankId waits_for, double since_s) {
  store_release(window_.control_word(state_word + phase_and_peer), pack(phase, waits_for));
  store_release(window_.control_word(state_word + since_time), std::bit_cast<std::uint64_t>(since_s - start_s_));
  store_release(window_.control_word(state_word + published_time), std::bit_cast<std::uint64_t>(now_s() - start_s_));
  window_.sync();
}

void ControlBoard::publish_load(std::int64_t queued_rows, std::int64_t expert_rows) {
  store_release(window_.control_word(state_word + queued), static_cast<std::uint64_t>(queued_rows));
  store_release(window_.control_word(state_word + computed), static_cast<std::uint64_t>(expert_rows));
  window_.sync();
}

std::vector<RankState> ControlBoard::read_states(double patience_s) {
  const auto words = window_.read_control_words(state_word, num_state_words, patience_s);
  const double time_s = now_s() - start_s_;
  std::vector<RankState> states;  // [num_ranks]
  for (std::size_t r = 0; r < words.size(); ++r) {
    RankState state;
    state.rank = RankId(r);
    if (words[r]) {
      state.answered = true;
      const std::uint64_t packed = (*words[r])[phase_and_peer];
      const double published_s = std::bit_cast<double>((*words[r])[published_time]);
      state.phase = static_cast<std::uint16_t>(packed >> 32);
      state.queued_rows = static_cast<std::int64_t>((*words[r])[queued]);
      state.expert_rows = static_cast<std::int64_t>((*words[r])[computed]);
      if (published_s < 0) {
        state.published_ago_s = -1.0;
      } else {
        state.waits_for = RankId(std::bit_cast<std::int32_t>(static_cast<std::uint32_t>(packed)));
        state.since_ago_s = time_s - std::bit_cast<double>((*words[r])[since_time]);
        state.published_ago_s = time_s - published_s;
      }
    }
    states.push_back(state);
  }
  return states;
}

}  // namespace moebius::comm
