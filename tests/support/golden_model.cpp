// SPDX-License-Identifier: Apache-2.0
#include "tests/support/golden_model.hpp"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "io/model_files.hpp"

namespace moebius::test {
namespace {

template <class T>
std::vector<T> values(const io::Checkpoint& golden, const std::string& name, DType dtype) {
  const auto tensor = golden.find(name);
  if (!tensor || tensor->dtype != dtype) throw std::runtime_error("golden file has no " + name + " of the expected type");
  std::vector<T> result(tensor->num_bytes / sizeof(T));
  tensor->read(0, std::as_writable_bytes(std::span(result)));
  return result;
}

}  // namespace

GoldenModel load_golden_model(const std::string& name) {
  const std::filesystem::path folder = std::filesystem::path(MOEBIUS_SOURCE_DIR) / "tests/data/goldens/models" / name;
  GoldenModel model{.name = name,
                    .config = io::read_model_config(folder),
                    .checkpoint = io::Checkpoint::open(folder),
                    .tensors = {},
                    .prompts = {},
                    .float32_max_abs_logit_error = 0};
  model.tensors = model.checkpoint.lookup();
  std::ifstream json(folder / "golden.json");
  model.float32_max_abs_logit_error = nlohmann::json::parse(json).at("float32_max_abs_logit_error").get<double>();

  const io::Checkpoint golden = io::Checkpoint::open_file(folder / "golden.safetensors");
  for (int i = 0; golden.find("prompt." + std::to_string(i) + ".token_ids"); ++i) {
    const std::string prefix = "prompt." + std::to_string(i) + ".";
    GoldenPrompt& prompt = model.prompts.emplace_back();
    prompt.token_ids = values<TokenId>(golden, prefix + "token_ids", DType::i32);
    prompt.logits = values<float>(golden, prefix + "logits", DType::f32);
    prompt.token_logprobs = values<float>(golden, prefix + "token_logprobs", DType::f32);
    prompt.greedy_token_ids = values<TokenId>(golden, prefix + "greedy_token_ids", DType::i32);
    prompt.greedy_margin = values<float>(golden, prefix + "greedy_margin", DType::f32).at(0);
    for (int l = 0; l <= model.config.num_layers; ++l) {
      prompt.hidden.push_back(values<float>(golden, prefix + "hidden." + std::to_string(l), DType::f32));
    }
  }
  if (model.prompts.size() != 6) throw std::runtime_error("golden file of " + name + " lacks prompts");
  return model;
}

}  // namespace moebius::test
