// SPDX-License-Identifier: Apache-2.0
#pragma once
// The model families as data: what the files of a family are called and what its config.json leaves unsaid.
// `io` reads config.json by this table, `model` finds tensors by it; a family is a row, not code.
// Source: the modeling files of Hugging Face transformers 5.x and the published checkpoints.

#include <cstdint>
#include <span>
#include <string_view>

#include "base/model_config.hpp"

namespace moebius {

struct ModelFamily {
  enum class DenseLayers : std::uint8_t {
    none,           ///< every layer has experts
    by_step,        ///< decoder_sparse_step and mlp_only_layers
    first_layers,   ///< first_k_dense_replace
  };
  enum class NormTopk : std::uint8_t { always, as_config_says, never };
  enum class SharedExperts : std::uint8_t {
    none,
    gated,    ///< one of shared_expert_intermediate_size, times a sigmoid gate
    counted,  ///< n_shared_experts of moe_intermediate_size, stored as one
  };
  enum class Windows : std::uint8_t {
    none,
    all_layers,       ///< sliding_window, where it is set
    where_switched,   ///< ... and use_sliding_window is on
    by_layer_type,    ///< ... and layer_types says so, or every second layer below max_window_layers
  };
  enum class Routing : std::uint8_t { softmax, grouped_softmax, grouped_sigmoid };

  std::string_view model_type;    ///< of config.json
  std::string_view architecture;  ///< of config.json

  bool latent_attention = false;
  QkNorm qk_norm = QkNorm::none;
  bool qkv_bias = false;          ///< unless config.json says qkv_bias: false
  bool clip_qkv = false;          ///< config.json may give clip_qkv
  Windows windows = Windows::none;
  Routing routing = Routing::softmax;
  NormTopk norm_topk = NormTopk::as_config_says;
  DenseLayers dense_layers = DenseLayers::none;
  SharedExperts shared_experts = SharedExperts::none;
  const char* expert_size_key = "moe_intermediate_size";

  /// Names below "model.layers.<n>.".
  std::string_view mlp = "mlp.";
  /// Names of an expert's matrices; those of dense layers and shared experts are gate_proj and so on everywhere.
  std::string_view gate_proj = "gate_proj", up_proj = "up_proj", down_proj = "down_proj";
  std::string_view shared_expert = "";  ///< below mlp
};

/// All families, in the order in which messages list them.
std::span<const ModelFamily> model_families();
/// nullptr where no family has that model_type.
const ModelFamily* find_model_family(std::string_view model_type);

}  // namespace moebius
