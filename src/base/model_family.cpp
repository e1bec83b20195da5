// SPDX-License-Identifier: Apache-2.0
#include "base/model_family.hpp"

#include <algorithm>

namespace moebius {
namespace {

using F = ModelFamily;

constexpr ModelFamily families[] = {
    {.model_type = "mixtral",
     .architecture = "MixtralForCausalLM",
     .windows = F::Windows::all_layers,
     .norm_topk = F::NormTopk::always,
     .expert_size_key = "intermediate_size",
     .mlp = "block_sparse_moe.",
     .gate_proj = "w1",
     .up_proj = "w3",
     .down_proj = "w2"},
    {.model_type = "qwen2_moe",
     .architecture = "Qwen2MoeForCausalLM",
     .qkv_bias = true,
     .windows = F::Windows::by_layer_type,
     .dense_layers = F::DenseLayers::by_step,
     .shared_experts = F::SharedExperts::gated,
     .shared_expert = "shared_expert."},
    {.model_type = "qwen3_moe",
     .architecture = "Qwen3MoeForCausalLM",
     .qk_norm = QkNorm::each_head,
     .windows = F::Windows::where_switched,
     .dense_layers = F::DenseLayers::by_step},
    {.model_type = "olmoe",
     .architecture = "OlmoeForCausalLM",
     .qk_norm = QkNorm::all_heads,
     .clip_qkv = true,
     .expert_size_key = "intermediate_size"},
    // DeepSeek-V2 scales its weights by routed_scaling_factor and does not divide them: transformers and
    // DeepSeek's own code agree on that only where norm_topk_prob is false, as in all published files.
    {.model_type = "deepseek_v2",
     .architecture = "DeepseekV2ForCausalLM",
     .latent_attention = true,
     .routing = F::Routing::grouped_softmax,
     .norm_topk = F::NormTopk::never,
     .dense_layers = F::DenseLayers::first_layers,
     .shared_experts = F::SharedExperts::counted,
     .shared_expert = "shared_experts."},
    {.model_type = "deepseek_v3",
     .architecture = "DeepseekV3ForCausalLM",
     .latent_attention = true,
     .routing = F::Routing::grouped_sigmoid,
     .dense_layers = F::DenseLayers::first_layers,
     .shared_experts = F::SharedExperts::counted,
     .shared_expert = "shared_experts."},
};

}  // namespace

std::span<const ModelFamily> model_families() { return families; }

const ModelFamily* find_model_family(std::string_view model_type) {
  const auto found = std::ranges::find(families, model_type, &ModelFamily::model_type);
  return found != std::end(families) ? found : nullptr;
}

}  // namespace moebius
