// SPDX-License-Identifier: Apache-2.0
#pragma once
// What every rank has to know before the loop starts, found out together: roles, model, input. Each
// step is agreed on, so that a file that one rank cannot read ends the job with one message.

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/job.hpp"
#include "comm/session.hpp"
#include "io/output_folder.hpp"
#include "io/request_file.hpp"
#include "io/safetensors.hpp"
#include "model/chat_template.hpp"
#include "model/tokenizer.hpp"
#include "policy/claim_order.hpp"
#include "policy/layout.hpp"
#include "policy/placement.hpp"
#include "ranks/prediction.hpp"
#include "ranks/run_job.hpp"
#include "ranks/stage_map.hpp"

namespace moebius::ranks {

struct JobSetup {
  policy::RankLayout layout;                         ///< of all ranks
  policy::RankLayout group;                          ///< the ranks that this one exchanges rows with
  Roles roles = Roles::both;
  comm::RoleCommunicators communicators;
  ModelConfig config;
  std::optional<io::Checkpoint> checkpoint;
  TensorLookup tensors;                              ///< of the checkpoint
  std::unique_ptr<model::Tokenizer> tokenizer;       ///< attention roles only
  std::unique_ptr<model::ChatTemplate> chat_template;  ///< attention roles only
  std::uint64_t tokenizer_hash = 0;                  ///< rank 0 only
  std::uint64_t chat_template_hash = 0;              ///< of the template's text, 0 without one; attention roles only
  std::optional<Prediction> prediction;              ///< rank 0 only
  std::optional<io::RequestFile> requests;           ///< attention roles only
  std::vector<io::RequestFile::Line> lines;          ///< of the requests to run; attention roles only
  std::unique_ptr<io::OutputFolder> output;          ///< rank 0 only
  bool finished = false;                             ///< an earlier run left nothing to do: the rest here is not set
  std::unique_ptr<policy::ClaimPlan> claims;         ///< attention roles only
  std::unique_ptr<policy::TablePlacement> placement;        ///< on all ranks
  std::unique_ptr<policy::TablePlacement> group_placement;  ///< on those of the group
};

Roles roles_of(const policy::RankLayout& layout, RankId rank);

/// Collective; throws AgreedFailure. Writes nothing, but into the folder of an earlier run that is resumed. The
/// communicators are the caller's to free.
JobSetup set_up_job(comm::Session& session, const ResolvedJob& resolved, const RunOptions& options);

}  // namespace moebius::ranks
