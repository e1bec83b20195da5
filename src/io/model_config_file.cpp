// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/model_family.hpp"
#include "io/input_file.hpp"
#include "io/json_fields.hpp"
#include "io/model_files.hpp"
#include "io/rope_fields.hpp"

namespace moebius::io {
namespace {

constexpr std::int64_t max_config_bytes = 16 << 20;
// Far above any published model; below it no product of two sizes overflows 64 bits.
constexpr std::int64_t max_size = 1 << 24, max_layers = 4096, max_experts = 65536;

int size_of(const JsonFields& config, const char* key, std::int64_t max = max_size) {
  return static_cast<int>(config.integer(key, 1, max));
}

std::string family_names() {
  std::string names;
  for (const ModelFamily& family : model_families()) names += fmt::format("{}{}", names.empty() ? "" : ", ", family.model_type);
  return names;
}

const ModelFamily& read_family(const JsonFields& config) {
  const auto model_type = config.string("model_type");
  const ModelFamily* family = find_model_family(model_type);
  if (family == nullptr) config.refuse("model_type", json_excerpt(Json(model_type)), family_names());
  if (const Json* names = config.find("architectures")) {
    const std::string expected(family->architecture);
    if (*names != Json{expected}) {
      config.refuse("architectures", names->is_array() && !names->empty() ? json_excerpt(names->front()) : "unusable",
                    expected);
    }
  }
  return *family;
}

void refuse_where_true(const JsonFields& config, const char* key) {
  if (config.boolean(key).value_or(false)) config.refuse(key, "true", "false");
}

void refuse_other_options(const JsonFields& config, const ModelFamily& family) {
  if (const auto act = config.string_or("hidden_act", "silu"); act != "silu") {
    config.refuse("hidden_act", json_excerpt(Json(act)), "silu");
  }
  refuse_where_true(config, "attention_bias");
  refuse_where_true(config, "mlp_bias");
  if (config.has("clip_qkv") && !family.clip_qkv) config.refuse("clip_qkv", "set", "it with olmoe");
  if (config.has("moe_layer_freq") && config.integer("moe_layer_freq", 0, max_layers) != 1) {
    config.refuse("moe_layer_freq", json_excerpt(*config.find("moe_layer_freq")), "1");
  }
}

/// FP8 with a scale for each block of a weight, as DeepSeek-V3 is published, is dequantised while it is read.
void refuse_other_quantization(const JsonFields& config) {
  if (!config.has("quantization_config")) return;
  const JsonFields quantization = config.object("quantization_config");
  const auto method = quantization.string("quant_method");
  if (method != "fp8") quantization.refuse("quant_method", json_excerpt(Json(method)), "fp8 and weights that are not quantized");
  if (const auto format = quantization.string_or("fmt", "e4m3"); format != "e4m3") {
    quantization.refuse("fmt", json_excerpt(Json(format)), "e4m3");
  }
  if (quantization.integers("weight_block_size", 1, max_size) != std::vector<std::int64_t>{128, 128}) {
    quantization.refuse("weight_block_size", "not [128, 128]", "[128, 128]");
  }
}

int read_window(const JsonFields& config) { return static_cast<int>(config.integer_or("sliding_window", 0, 1, 1 << 30)); }

/// transformers, configuration_qwen2_moe: without layer_types the even layers below max_window_layers.
std::vector<int> read_windows_by_layer(const JsonFields& config, int num_layers, int window) {
  std::vector<int> windows(static_cast<std::size_t>(num_layers), 0);
  if (!config.has("layer_types")) {
    const auto end = std::min(config.integer_or("max_window_layers", 28, 0, max_layers), std::int64_t{num_layers});
    for (std::int64_t layer_idx = 0; layer_idx < end; layer_idx += 2) windows[static_cast<std::size_t>(layer_idx)] = window;
    return windows;
  }
  const Json& types = config.list("layer_types");
  if (types.size() != windows.size()) {
    config.fail("layer_types", fmt::format("has {} entries (there are {} layers)", types.size(), num_layers), "mend the file");
  }
  for (std::size_t layer_idx = 0; layer_idx < windows.size(); ++layer_idx) {
    if (types[layer_idx] == "full_attention") continue;
    if (types[layer_idx] != "sliding_attention" || window == 0) {
      config.refuse("layer_types", "not full_attention everywhere", "full_attention, and sliding_attention with a window");
    }
    windows[layer_idx] = window;
  }
  return windows;
}

/// [num_layers], or empty where every layer sees everything.
std::vector<int> read_windows(const JsonFields& config, const ModelFamily& family, int num_layers) {
  const bool on = config.boolean("use_sliding_window").value_or(false);
  switch (family.windows) {
    case ModelFamily::Windows::none:
      if (config.has("sliding_window")) config.refuse("sliding_window", "set", "this family without it");
      break;
    case ModelFamily::Windows::all_layers:
      if (const int window = read_window(config); window > 0) return std::vector<int>(static_cast<std::size_t>(num_layers), window);
      break;
    case ModelFamily::Windows::where_switched:
      if (const int window = on ? read_window(config) : 0; window > 0) {
        return std::vector<int>(static_cast<std::size_t>(num_layers), window);
      }
      break;
    case ModelFamily::Windows::by_layer_type: {
      auto windows = read_windows_by_layer(config, num_layers, on ? read_window(config) : 0);
      if (std::ranges::any_of(windows, [](int window) { return window > 0; })) return windows;
      return {};
    }
  }
  if (const Json* types = config.find("layer_types")) {
    const bool all_full =
        types->is_array() && std::ranges::all_of(*types, [](const Json& type) { return type == "full_attention"; });
    if (!all_full) config.refuse("layer_types", "not full_attention everywhere", "full_attention");
  }
  return {};
}

/// Every family has its own name for it; transformers takes them for each other.
int read_num_experts(const JsonFields& config) {
  const char* found = nullptr;
  std::int64_t num_experts = 0;
  for (const char* key : {"num_experts", "num_local_experts", "n_routed_experts"}) {
    if (!config.has(key)) continue;
    const auto number = config.integer(key, 1, max_experts);
    if (found != nullptr && number != num_experts) {
      config.fail(found, fmt::format("is {} ({} is {})", num_experts, key, number), "keep one of them");
    }
    if (found == nullptr) found = key;
    num_experts = number;
  }
  if (found == nullptr) {
    config.fail("num_experts", "is missing (num_local_experts and n_routed_experts are missing too)", "download the file again");
  }
  return static_cast<int>(num_experts);
}

/// transformers, modeling_qwen3_moe: a layer has experts if mlp_only_layers does not name it and
/// (layer_idx + 1) is a multiple of decoder_sparse_step. DeepSeek: all but the first ones.
std::vector<std::uint8_t> read_moe_layers(const JsonFields& config, const ModelFamily& family, int num_layers) {
  std::vector<std::uint8_t> moe_layer(static_cast<std::size_t>(num_layers), 1);
  if (family.dense_layers == ModelFamily::DenseLayers::first_layers) {
    const auto num_dense = std::min<std::int64_t>(config.integer("first_k_dense_replace", 0, max_layers), num_layers);
    std::fill_n(moe_layer.begin(), num_dense, std::uint8_t{0});
  }
  if (family.dense_layers == ModelFamily::DenseLayers::by_step) {
    const auto step = config.integer_or("decoder_sparse_step", 1, 1, max_layers);
    const auto dense = config.integers("mlp_only_layers", 0, num_layers - 1);
    for (std::int64_t layer_idx = 0; layer_idx < num_layers; ++layer_idx) {
      const bool is_moe = std::ranges::find(dense, layer_idx) == dense.end() && (layer_idx + 1) % step == 0;
      moe_layer[static_cast<std::size_t>(layer_idx)] = is_moe ? 1 : 0;
    }
  }
  return moe_layer;
}

void read_latent_attention(const JsonFields& json, ModelConfig& config) {
  config.kv_lora_rank = size_of(json, "kv_lora_rank");
  config.q_lora_rank = static_cast<int>(json.integer_or("q_lora_rank", 0, 1, max_size));
  config.qk_nope_head_dim = size_of(json, "qk_nope_head_dim", 65536);
  config.qk_rope_head_dim = size_of(json, "qk_rope_head_dim", 65536);
  config.v_head_dim = size_of(json, "v_head_dim", 65536);
  config.head_dim = config.qk_nope_head_dim + config.qk_rope_head_dim;
  if (config.num_kv_heads != config.num_heads) {
    json.refuse("num_key_value_heads", std::to_string(config.num_kv_heads), "as many as num_attention_heads in latent attention");
  }
  // DeepSeek-V2 turns neighbours; DeepSeek-V3 says so in newer files, and in older ones it is understood.
  config.rope_interleaved = json.boolean("rope_interleave").value_or(true);
  if (config.model_type == "deepseek_v2" && !config.rope_interleaved) json.refuse("rope_interleave", "false", "true");
}

void read_attention_shape(const JsonFields& json, const ModelFamily& family, ModelConfig& config) {
  config.num_heads = size_of(json, "num_attention_heads", 65536);
  config.num_kv_heads = static_cast<int>(json.integer_or("num_key_value_heads", config.num_heads, 1, 65536));
  if (config.num_heads % config.num_kv_heads != 0) {
    json.fail(
        "num_key_value_heads",
        fmt::format("is {} (it must divide num_attention_heads, which is {})", config.num_kv_heads, config.num_heads),
        "mend the file");
  }
  config.qk_norm = family.qk_norm;
  config.qkv_bias = family.qkv_bias && json.boolean("qkv_bias").value_or(true);
  if (json.has("clip_qkv")) {
    config.clip_qkv = json.number("clip_qkv");
    if (!(config.clip_qkv > 0)) json.fail("clip_qkv", fmt::format("is {} (it must be above 0)", config.clip_qkv), "mend the file");
  }
  if (family.latent_attention) {
    read_latent_attention(json, config);
  } else {
    if (!json.has("head_dim") && config.hidden_size % config.num_heads != 0) {
      json.fail(
          "head_dim",
          fmt::format("is missing (hidden_size {} is no multiple of {} heads)", config.hidden_size, config.num_heads),
          "download the file again");
    }
    config.head_dim = static_cast<int>(json.integer_or("head_dim", config.hidden_size / config.num_heads, 1, 65536));
  }
  if (config.rope_dim() % 2 != 0) {
    json.fail(family.latent_attention ? "qk_rope_head_dim" : "head_dim",
              fmt::format("is {} (rotary embeddings turn pairs, it must be even)", config.rope_dim()), "mend the file");
  }
  config.windows = read_windows(json, family, config.num_layers);
}

void read_groups(const JsonFields& json, ModelConfig& config) {
  RouterOptions& router = config.router;
  router.num_groups = static_cast<int>(json.integer("n_group", 1, config.num_experts));
  router.topk_groups = static_cast<int>(json.integer("topk_group", 1, router.num_groups));
  const int group_size = config.num_experts / router.num_groups;
  if (config.num_experts % router.num_groups != 0) {
    json.fail("n_group", fmt::format("is {} (there are {} experts)", router.num_groups, config.num_experts), "mend the file");
  }
  if (group_size < 2 && router.group_scores == RouterOptions::GroupScores::sum_of_two) {
    json.fail("n_group", fmt::format("is {} (a group of {} experts has at least two)", router.num_groups, config.num_experts),
              "mend the file");
  }
  if (router.topk_groups * group_size < config.experts_per_token) {
    json.fail("topk_group",
              fmt::format("is {} (its groups of {} experts have fewer than num_experts_per_tok, which is {})",
                          router.topk_groups, group_size, config.experts_per_token),
              "mend the file");
  }
}

void read_router(const JsonFields& json, const ModelFamily& family, ModelConfig& config) {
  RouterOptions& router = config.router;
  router.norm_topk_prob = family.norm_topk == ModelFamily::NormTopk::always ||
                          json.boolean("norm_topk_prob").value_or(family.routing == ModelFamily::Routing::grouped_sigmoid);
  if (family.norm_topk == ModelFamily::NormTopk::never) refuse_where_true(json, "norm_topk_prob");
  if (family.routing == ModelFamily::Routing::softmax) return;
  const bool sigmoid = family.routing == ModelFamily::Routing::grouped_sigmoid;
  const char* scores = sigmoid ? "sigmoid" : "softmax";
  if (const auto given = json.string_or("scoring_func", scores); given != scores) {
    json.refuse("scoring_func", json_excerpt(Json(given)), fmt::format("{} in {}", scores, family.model_type));
  }
  const auto method = json.string_or("topk_method", sigmoid ? "noaux_tc" : "greedy");
  if (sigmoid ? method != "noaux_tc" : method != "greedy" && method != "group_limited_greedy") {
    json.refuse("topk_method", json_excerpt(Json(method)), sigmoid ? "noaux_tc" : "greedy and group_limited_greedy");
  }
  if (sigmoid) {
    router.scores = RouterOptions::Scores::sigmoid;
    router.group_scores = RouterOptions::GroupScores::sum_of_two;
    router.correction_bias = true;
  }
  if (method != "greedy") read_groups(json, config);
  router.scaling = json.has("routed_scaling_factor") ? json.number("routed_scaling_factor") : 1.0;
  if (!(std::abs(router.scaling) > 0 && std::abs(router.scaling) < 1e6)) {
    json.fail("routed_scaling_factor", fmt::format("is {} (it must be between 0 and 1e6)", router.scaling), "mend the file");
  }
}

void read_expert_shape(const JsonFields& json, const ModelFamily& family, ModelConfig& config) {
  config.num_experts = read_num_experts(json);
  config.experts_per_token = static_cast<int>(json.integer("num_experts_per_tok", 1, max_experts));
  if (config.experts_per_token > config.num_experts) {
    json.fail("num_experts_per_tok",
              fmt::format("is {} (there are {} experts)", config.experts_per_token, config.num_experts),
              "mend the file");
  }
  config.moe_intermediate_size = size_of(json, family.expert_size_key);
  config.moe_layer = read_moe_layers(json, family, config.num_layers);
  const bool any_dense = std::ranges::find(config.moe_layer, 0) != config.moe_layer.end();
  // A model without dense layers may leave their size out.
  config.intermediate_size = any_dense ? size_of(json, "intermediate_size")
                                       : static_cast<int>(json.integer_or("intermediate_size", 0, 0, max_size));
  if (family.shared_experts == ModelFamily::SharedExperts::gated) {
    config.shared_intermediate_size = size_of(json, "shared_expert_intermediate_size");
    config.shared_expert_gate = true;
  } else if (family.shared_experts == ModelFamily::SharedExperts::counted) {
    config.shared_intermediate_size =
        static_cast<int>(json.integer_or("n_shared_experts", 0, 0, 64)) * config.moe_intermediate_size;
  }
  read_router(json, family, config);
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
  const ModelFamily& family = read_family(json);
  refuse_other_options(json, family);
  refuse_other_quantization(json);

  ModelConfig config;
  config.model_type = family.model_type;
  config.vocab_size = size_of(json, "vocab_size");
  config.hidden_size = size_of(json, "hidden_size");
  config.num_layers = size_of(json, "num_hidden_layers", max_layers);
  config.max_position_embeddings = size_of(json, "max_position_embeddings", 1 << 30);
  config.tie_word_embeddings = json.boolean("tie_word_embeddings").value_or(false);
  config.rms_norm_eps = json.number("rms_norm_eps");
  if (!(config.rms_norm_eps > 0.0 && config.rms_norm_eps < 1.0)) {
    json.fail("rms_norm_eps", fmt::format("is {} (it must lie between 0 and 1)", config.rms_norm_eps), "mend the file");
  }
  const RopeFields rope = read_rope(json, family.latent_attention, config.max_position_embeddings);
  config.rope_theta = rope.theta;
  config.yarn = rope.yarn;
  read_attention_shape(json, family, config);
  read_expert_shape(json, family, config);
  read_special_tokens(json, model_dir / "generation_config.json", config);
  if (json.has("moebius_router_skew")) config.router_skew = json.number("moebius_router_skew");
  return config;
}

}  // namespace moebius::io
