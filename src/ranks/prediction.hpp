// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the plan says of a run that is about to begin, to be stored beside what it then takes.

#include <span>
#include <string>

#include "io/request_file.hpp"
#include "io/results_master.hpp"
#include "policy/layout.hpp"
#include "policy/plan_modes.hpp"
#include "ranks/job_plan.hpp"

namespace moebius::ranks {

struct Prediction {
  policy::PlannedMode plan;
  double tokens = 0;    ///< through the layers
  int num_layers = 1;
  std::string devices;  ///< whose times they are
};

/// Of the lines that a run computes, with the layout and execution that it has. Nothing where no line is a request.
std::optional<Prediction> predict_run(const Job& job, const policy::RankLayout& layout, const io::RequestFile& file, std::span<const io::RequestFile::Line> lines,
                                      const ModelConfig& config);

/// measured_s, measured_tokens: of the loop, in seconds of the device where the run was in slow motion.
io::PredictedTable predicted_table(const std::optional<Prediction>& prediction, double measured_s, double measured_tokens);
/// "lockstep on 2:2 ranks, of h100 ..." or "none".
std::string describe(const std::optional<Prediction>& prediction);

}  // namespace moebius::ranks
