// SPDX-License-Identifier: Apache-2.0
// Checkpoints 64 wide with the layers, experts and top-k of published models.
#include <fmt/format.h>

#include "tests/bench/study.hpp"

namespace moebius::bench {
namespace {

StudyModel make(std::string name, std::string emulated, std::string family, int layers, int experts, int top_k, std::optional<double> skew,
                const std::vector<std::string>& more = {}) {
  StudyModel model{.name = std::move(name), .arguments = {"--hidden", "64", "--heads", "2", "--head-dim", "16", "--width", "16", "--dense-width", "32",
                                                          "--vocab", "512", "--context", "1024", "--config", "eos_token_id=null"},
                   .emulated = std::move(emulated)};
  const auto add = [&](const std::string& option, const std::string& value) {
    model.arguments.push_back(option);
    model.arguments.push_back(value);
  };
  add("--family", family);
  add("--layers", std::to_string(layers));
  add("--experts", std::to_string(experts));
  add("--top-k", std::to_string(top_k));
  add("--kv-heads", family == "deepseek_v3" ? "2" : "1");
  if (skew) {
    add("--router-skew", fmt::format("{}", *skew));
    model.name += fmt::format("_skew{}", *skew);
  }
  for (const std::string& key : more) add("--config", key);
  return model;
}

}  // namespace

StudyModel mixtral_8x7b(std::optional<double> skew) { return make("mixtral_8x7b", "mixtral-8x7b", "mixtral", 32, 8, 2, skew); }

StudyModel qwen3_30b_a3b(int top_k, std::optional<double> skew, int num_layers) {
  std::string name = "qwen3_30b_a3b";
  if (top_k > 0) name += fmt::format("_top{}", top_k);
  if (num_layers > 0) name += fmt::format("_{}layers", num_layers);
  return make(name, "qwen3-30b-a3b", "qwen3_moe", num_layers > 0 ? num_layers : 48, 128, top_k > 0 ? top_k : 8, skew);
}

StudyModel deepseek_v3(int num_layers) {
  return make(num_layers > 0 ? fmt::format("deepseek_v3_{}layers", num_layers) : "deepseek_v3", "deepseek-v3", "deepseek_v3", num_layers > 0 ? num_layers : 61, 256,
              8, {}, {"first_k_dense_replace=3", "n_group=8", "topk_group=4"});
}

StudyModel deepseek_v2(int num_layers) {
  return make(fmt::format("deepseek_v2_{}layers", num_layers), "deepseek-v2", "deepseek_v2", num_layers, 160, 6, {}, {"first_k_dense_replace=0"});
}

StudyModel qwen3_235b_a22b(int num_layers) {
  return make(fmt::format("qwen3_235b_a22b_{}layers", num_layers), "qwen3-235b-a22b", "qwen3_moe", num_layers, 128, 8, {});
}

Settings as_h100(const StudyModel& model, double dilation) {
  Settings settings{{"layout.mode", "colocated"},
                    {"emulation.device", "h100"},
                    {"emulation.model", model.emulated},
                    {"emulation.dilation", fmt::format("{}", dilation)}};
  // Where layers or top-k are others than the published ones, the sizes alone are published.
  if (model.name.find("_top") != std::string::npos || model.name.find("layers") != std::string::npos) settings.emplace_back("emulation.shape", "checkpoint");
  return settings;
}

Settings operator+(Settings first, const Settings& more) {
  first.insert(first.end(), more.begin(), more.end());
  return first;
}

}  // namespace moebius::bench
