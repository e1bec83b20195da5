// SPDX-License-Identifier: Apache-2.0
// The config.json files of well-known checkpoints, with all the keys that they have on the hub: they must be
// read as they are, and what is not supported must be refused by its name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "io/model_files.hpp"
#include "tests/io/input_support.hpp"

namespace moebius::io {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Json = nlohmann::json;

constexpr const char* mixtral_8x7b = R"({
  "architectures": ["MixtralForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2,
  "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 14336,
  "max_position_embeddings": 32768, "model_type": "mixtral", "num_attention_heads": 32, "num_experts_per_tok": 2,
  "num_hidden_layers": 32, "num_key_value_heads": 8, "num_local_experts": 8, "output_router_logits": false,
  "rms_norm_eps": 1e-05, "rope_theta": 1000000.0, "router_aux_loss_coef": 0.02, "sliding_window": null,
  "tie_word_embeddings": false, "torch_dtype": "bfloat16", "transformers_version": "4.36.0.dev0", "use_cache": true,
  "vocab_size": 32000})";

constexpr const char* qwen15_moe = R"({
  "architectures": ["Qwen2MoeForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643, "eos_token_id": 151643,
  "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 5632,
  "max_position_embeddings": 8192, "max_window_layers": 21, "model_type": "qwen2_moe", "num_attention_heads": 16,
  "num_hidden_layers": 24, "num_key_value_heads": 16, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
  "sliding_window": 32768, "tie_word_embeddings": false, "torch_dtype": "bfloat16", "transformers_version": "4.39.0.dev0",
  "use_cache": true, "use_sliding_window": false, "vocab_size": 151936, "decoder_sparse_step": 1,
  "moe_intermediate_size": 1408, "shared_expert_intermediate_size": 5632, "num_experts_per_tok": 4, "num_experts": 60,
  "norm_topk_prob": false, "output_router_logits": false, "router_aux_loss_coef": 0.001})";

constexpr const char* qwen2_57b = R"({
  "architectures": ["Qwen2MoeForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643,
  "decoder_sparse_step": 1, "eos_token_id": 151645, "hidden_act": "silu", "hidden_size": 3584,
  "initializer_range": 0.02, "intermediate_size": 18944, "max_position_embeddings": 32768, "max_window_layers": 28,
  "model_type": "qwen2_moe", "moe_intermediate_size": 2560, "norm_topk_prob": false, "num_attention_heads": 28,
  "num_experts": 64, "num_experts_per_tok": 8, "num_hidden_layers": 28, "num_key_value_heads": 4,
  "output_router_logits": false, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "router_aux_loss_coef": 0.001,
  "shared_expert_intermediate_size": 20480, "sliding_window": 65536, "tie_word_embeddings": false,
  "torch_dtype": "bfloat16", "transformers_version": "4.40.1", "use_cache": true, "use_sliding_window": false,
  "vocab_size": 151936})";

constexpr const char* qwen3_30b = R"({
  "architectures": ["Qwen3MoeForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 151643,
  "decoder_sparse_step": 1, "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu", "hidden_size": 2048,
  "initializer_range": 0.02, "intermediate_size": 6144, "max_position_embeddings": 40960, "max_window_layers": 48,
  "mlp_only_layers": [], "model_type": "qwen3_moe", "moe_intermediate_size": 768, "norm_topk_prob": true,
  "num_attention_heads": 32, "num_experts": 128, "num_experts_per_tok": 8, "num_hidden_layers": 48,
  "num_key_value_heads": 4, "output_router_logits": false, "rms_norm_eps": 1e-06, "rope_scaling": null,
  "rope_theta": 1000000.0, "router_aux_loss_coef": 0.001, "sliding_window": null, "tie_word_embeddings": false,
  "torch_dtype": "bfloat16", "transformers_version": "4.51.0", "use_cache": true, "use_sliding_window": false,
  "vocab_size": 151936})";

constexpr const char* qwen3_235b = R"({
  "architectures": ["Qwen3MoeForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 151643,
  "decoder_sparse_step": 1, "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu", "hidden_size": 4096,
  "initializer_range": 0.02, "intermediate_size": 12288, "max_position_embeddings": 40960, "max_window_layers": 94,
  "mlp_only_layers": [], "model_type": "qwen3_moe", "moe_intermediate_size": 1536, "norm_topk_prob": true,
  "num_attention_heads": 64, "num_experts": 128, "num_experts_per_tok": 8, "num_hidden_layers": 94,
  "num_key_value_heads": 4, "output_router_logits": false, "rms_norm_eps": 1e-06,
  "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
  "rope_theta": 1000000.0, "router_aux_loss_coef": 0.001, "sliding_window": null, "tie_word_embeddings": false,
  "torch_dtype": "bfloat16", "transformers_version": "4.51.0", "use_cache": true, "use_sliding_window": false,
  "vocab_size": 151936})";

constexpr const char* olmoe_1b_7b = R"({
  "architectures": ["OlmoeForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "clip_qkv": null,
  "eos_token_id": 50279, "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02,
  "intermediate_size": 1024, "max_position_embeddings": 4096, "model_type": "olmoe", "norm_topk_prob": false,
  "num_attention_heads": 16, "num_experts": 64, "num_experts_per_tok": 8, "num_hidden_layers": 16,
  "num_key_value_heads": 16, "output_router_logits": false, "pad_token_id": 1, "rms_norm_eps": 1e-05,
  "rope_scaling": null, "rope_theta": 10000.0, "router_aux_loss_coef": 0.01, "tie_word_embeddings": false,
  "torch_dtype": "bfloat16", "transformers_version": "4.43.0.dev0", "use_cache": true, "vocab_size": 50304})";

constexpr const char* deepseek_v2_lite = R"({
  "architectures": ["DeepseekV2ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
  "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV2Config", "AutoModel": "modeling_deepseek.DeepseekV2Model",
               "AutoModelForCausalLM": "modeling_deepseek.DeepseekV2ForCausalLM"},
  "aux_loss_alpha": 0.001, "bos_token_id": 100000, "eos_token_id": 100001, "first_k_dense_replace": 1,
  "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 10944,
  "kv_lora_rank": 512, "max_position_embeddings": 163840, "model_type": "deepseek_v2", "moe_intermediate_size": 1408,
  "moe_layer_freq": 1, "n_group": 1, "n_routed_experts": 64, "n_shared_experts": 2, "norm_topk_prob": false,
  "num_attention_heads": 16, "num_experts_per_tok": 6, "num_hidden_layers": 27, "num_key_value_heads": 16,
  "pretraining_tp": 1, "q_lora_rank": null, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "rms_norm_eps": 1e-06,
  "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 0.707, "mscale_all_dim": 0.707,
                   "original_max_position_embeddings": 4096, "type": "yarn"},
  "rope_theta": 10000, "routed_scaling_factor": 1.0, "scoring_func": "softmax", "seq_aux": true,
  "tie_word_embeddings": false, "topk_group": 1, "topk_method": "greedy", "torch_dtype": "bfloat16",
  "transformers_version": "4.33.1", "use_cache": true, "v_head_dim": 128, "vocab_size": 102400})";

constexpr const char* deepseek_v2 = R"({
  "architectures": ["DeepseekV2ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
  "aux_loss_alpha": 0.001, "bos_token_id": 100000, "eos_token_id": 100001, "ep_size": 1, "first_k_dense_replace": 1,
  "hidden_act": "silu", "hidden_size": 5120, "initializer_range": 0.02, "intermediate_size": 12288,
  "kv_lora_rank": 512, "max_position_embeddings": 163840, "model_type": "deepseek_v2", "moe_intermediate_size": 1536,
  "moe_layer_freq": 1, "n_group": 8, "n_routed_experts": 160, "n_shared_experts": 2, "norm_topk_prob": false,
  "num_attention_heads": 128, "num_experts_per_tok": 6, "num_hidden_layers": 60, "num_key_value_heads": 128,
  "pretraining_tp": 1, "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "rms_norm_eps": 1e-06,
  "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0,
                   "original_max_position_embeddings": 4096, "type": "yarn"},
  "rope_theta": 10000, "routed_scaling_factor": 16.0, "scoring_func": "softmax", "seq_aux": true,
  "tie_word_embeddings": false, "topk_group": 3, "topk_method": "group_limited_greedy", "torch_dtype": "bfloat16",
  "transformers_version": "4.39.3", "use_cache": true, "v_head_dim": 128, "vocab_size": 102400})";

constexpr const char* deepseek_v3 = R"({
  "architectures": ["DeepseekV3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
  "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV3Config", "AutoModel": "modeling_deepseek.DeepseekV3Model",
               "AutoModelForCausalLM": "modeling_deepseek.DeepseekV3ForCausalLM"},
  "bos_token_id": 0, "eos_token_id": 1, "ep_size": 1, "first_k_dense_replace": 3, "hidden_act": "silu",
  "hidden_size": 7168, "initializer_range": 0.02, "intermediate_size": 18432, "kv_lora_rank": 512,
  "max_position_embeddings": 163840, "model_type": "deepseek_v3", "moe_intermediate_size": 2048, "moe_layer_freq": 1,
  "n_group": 8, "n_routed_experts": 256, "n_shared_experts": 1, "norm_topk_prob": true, "num_attention_heads": 128,
  "num_experts_per_tok": 8, "num_hidden_layers": 61, "num_key_value_heads": 128, "num_nextn_predict_layers": 1,
  "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
  "quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]},
  "rms_norm_eps": 1e-06,
  "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0,
                   "original_max_position_embeddings": 4096, "type": "yarn"},
  "rope_theta": 10000, "routed_scaling_factor": 2.5, "scoring_func": "sigmoid", "tie_word_embeddings": false,
  "topk_group": 4, "topk_method": "noaux_tc", "torch_dtype": "bfloat16", "transformers_version": "4.33.1",
  "use_cache": true, "v_head_dim": 128, "vocab_size": 129280})";

class PublishedConfigTest : public FolderTest {
 protected:
  ModelConfig read(const Json& config) const {
    write("config.json", config.dump());
    return read_model_config(folder_);
  }
  ModelConfig read(const char* text) const { return read(Json::parse(text)); }
  /// The message with one value changed; nlohmann's pointer syntax.
  std::string refusal(const char* text, const char* pointer, const Json& value) const {
    Json config = Json::parse(text);
    config[Json::json_pointer(pointer)] = value;
    return failure_of([&] { read(config); });
  }
};

TEST_F(PublishedConfigTest, mixtral) {
  const auto config = read(mixtral_8x7b);
  EXPECT_EQ(config.head_dim, 128);
  EXPECT_EQ(config.num_kv_heads, 8);
  EXPECT_EQ(config.moe_intermediate_size, 14336);
  EXPECT_EQ(config.num_experts, 8);
  EXPECT_EQ(config.experts_per_token, 2);
  EXPECT_TRUE(config.router.norm_topk_prob);
  EXPECT_EQ(config.qk_norm, QkNorm::none);
  EXPECT_FALSE(config.qkv_bias);
  EXPECT_THAT(config.windows, IsEmpty());
  EXPECT_THAT(config.moe_layer, Each(1));
  EXPECT_EQ(config.shared_intermediate_size, 0);
  Json windowed = Json::parse(mixtral_8x7b);
  windowed["sliding_window"] = 4096;
  EXPECT_THAT(read(windowed).windows, ::testing::AllOf(::testing::SizeIs(32), Each(4096)));
}

TEST_F(PublishedConfigTest, qwen2_moe) {
  const auto small = read(qwen15_moe);
  EXPECT_TRUE(small.qkv_bias);
  EXPECT_EQ(small.shared_intermediate_size, 5632);
  EXPECT_TRUE(small.shared_expert_gate);
  EXPECT_FALSE(small.router.norm_topk_prob);
  EXPECT_THAT(small.windows, IsEmpty());
  EXPECT_EQ(small.num_experts, 60);
  const auto large = read(qwen2_57b);
  EXPECT_EQ(large.num_heads / large.num_kv_heads, 7);
  EXPECT_EQ(large.shared_intermediate_size, 20480);
  // transformers: with the switch on, the even layers below max_window_layers.
  Json windowed = Json::parse(qwen15_moe);
  windowed["use_sliding_window"] = true;
  const auto windows = read(windowed).windows;
  ASSERT_EQ(windows.size(), 24U);
  for (std::size_t layer = 0; layer < 24; ++layer) EXPECT_EQ(windows[layer], layer % 2 == 0 && layer < 21 ? 32768 : 0) << layer;
  windowed["layer_types"] = std::vector<std::string>(24, "full_attention");
  windowed["layer_types"][5] = "sliding_attention";
  EXPECT_EQ(read(windowed).window(LayerId(5)), 32768);
  EXPECT_EQ(read(windowed).window(LayerId(4)), 0);
}

TEST_F(PublishedConfigTest, qwen3_moe) {
  const auto config = read(qwen3_30b);
  EXPECT_EQ(config.qk_norm, QkNorm::each_head);
  EXPECT_EQ(config.head_dim, 128);
  EXPECT_TRUE(config.router.norm_topk_prob);
  EXPECT_FALSE(config.yarn);
  EXPECT_FALSE(config.is_mla());
  const auto yarn = read(qwen3_235b).yarn;
  ASSERT_TRUE(yarn);
  EXPECT_EQ(yarn->factor, 4.0);
  EXPECT_EQ(yarn->original_max_positions, 32768);
  EXPECT_NEAR(yarn->magnitude, 0.1 * std::log(4.0) + 1, 1e-12);
  EXPECT_EQ(yarn->score_factor, 1.0);
}

TEST_F(PublishedConfigTest, olmoe) {
  const auto config = read(olmoe_1b_7b);
  EXPECT_EQ(config.qk_norm, QkNorm::all_heads);
  EXPECT_EQ(config.moe_intermediate_size, 1024);
  EXPECT_EQ(config.rms_norm_eps, 1e-5);
  EXPECT_EQ(config.clip_qkv, 0.0);
  Json clipped = Json::parse(olmoe_1b_7b);
  clipped["clip_qkv"] = 8.0;
  EXPECT_EQ(read(clipped).clip_qkv, 8.0);
}

TEST_F(PublishedConfigTest, deepseek_v2) {
  const auto lite = read(deepseek_v2_lite);
  EXPECT_TRUE(lite.is_mla());
  EXPECT_EQ(lite.q_lora_rank, 0);
  EXPECT_EQ(lite.kv_lora_rank, 512);
  EXPECT_EQ(lite.head_dim, 192);
  EXPECT_EQ(lite.rope_dim(), 64);
  EXPECT_TRUE(lite.rope_interleaved);
  EXPECT_EQ(lite.shared_intermediate_size, 2816);
  EXPECT_FALSE(lite.shared_expert_gate);
  EXPECT_EQ(lite.moe_layer.front(), 0);
  EXPECT_THAT(std::vector(lite.moe_layer.begin() + 1, lite.moe_layer.end()), Each(1));
  EXPECT_EQ(lite.router.num_groups, 1);
  EXPECT_FALSE(lite.router.correction_bias);
  ASSERT_TRUE(lite.yarn);
  EXPECT_EQ(lite.yarn->magnitude, 1.0);  // mscale and mscale_all_dim are the same
  EXPECT_NEAR(lite.yarn->score_factor, std::pow(0.0707 * std::log(40.0) + 1, 2), 1e-12);
  const auto full = read(deepseek_v2);
  EXPECT_EQ(full.q_lora_rank, 1536);
  EXPECT_EQ(full.router.num_groups, 8);
  EXPECT_EQ(full.router.topk_groups, 3);
  EXPECT_EQ(full.router.group_scores, RouterOptions::GroupScores::best);
  EXPECT_EQ(full.router.scaling, 16.0);
}

TEST_F(PublishedConfigTest, deepseek_v3) {
  const auto config = read(deepseek_v3);
  EXPECT_EQ(config.num_layers, 61);  // the layer for multi-token prediction is not one of them
  EXPECT_EQ(config.router.scores, RouterOptions::Scores::sigmoid);
  EXPECT_EQ(config.router.group_scores, RouterOptions::GroupScores::sum_of_two);
  EXPECT_TRUE(config.router.correction_bias);
  EXPECT_TRUE(config.router.norm_topk_prob);
  EXPECT_EQ(config.router.topk_groups, 4);
  EXPECT_EQ(config.router.scaling, 2.5);
  EXPECT_EQ(std::count(config.moe_layer.begin(), config.moe_layer.end(), 0), 3);
}

TEST_F(PublishedConfigTest, what_is_not_supported_is_refused_by_name) {
  EXPECT_THAT(refusal(mixtral_8x7b, "/model_type", "llama4"),
              HasSubstr(R"(key model_type is "llama4" (this version of moebius runs only mixtral, qwen2_moe, qwen3_moe, olmoe,)"));
  EXPECT_THAT(refusal(mixtral_8x7b, "/architectures/0", "MixtralForTokenClassification"), HasSubstr("MixtralForTokenClassification"));
  EXPECT_THAT(refusal(qwen3_235b, "/rope_scaling/rope_type", "longrope"), HasSubstr(R"(rope_scaling.rope_type is "longrope")"));
  EXPECT_THAT(refusal(deepseek_v2, "/rope_scaling/type", "dynamic"), HasSubstr(R"(rope_scaling.type is "dynamic")"));
  EXPECT_THAT(refusal(deepseek_v3, "/quantization_config/quant_method", "gptq"), HasSubstr(R"(quantization_config.quant_method is "gptq")"));
  EXPECT_THAT(refusal(deepseek_v3, "/quantization_config/fmt", "e5m2"), HasSubstr(R"(quantization_config.fmt is "e5m2")"));
  EXPECT_THAT(refusal(deepseek_v3, "/quantization_config/weight_block_size", nullptr), HasSubstr("weight_block_size is not [128, 128]"));
  EXPECT_THAT(refusal(olmoe_1b_7b, "/hidden_act", "gelu"), HasSubstr(R"(hidden_act is "gelu")"));
  EXPECT_THAT(refusal(olmoe_1b_7b, "/attention_bias", true), HasSubstr("attention_bias is true"));
  EXPECT_THAT(refusal(olmoe_1b_7b, "/clip_qkv", -1.0), HasSubstr("clip_qkv is -1"));
  EXPECT_THAT(refusal(olmoe_1b_7b, "/sliding_window", 100), HasSubstr("sliding_window is set"));
  EXPECT_THAT(refusal(mixtral_8x7b, "/clip_qkv", 8.0), HasSubstr("clip_qkv is set"));
  EXPECT_THAT(refusal(qwen2_57b, "/layer_types", std::vector<std::string>(28, "chunked_attention")), HasSubstr("layer_types is not"));
  EXPECT_THAT(refusal(qwen2_57b, "/layer_types", {"full_attention"}), HasSubstr("layer_types has 1 entries"));
  EXPECT_THAT(refusal(deepseek_v2, "/norm_topk_prob", true), HasSubstr("norm_topk_prob is true"));
  EXPECT_THAT(refusal(deepseek_v2, "/scoring_func", "sigmoid"), HasSubstr(R"(scoring_func is "sigmoid")"));
  EXPECT_THAT(refusal(deepseek_v2, "/topk_method", "noaux_tc"), HasSubstr(R"(topk_method is "noaux_tc")"));
  EXPECT_THAT(refusal(deepseek_v2, "/moe_layer_freq", 2), HasSubstr("moe_layer_freq is 2"));
  EXPECT_THAT(refusal(deepseek_v2, "/mlp_bias", true), HasSubstr("mlp_bias is true"));
  EXPECT_THAT(refusal(deepseek_v2, "/num_key_value_heads", 64), HasSubstr("num_key_value_heads is 64"));
  EXPECT_THAT(refusal(deepseek_v2, "/rope_interleave", false), HasSubstr("rope_interleave is false"));
  EXPECT_THAT(refusal(deepseek_v3, "/topk_method", "greedy"), HasSubstr(R"(topk_method is "greedy")"));
  EXPECT_THAT(refusal(deepseek_v3, "/n_group", 7), HasSubstr("n_group is 7"));
  EXPECT_THAT(refusal(deepseek_v3, "/n_group", 256), HasSubstr("n_group is 256"));
  EXPECT_THAT(refusal(deepseek_v3, "/topk_group", 9), HasSubstr("topk_group is 9"));
  EXPECT_THAT(refusal(deepseek_v2, "/qk_rope_head_dim", 63), HasSubstr("qk_rope_head_dim is 63"));
  EXPECT_THAT(refusal(deepseek_v2, "/rope_scaling/original_max_position_embeddings", nullptr),
              HasSubstr("rope_scaling.original_max_position_embeddings is missing"));
  EXPECT_THAT(refusal(deepseek_v2, "/rope_scaling/factor", -1), HasSubstr("rope_scaling.factor is -1"));
  EXPECT_THAT(refusal(deepseek_v2, "/routed_scaling_factor", 0), HasSubstr("routed_scaling_factor is 0"));
  EXPECT_THAT(refusal(deepseek_v2, "/rope_parameters", {{"rope_type", "default"}}), HasSubstr("rope_parameters has the type default"));
}

/// Both spellings say the same.
TEST_F(PublishedConfigTest, rope_parameters_and_rope_scaling) {
  const auto older = read(deepseek_v2_lite);
  Json json = Json::parse(deepseek_v2_lite);
  json["rope_parameters"] = json["rope_scaling"];
  json["rope_parameters"]["rope_type"] = "yarn";
  json["rope_parameters"]["rope_theta"] = 10000;
  json["rope_parameters"].erase("type");
  json.erase("rope_scaling");
  json.erase("rope_theta");
  const auto newer = read(json);
  EXPECT_EQ(newer.rope_theta, older.rope_theta);
  ASSERT_TRUE(newer.yarn);
  EXPECT_EQ(newer.yarn->score_factor, older.yarn->score_factor);
  EXPECT_EQ(newer.yarn->factor, older.yarn->factor);
  json["rope_parameters"]["attention_factor"] = 1.25;
  json["rope_parameters"]["factor"] = nullptr;  // the ratio of the lengths
  EXPECT_EQ(read(json).yarn->magnitude, 1.25);
  EXPECT_EQ(read(json).yarn->factor, 40.0);
}

}  // namespace
}  // namespace moebius::io
