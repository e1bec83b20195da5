// SPDX-License-Identifier: Apache-2.0
#pragma once
// Encoding and decoding in MB of UTF-8 a second on one core, for the tokenizers of tests/data/goldens and
// the tiny model's. Texts: `english` (inputs/data/heldout_text.jsonl), `code` (this project's sources) and
// `scripts` (the texts of the goldens: many scripts, emoji, odd white space), each as one call a document;
// and single lines without an end, in two sizes: a rate that falls with the size is not linear.

#include <benchmark/benchmark.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "model/tokenizer.hpp"

namespace moebius::bench {

class TokenizerBench {
 public:
  /// Registers everything; this object must outlive the run.
  void add_benchmarks();

 private:
  using Texts = std::vector<std::string>;
  const model::Tokenizer& tokenizer(const std::string& name);
  const Texts& texts(const std::string& name);
  void encode(benchmark::State& state, const std::string& tokenizer_name, const Texts& input);
  void decode(benchmark::State& state, const std::string& tokenizer_name);

  std::map<std::string, std::unique_ptr<model::Tokenizer>> tokenizers_;
  std::map<std::string, Texts> texts_;
};

}  // namespace moebius::bench
