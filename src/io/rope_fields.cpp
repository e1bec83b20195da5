// SPDX-License-Identifier: Apache-2.0
#include "io/rope_fields.hpp"

#include <fmt/format.h>

#include <cmath>
#include <string>

namespace moebius::io {
namespace {

double number_between(const JsonFields& fields, const char* key, double min, double max) {
  const double value = fields.number(key);
  if (!(value >= min && value <= max)) {
    fields.fail(key, fmt::format("is {} (it must be from {} to {})", value, min, max), "mend the file");
  }
  return value;
}

double number_or(const JsonFields& fields, const char* key, double otherwise, double min, double max) {
  return fields.has(key) ? number_between(fields, key, min, max) : otherwise;
}

std::optional<double> read_theta(const JsonFields& rope) {
  if (rope.has("partial_rotary_factor") && rope.number("partial_rotary_factor") != 1.0) {
    rope.refuse("partial_rotary_factor", "not 1", "1");
  }
  if (!rope.has("rope_theta")) return std::nullopt;
  return number_between(rope, "rope_theta", 2.0, 1e12);
}

/// "default" where neither the key nor its older name is there.
std::string read_type(const JsonFields& rope) {
  std::string type = "default";
  for (const char* key : {"type", "rope_type"}) {  // "type" is the older name
    if (!rope.has(key)) continue;
    type = rope.string(key);
    if (type != "default" && type != "yarn") rope.refuse(key, json_excerpt(Json(type)), "default and yarn");
  }
  return type;
}

/// The growth of attention with length, of YaRN's section 3.4; transformers, modeling_rope_utils, get_mscale.
double yarn_mscale(double factor, double mscale) { return factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0; }

YarnScaling read_yarn(const JsonFields& rope, bool latent_attention, int max_positions) {
  YarnScaling yarn;
  yarn.original_max_positions = number_between(rope, "original_max_position_embeddings", 1, 1 << 30);
  yarn.factor = rope.has("factor") ? number_between(rope, "factor", 1.0, 1e6)
                                   : std::max(1.0, max_positions / yarn.original_max_positions);
  // Zero means "not set" to transformers, as it does for mscale.
  if (const double fast = number_or(rope, "beta_fast", 0, 0, 1e6); fast > 0) yarn.beta_fast = fast;
  if (const double slow = number_or(rope, "beta_slow", 0, 0, 1e6); slow > 0) yarn.beta_slow = slow;
  yarn.truncate = rope.boolean("truncate").value_or(true);
  const double mscale = number_or(rope, "mscale", 0, 0, 1e3), all_dim = number_or(rope, "mscale_all_dim", 0, 0, 1e3);
  if (rope.has("attention_factor")) {
    yarn.magnitude = number_between(rope, "attention_factor", 1e-3, 1e3);
  } else if (mscale > 0 && all_dim > 0) {
    yarn.magnitude = yarn_mscale(yarn.factor, mscale) / yarn_mscale(yarn.factor, all_dim);
  } else {
    yarn.magnitude = yarn_mscale(yarn.factor, 1.0);
  }
  // DeepSeek also scales the numbers that do not turn; modeling_deepseek_v2, yarn_apply_mscale.
  if (latent_attention && all_dim > 0) yarn.score_factor = std::pow(yarn_mscale(yarn.factor, all_dim), 2);
  return yarn;
}

}  // namespace

RopeFields read_rope(const JsonFields& config, bool latent_attention, int max_positions) {
  std::optional<double> theta = read_theta(config);
  RopeFields rope;
  std::optional<std::string> type;
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (!config.has(key)) continue;
    const JsonFields fields = config.object(key);
    const std::string this_type = read_type(fields);
    if (type && *type != this_type) {
      config.fail(key, fmt::format("has the type {} (rope_scaling has {})", this_type, *type), "keep one of them");
    }
    type = this_type;
    const std::optional<double> this_theta = read_theta(fields);
    if (theta && this_theta && *theta != *this_theta) {
      config.fail("rope_theta", fmt::format("is {} ({}.rope_theta is {})", *theta, key, *this_theta), "keep one of them");
    }
    if (this_theta) theta = this_theta;
    if (this_type == "yarn") rope.yarn = read_yarn(fields, latent_attention, max_positions);
  }
  if (!theta) {
    config.fail("rope_theta", "is missing (neither it nor rope_parameters.rope_theta is there)",
                "download the file again");
  }
  rope.theta = *theta;
  return rope;
}

}  // namespace moebius::io
