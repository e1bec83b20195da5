// SPDX-License-Identifier: Apache-2.0
#pragma once
// Measures how fast each expert rank of a job is, for `moebius profile`: the time of an expert call by its number of
// rows, with all expert ranks at work at once, since ranks of a node share its memory.

#include "base/job.hpp"
#include "comm/session.hpp"
#include "io/placement_file.hpp"

namespace moebius::ranks {

struct ProfileOptions {
  int num_repeats = 30;  ///< calls per number of rows, of which the median counts; each call takes the next hosted expert
};

/// Collective; throws AgreedFailure. On rank 0 the profile; others get an empty one. What the job emulates is left out:
/// a job multiplies a profile by its own placement.emulated_slowdown.
io::SpeedProfile profile_ranks(comm::Session& session, const Job& job, const ProfileOptions& options);

}  // namespace moebius::ranks
