// SPDX-License-Identifier: Apache-2.0
#pragma once
// Makes a checkpoint of random weights in the published layout, for benchmarks and tests of any size.
//
// Every number is a pure function of (seed, tensor name, index): the bytes of a tensor do not depend on how
// the checkpoint is cut into shards. Weights are normal (65536 quantiles), 1 / sqrt(inputs) wide, norms are 1,
// biases are small; router rows differ in length, so that some experts are chosen more often than others, as
// in trained models. With a router skew (ModelShape::router_skew) experts are the first choice of tokens by
// Zipf's law instead.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "io/new_model_files.hpp"

namespace moebius::ranks {

struct MakeModelOptions {
  io::ModelShape shape;
  std::uint64_t seed = 0;
  std::int64_t max_shard_bytes = 5'000'000'000;
  std::string tokenizer_from;  ///< folder of a model; empty: a byte-level tokenizer of vocab_size pieces
};

/// Called now and then with the bytes written and the bytes of all tensors.
using MakeProgress = std::function<void(std::int64_t done, std::int64_t total)>;

/// Writes all files into `directory`, which exists. Returns the bytes of the tensors. Throws Failure.
std::int64_t make_model(const std::filesystem::path& directory, const MakeModelOptions& options, const MakeProgress& progress);

}  // namespace moebius::ranks
