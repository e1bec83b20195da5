// SPDX-License-Identifier: Apache-2.0
#include "tests/support/random_model.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <stdexcept>

#include "base/bf16.hpp"
#include "model/family.hpp"

namespace moebius::test {
namespace {

template <class Stored>
void append(std::vector<std::byte>& bytes, Stored value) {
  bytes.resize(bytes.size() + sizeof(Stored));
  std::memcpy(bytes.data() + bytes.size() - sizeof(Stored), &value, sizeof(Stored));
}

/// The bits of a half that is near `value`, for values between 2^-14 and 2^15 in magnitude; else zero.
std::uint16_t near_half(float value) {
  int exponent = 0;
  const float fraction = std::frexp(std::abs(value), &exponent);  // in [0.5, 1)
  if (exponent < -13 || exponent > 15) return 0;
  const auto mantissa = static_cast<unsigned>(std::ldexp(fraction, 11)) & 0x3ffU;
  return static_cast<std::uint16_t>((value < 0 ? 0x8000U : 0U) | static_cast<unsigned>(exponent + 14) << 10 | mantissa);
}

}  // namespace

RandomModel::RandomModel(const ModelConfig& config, DType dtype, std::uint64_t seed) : config_(config) {
  std::mt19937_64 random(seed);
  const auto add = [&](const std::string& name, std::vector<std::int64_t> shape, double mean, double deviation) {
    std::normal_distribution<double> normal(mean, deviation);
    Tensor tensor{.dtype = dtype, .shape = shape, .bytes = {}};
    std::int64_t size = 1;
    for (const std::int64_t extent : shape) size *= extent;
    for (std::int64_t i = 0; i < size; ++i) {
      const auto value = static_cast<float>(normal(random));
      switch (dtype) {
        case DType::f32: append(tensor.bytes, value); break;
        case DType::bf16: append(tensor.bytes, to_bf16(value).bits); break;
        case DType::f16: append(tensor.bytes, near_half(value)); break;
        default: throw std::invalid_argument("random model: not a floating-point type");
      }
    }
    tensors_[name] = std::move(tensor);
  };
  for (const model::TensorSpec& tensor : model::checkpoint_schema(config)) {
    using enum model::TensorRole;
    if (tensor.role == embedding) {
      add(tensor.name, tensor.shape, 0.0, 1.0);
    } else if (tensor.role == q_bias || tensor.role == k_bias || tensor.role == v_bias || tensor.role == router_bias) {
      add(tensor.name, tensor.shape, 0.0, 0.3);
    } else if (tensor.shape.size() == 1) {  // norms
      add(tensor.name, tensor.shape, 1.0, 0.2);
    } else {
      add(tensor.name, tensor.shape, 0.0, 1.0 / std::sqrt(static_cast<double>(tensor.shape.back())));
    }
  }
}

TensorLookup RandomModel::lookup() const {
  return [this](std::string_view name) -> std::optional<TensorRef> {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) return std::nullopt;
    return TensorRef{.dtype = found->second.dtype, .shape = found->second.shape, .num_bytes = found->second.bytes.size(),
                     .read = [bytes = std::span<const std::byte>(found->second.bytes)](std::size_t first_byte, std::span<std::byte> out) {
                       std::ranges::copy(bytes.subspan(first_byte, out.size()), out.begin());
                     },
                     .file = "memory"};
  };
}

ModelConfig odd_model_config() {
  ModelConfig config;
  config.model_type = "qwen3_moe";
  config.qk_norm = QkNorm::each_head;
  config.vocab_size = 301;
  config.hidden_size = 52;
  config.num_layers = 3;
  config.num_heads = 6;
  config.num_kv_heads = 2;
  config.head_dim = 22;
  config.intermediate_size = 75;
  config.moe_intermediate_size = 37;
  config.num_experts = 11;
  config.experts_per_token = 3;
  config.router.norm_topk_prob = false;
  config.tie_word_embeddings = false;
  config.moe_layer = {1, 0, 1};
  config.rope_theta = 5000.0;
  config.rms_norm_eps = 1e-5;
  config.max_position_embeddings = 300;
  config.bos_token = 0;
  config.eos_tokens = {0};
  return config;
}

ModelConfig odd_window_config() {
  ModelConfig config = odd_model_config();
  config.model_type = "qwen2_moe";
  config.qk_norm = QkNorm::none;
  config.qkv_bias = true;
  config.windows = {19, 0, 40};
  config.shared_intermediate_size = 41;
  config.shared_expert_gate = true;
  return config;
}

ModelConfig odd_clipped_config() {
  ModelConfig config = odd_model_config();
  config.model_type = "olmoe";
  config.qk_norm = QkNorm::all_heads;
  config.clip_qkv = 0.9;
  config.moe_layer = {1, 1, 1};
  config.yarn = YarnScaling{.factor = 3.0, .original_max_positions = 40, .magnitude = 1.1};
  return config;
}

ModelConfig odd_latent_config() {
  ModelConfig config = odd_model_config();
  config.model_type = "deepseek_v3";
  config.qk_norm = QkNorm::none;
  config.num_kv_heads = config.num_heads;
  config.q_lora_rank = 67;  // wider than a hidden state
  config.kv_lora_rank = 35;
  config.qk_nope_head_dim = 13;
  config.qk_rope_head_dim = 10;
  config.v_head_dim = 17;
  config.head_dim = 23;
  config.rope_interleaved = true;
  config.yarn = YarnScaling{.factor = 4.0, .original_max_positions = 50, .magnitude = 1.2, .score_factor = 1.3};
  config.shared_intermediate_size = 2 * config.moe_intermediate_size;
  config.moe_layer = {0, 1, 1};
  config.num_experts = 12;
  config.router = {.scores = RouterOptions::Scores::sigmoid,
                   .group_scores = RouterOptions::GroupScores::sum_of_two,
                   .num_groups = 4,
                   .topk_groups = 2,
                   .correction_bias = true,
                   .norm_topk_prob = true,
                   .scaling = 1.7};
  return config;
}

}  // namespace moebius::test
