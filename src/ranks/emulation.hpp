// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a run in slow motion says about itself: on which device it was emulated, and whether its figures count.
//
// They do not where real computation took more than 30 % of the wall time of a core (ALGORITHMS section 6): ranks then wait for
// each other's real work. The largest share is that of the rank that computed most, or of all ranks on all cores. Nor where
// more than 5 % of the wall time is accounted for by no model: the run was late in the end. Nor where more than 5 % of the
// messages came too late for the choice that they should have been part of: another schedule was run than the device would.

#include <cstdint>
#include <string>
#include <vector>

#include "io/results_master.hpp"
#include "policy/device_model.hpp"
#include "ranks/stage_pace.hpp"

namespace moebius::ranks {

/// Of one rank's loop.
struct EmulatedRank {
  double processor_s = 0, loop_s = 0;
  double elapsed_s = 0;  ///< that the models account for; of the rank that ended last it is the loop
  PaceCounters pace;
};

struct EmulationSummary {
  bool on = false;             ///< else the run was in real time, and the rest is not set
  double dilation = 1;
  double seconds = 0;          ///< of the device: wall time of the loop / dilation
  double tokens_per_s = 0;     ///< emulated
  double compute_share = 0, slip = 0, missed_share = 0;
  double shortest_s = 0;       ///< shortest stage on the clock
  [[nodiscard]] bool valid() const { return compute_share <= 0.30 && slip <= 0.05 && missed_share <= 0.05; }
};

/// One line for outputs: "h100 (...) with the sizes of ..., link ..., dilation ..."; "none" in real time.
std::string describe_emulation(const Job& job, const ModelConfig& config);
/// Processor time of this process so far.
double processor_s();
/// tokens: rows that ranks fed, each of which may stand for several (emulation.tokens_per_row).
EmulationSummary summarise_emulation(const Job& job, const std::vector<EmulatedRank>& ranks, int num_cores, std::int64_t tokens);
io::EmulationTable emulation_table(const EmulationSummary& summary, const std::vector<EmulatedRank>& ranks);
/// "yes", "no (...) what to do", "real time".
std::string validity(const EmulationSummary& summary);
/// Lines for people; empty in real time.
std::string describe(const EmulationSummary& summary, const std::string& emulation);

}  // namespace moebius::ranks
