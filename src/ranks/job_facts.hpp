// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the rows of a job depend on: its keys that change results, the content of model and input, and the
// kernels that this processor gets. A run that was stopped is only resumed with the same facts; layout, schedule,
// limits and the number of ranks are none, since the bits do not depend on them.

#include "base/job.hpp"
#include "io/journal.hpp"
#include "io/request_file.hpp"
#include "io/safetensors.hpp"
#include "ranks/run_job.hpp"

namespace moebius::ranks {

/// Reads the input once and the small files of the model. Failure where one cannot be read.
io::JobFacts job_facts(const ResolvedJob& resolved, const io::Checkpoint& checkpoint, const io::RequestFile& requests,
                       const RunOptions& options);

}  // namespace moebius::ranks
