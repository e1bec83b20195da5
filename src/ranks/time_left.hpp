// SPDX-License-Identifier: Apache-2.0
#pragma once
// How long this job may still run, as its walltime and Slurm say.

#include <optional>
#include <string_view>

namespace moebius::ranks {

/// Seconds of "90", "59:30", "3:00:00", "1-12", "1-12:30" or "1-12:30:00", as Slurm writes them, but that a number alone is
/// seconds. Nothing where it is something else ("UNLIMITED").
std::optional<double> parse_duration_s(std::string_view text);

/// Seconds until Slurm ends the job that this process is part of: SLURM_JOB_END_TIME where it is set, else squeue is
/// asked (at most 10 s). Nothing outside of Slurm, without a limit, and where there is no answer.
std::optional<double> slurm_time_left_s();

}  // namespace moebius::ranks
