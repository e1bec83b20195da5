// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "app/commands.hpp"
#include "base/clock.hpp"
#include "ranks/model_maker.hpp"

namespace moebius::app {
namespace {

struct MakeModelArguments {
  std::string directory;
  std::string dtype = "bf16";
  double shard_gb = 5;
  bool force_new = false;
  ranks::MakeModelOptions options;
};

void prepare_directory(const MakeModelArguments& arguments) {
  const std::filesystem::path directory = arguments.directory;
  std::error_code error;
  if (!arguments.force_new && std::filesystem::exists(directory / "config.json", error)) {
    throw Failure{ExitCode::bad_usage, fmt::format("{} holds a model already (config.json is there) name another folder, or give "
                                                   "--force-new to replace it",
                                                   arguments.directory)};
  }
  std::filesystem::create_directories(directory, error);
  if (error) {
    throw Failure{ExitCode::unreadable_input,
                  fmt::format("cannot make the folder {} ({}) check the path", arguments.directory, error.message())};
  }
}

const std::map<std::string, DType>& dtypes() {
  static const std::map<std::string, DType> table{
      {"bf16", DType::bf16}, {"fp16", DType::f16}, {"fp32", DType::f32}, {"fp8", DType::f8_e4m3}};
  return table;
}

ExitCode make_model(MakeModelArguments& arguments) {
  prepare_directory(arguments);
  arguments.options.shape.dtype = dtypes().at(arguments.dtype);
  arguments.options.max_shard_bytes = static_cast<std::int64_t>(arguments.shard_gb * 1e9);
  const bool terminal = isatty(STDERR_FILENO) != 0;
  const double start_s = now_s();
  double next_s = start_s + 0.2;
  const std::int64_t bytes = ranks::make_model(arguments.directory, arguments.options, [&](std::int64_t done, std::int64_t total) {
    if (!terminal || now_s() < next_s) return;
    next_s = now_s() + 0.2;
    fmt::print(stderr, "\r{:.2f} of {:.2f} GB, {:.0f} MB/s \033[K", static_cast<double>(done) * 1e-9, static_cast<double>(total) * 1e-9,
               static_cast<double>(done) * 1e-6 / (now_s() - start_s));
  });
  fmt::print(stderr, "{}{}: {:.2f} GB of weights in {:.1f} s\n", terminal ? "\r\033[K" : "", arguments.directory,
             static_cast<double>(bytes) * 1e-9, now_s() - start_s);
  return ExitCode::done;
}

}  // namespace

void add_make_model_command(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<MakeModelArguments>();
  io::ModelShape& shape = arguments->options.shape;
  CLI::App* command = app.add_subcommand("make-model", "Write a checkpoint of random weights, of any size, in the published layout");
  command->add_option("directory", arguments->directory, "Folder to write; made if it is not there")->required();
  const auto number = [command](const char* name, int& value, const char* help) {
    command->add_option(name, value, help)->check(CLI::PositiveNumber)->capture_default_str();
  };
  command->add_option("--family", shape.family, fmt::format("One of {}", fmt::join(io::new_model_families(), ", ")))->capture_default_str();
  number("--hidden", shape.hidden_size, "Width of a hidden state");
  number("--layers", shape.num_layers, "Layers");
  number("--heads", shape.num_heads, "Attention heads");
  number("--kv-heads", shape.num_kv_heads, "Key and value heads");
  number("--head-dim", shape.head_dim, "Width of a head");
  number("--experts", shape.num_experts, "Routed experts of a layer");
  number("--top-k", shape.experts_per_token, "Experts that a token is sent to");
  number("--width", shape.expert_width, "Inner width of an expert");
  command->add_option("--dense-width", shape.dense_width, "Inner width of dense layers (default: top-k times width)");
  number("--vocab", shape.vocab_size, "Pieces of the vocabulary");
  number("--context", shape.max_positions, "Longest text, in tokens");
  command->add_flag("--tie", shape.tie_word_embeddings, "The embedding is the LM head too");
  command->add_option("--router-skew", shape.router_skew,
                      "Popularity of experts by Zipf's law with this exponent, 0: all alike (default: as uneven as router rows of different length make it)")
      ->check(CLI::Range(0.0, 4.0));
  command->add_option("--config", shape.overrides, "Set a key of config.json: --config KEY=JSON (repeatable)")->allow_extra_args(false);
  command->add_option("--dtype", arguments->dtype, "bf16, fp16, fp32, or fp8 with scales of blocks")->check(CLI::IsMember({"bf16", "fp16", "fp32", "fp8"}))->capture_default_str();
  command->add_option("--seed", arguments->options.seed, "Another seed makes another model")->capture_default_str();
  command->add_option("--tokenizer", arguments->options.tokenizer_from,
                      "Folder whose tokenizer.json is copied (default: a byte-level one of --vocab pieces)");
  command->add_option("--shard-gb", arguments->shard_gb, "Largest safetensors file, in 10^9 bytes")
      ->check(CLI::Range(1e-6, 1e6))->capture_default_str();
  command->add_flag("--force-new", arguments->force_new, "Replace a model that is already in the folder");
  command->footer("Examples:\n"
                  "  moebius make-model models/mid                    # 0.86 GB, the size of the benchmarks\n"
                  "  moebius make-model models/mid --family qwen3_moe --hidden 1024 --layers 8 --heads 16 --kv-heads 4 \\\n"
                  "      --head-dim 64 --experts 32 --top-k 4 --width 512 --vocab 4096 --dtype bf16\n"
                  "  moebius make-model models/small --hidden 256 --layers 2 --tie --config rope_theta=1e6 --seed 7\n"
                  "  moebius make-model models/hot --router-skew 1.0  # a few experts have most rows; config.json says so");
  command->callback([arguments, &exit_code] {
    if (is_first_process()) exit_code = static_cast<int>(guarded([&] { return make_model(*arguments); }));
  });
}

}  // namespace moebius::app
