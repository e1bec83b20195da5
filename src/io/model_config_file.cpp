// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "io/input_file.hpp"
#include "io/json_fields.hpp"
#include "io/model_files.hpp"

namespace moebius::io {
namespace {

constexpr std::int64_t max_config_bytes = 16 << 20;
// Far above any published model; below it no product of two sizes overflows 64 bits.
constexpr std::int64_t max_size = 1 << 24, max_layers = 4096, max_experts = 65536;

int size_of(const JsonFields& config, const char* key, std::int64_t max = max_size) {
  return static_cast<int>(config.integer(key, 1, max));
}

void refuse_other_families(const JsonFields& config) {
  const auto model_type = config.string("model_type");
  if (model_type != "qwen3_moe") config.refuse("model_type", json_excerpt(Json(model_type)), "qwen3_moe");
  if (const Json* names = config.find("architectures")) {
    const Json expected = {"Qwen3MoeForCausalLM"};
    if (*names != expected) {
      config.refuse("architectures", names->is_array() && !names->empty() ? json_excerpt(names->front()) : "unusable",
                    "Qwen3MoeForCausalLM");
    }
  }
}

void refuse_other_options(const JsonFields& config) {
  if (const auto act = config.string_or("hidden_act", "silu"); act != "silu") {
    config.refuse("hidden_act", json_excerpt(Json(act)), "silu");
  }
  if (config.boolean("attention_bias").value_or(false)) config.refuse("attention_bias", "true", "false");
  // transformers uses the window only where the switch is on and a width is given.
  if (config.boolean("use_sliding_window").value_or(false) && config.has("sliding_window")) {
    config.refuse("use_sliding_window", "true", "attention without a sliding window");
  }
  if (const Json* layer_types = config.find("layer_types")) {
    const bool all_full = layer_types->is_array() &&
                          std::ranges::all_of(*layer_types, [](const Json& type) { return type == "full_attention"; });
    if (!all_full) config.refuse("layer_types", "not full_attention everywhere", "full_attention");
  }
  if (config.has("quantization_config")) config.refuse("quantization_config", "set", "weights that are not quantized");
}

/// Refuses every kind of scaled rotary embedding; returns the base where `rope` gives one.
std::optional<double> default_rope_theta(const JsonFields& rope) {
  for (const char* key : {"rope_type", "type"}) {  // "type" is the older name
    if (const auto type = rope.string_or(key, "default"); type != "default") {
      rope.refuse(key, json_excerpt(Json(type)), "default");
    }
  }
  if (rope.has("partial_rotary_factor") && rope.number("partial_rotary_factor") != 1.0) {
    rope.refuse("partial_rotary_factor", "not 1", "1");
  }
  if (!rope.has("rope_theta")) return std::nullopt;
  const double theta = rope.number("rope_theta");
  if (!(theta >= 1.0 && theta <= 1e12)) {
    rope.fail("rope_theta", fmt::format("is {} (it must be from 1 to 1e12)", theta), "mend the file");
  }
  return theta;
}

double read_rope_theta(const JsonFields& config) {
  if (config.has("rope_scaling")) (void)default_rope_theta(config.object("rope_scaling"));
  auto theta = default_rope_theta(config);
  if (config.has("rope_parameters")) {
    const auto newer = default_rope_theta(config.object("rope_parameters"));
    if (theta && newer && *theta != *newer) {
      config.fail("rope_theta", fmt::format("is {} (rope_parameters.rope_theta is {})", *theta, *newer),
                  "keep one of them");
    }
    if (newer) theta = newer;
  }
  if (!theta) {
    config.fail("rope_theta", "is missing (neither it nor rope_parameters.rope_theta is there)",
                "download the file again");
  }
  return *theta;
}

int read_num_experts(const JsonFields& config) {
  const auto older = config.integer_or("num_experts", 0, 1, max_experts);
  const auto newer = config.integer_or("num_local_experts", 0, 1, max_experts);
  if (older == 0 && newer == 0) {
    config.fail("num_experts", "is missing (num_local_experts is missing too)", "download the file again");
  }
  if (older != 0 && newer != 0 && older != newer) {
    config.fail("num_experts", fmt::format("is {} (num_local_experts is {})", older, newer), "keep one of them");
  }
  return static_cast<int>(older != 0 ? older : newer);
}

/// transformers, modeling_qwen3_moe: a layer has experts if mlp_only_layers does not name it and
/// (layer_idx + 1) is a multiple of decoder_sparse_step.
std::vector<std::uint8_t> read_moe_layers(const JsonFields& config, int num_layers) {
  const auto step = config.integer_or("decoder_sparse_step", 1, 1, max_layers);
  const auto dense = config.integers("mlp_only_layers", 0, num_layers - 1);
  std::vector<std::uint8_t> moe_layer(static_cast<std::size_t>(num_layers));
  for (std::int64_t layer_idx = 0; layer_idx < num_layers; ++layer_idx) {
    const bool is_moe = std::ranges::find(dense, layer_idx) == dense.end() && (layer_idx + 1) % step == 0;
    moe_layer[static_cast<std::size_t>(layer_idx)] = is_moe ? 1 : 0;
  }
  return moe_layer;
}

void read_attention_shape(const JsonFields& json, ModelConfig& config) {
  config.num_heads = size_of(json, "num_attention_heads", 65536);
  config.num_kv_heads = size_of(json, "num_key_value_heads", 65536);
  if (config.num_heads % config.num_kv_heads != 0) {
    json.fail(
        "num_key_value_heads",
        fmt::format("is {} (it must divide num_attention_heads, which is {})", config.num_kv_heads, config.num_heads),
        "mend the file");
  }
  if (!json.has("head_dim") && config.hidden_size % config.num_heads != 0) {
    json.fail(
        "head_dim",
        fmt::format("is missing (hidden_size {} is no multiple of {} heads)", config.hidden_size, config.num_heads),
        "download the file again");
  }
  config.head_dim = static_cast<int>(json.integer_or("head_dim", config.hidden_size / config.num_heads, 1, 65536));
  if (config.head_dim % 2 != 0) {
    json.fail("head_dim", fmt::format("is {} (rotary embeddings turn pairs, it must be even)", config.head_dim),
              "mend the file");
  }
}

void read_expert_shape(const JsonFields& json, ModelConfig& config) {
  config.num_experts = read_num_experts(json);
  config.experts_per_token = static_cast<int>(json.integer("num_experts_per_tok", 1, max_experts));
  if (config.experts_per_token > config.num_experts) {
    json.fail("num_experts_per_tok",
              fmt::format("is {} (there are {} experts)", config.experts_per_token, config.num_experts),
              "mend the file");
  }
  config.router.norm_topk_prob = json.boolean("norm_topk_prob").value_or(false);
  config.moe_intermediate_size = size_of(json, "moe_intermediate_size");
  config.moe_layer = read_moe_layers(json, config.num_layers);
  const bool any_dense = std::ranges::find(config.moe_layer, 0) != config.moe_layer.end();
  // A model without dense layers may leave their size out.
  config.intermediate_size = any_dense ? size_of(json, "intermediate_size")
                                       : static_cast<int>(json.integer_or("intermediate_size", 0, 0, max_size));
}

void read_special_tokens(const JsonFields& json, const std::filesystem::path& generation_path, ModelConfig& config) {
  const std::int64_t last = config.vocab_size - 1;
  config.bos_token = static_cast<TokenId>(json.integer_or("bos_token_id", -1, 0, last));
  auto eos = json.integers("eos_token_id", 0, last);
  std::error_code ignored;  // what cannot be looked at is not there
  if (std::filesystem::exists(generation_path, ignored)) {
    const auto document = read_json_file(generation_path, max_config_bytes);
    const JsonFields generation(document, generation_path.string());
    if (generation.has("eos_token_id")) eos = generation.integers("eos_token_id", 0, last);
    if (config.bos_token < 0) {
      config.bos_token = static_cast<TokenId>(generation.integer_or("bos_token_id", -1, 0, last));
    }
  }
  config.eos_tokens.assign(eos.begin(), eos.end());
}

}  // namespace

ModelConfig read_model_config(const std::filesystem::path& model_dir) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(model_dir, ignored)) {
    throw Failure{
        ExitCode::unreadable_input,
        fmt::format("{} is no model folder (there is no folder of that name{}) set model.path to the folder of "
                    "a Hugging Face checkpoint",
                    model_dir.string(), where_relative_paths_start(model_dir))};
  }
  const auto path = model_dir / "config.json";
  const auto document = read_json_file(path, max_config_bytes);
  const JsonFields json(document, path.string());
  refuse_other_families(json);
  refuse_other_options(json);

  ModelConfig config;
  config.model_type = json.string("model_type");
  config.qk_norm = QkNorm::each_head;
  config.vocab_size = size_of(json, "vocab_size");
  config.hidden_size = size_of(json, "hidden_size");
  config.num_layers = size_of(json, "num_hidden_layers", max_layers);
  config.max_position_embeddings = size_of(json, "max_position_embeddings", 1 << 30);
  config.tie_word_embeddings = json.boolean("tie_word_embeddings").value_or(false);
  config.rms_norm_eps = json.number("rms_norm_eps");
  if (!(config.rms_norm_eps > 0.0 && config.rms_norm_eps < 1.0)) {
    json.fail("rms_norm_eps", fmt::format("is {} (it must lie between 0 and 1)", config.rms_norm_eps), "mend the file");
  }
  config.rope_theta = read_rope_theta(json);
  read_attention_shape(json, config);
  read_expert_shape(json, config);
  read_special_tokens(json, model_dir / "generation_config.json", config);
  return config;
}

}  // namespace moebius::io
