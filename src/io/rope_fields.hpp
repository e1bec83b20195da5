// SPDX-License-Identifier: Apache-2.0
#pragma once
// The rotary embedding of a config.json, in both spellings: rope_theta with rope_scaling, or
// rope_parameters. For the sources of `io` only.

#include <optional>

#include "base/model_config.hpp"
#include "io/json_fields.hpp"

namespace moebius::io {

struct RopeFields {
  double theta = 0;
  std::optional<YarnScaling> yarn;
};

/// Understands the types default and yarn; refuses every other one by name. `max_positions` is what the model
/// takes with its scaling.
RopeFields read_rope(const JsonFields& config, bool latent_attention, int max_positions);

}  // namespace moebius::io
