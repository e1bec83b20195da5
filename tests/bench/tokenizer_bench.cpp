// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/tokenizer_bench.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "io/model_files.hpp"

namespace moebius::bench {
namespace {

using Json = nlohmann::json;
const std::string source = MOEBIUS_SOURCE_DIR;

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::vector<std::string> english() {
  std::vector<std::string> texts;
  std::ifstream file(source + "/inputs/data/heldout_text.jsonl");
  for (std::string line; std::getline(file, line);) texts.push_back(Json::parse(line).at("text"));
  return texts;
}

std::vector<std::string> code() {
  std::vector<std::string> texts;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(source + "/src")) {
    if (entry.path().extension() == ".cpp") texts.push_back(read_file(entry.path()));
  }
  return texts;
}

std::vector<std::string> scripts() {
  std::vector<std::string> texts;
  for (const Json& row : Json::parse(read_file(source + "/tests/data/goldens/tokenizers/qwen/golden.json"))) {
    texts.push_back(row.at("text"));
  }
  return texts;
}

/// `text` again and again, cut to `size` bytes at the start of a character.
std::string repeated(const std::string& text, std::size_t size) {
  std::string line;
  while (line.size() < size + 4) line += text;
  while ((static_cast<unsigned char>(line[size]) & 0xc0) == 0x80) --size;
  line.resize(size);
  return line;
}

/// What a line of `kind` repeats.
std::string line_unit(const std::string& kind) {
  if (kind == "one_letter") return "a";
  if (kind == "letters") return "theandofinging";
  if (kind == "spaces") return " ";
  if (kind == "ideographs") return "\u65e5\u672c\u8a9e\u6587";
  std::string unit;  // words
  for (std::string text : english()) unit += text + " ";
  std::ranges::replace(unit, '\n', ' ');
  return unit;
}

}  // namespace

const model::Tokenizer& TokenizerBench::tokenizer(const std::string& name) {
  auto& tokenizer = tokenizers_[name];
  const std::string folder = name == "tiny" ? "/inputs/models/tiny" : "/tests/data/goldens/tokenizers/" + name;
  if (!tokenizer) tokenizer = std::make_unique<model::Tokenizer>(io::read_tokenizer(source + folder));
  return *tokenizer;
}

const TokenizerBench::Texts& TokenizerBench::texts(const std::string& name) {
  auto& texts = texts_[name];
  if (texts.empty()) texts = name == "english" ? english() : name == "code" ? code() : scripts();
  return texts;
}

void TokenizerBench::encode(benchmark::State& state, const std::string& tokenizer_name, const Texts& input) {
  const model::Tokenizer& tokenizer = this->tokenizer(tokenizer_name);
  std::size_t num_bytes = 0, num_tokens = 0;
  for (auto _ : state) {
    for (const std::string& text : input) {
      num_tokens += tokenizer.encode(text, model::AddSpecial::yes).size();
      num_bytes += text.size();
    }
  }
  state.counters["MB/s"] = benchmark::Counter(static_cast<double>(num_bytes) * 1e-6, benchmark::Counter::kIsRate);
  state.counters["bytes/token"] = static_cast<double>(num_bytes) / static_cast<double>(num_tokens);
}

void TokenizerBench::decode(benchmark::State& state, const std::string& tokenizer_name) {
  const model::Tokenizer& tokenizer = this->tokenizer(tokenizer_name);
  std::vector<std::vector<TokenId>> rows;
  for (const std::string& text : texts("english")) rows.push_back(tokenizer.encode(text, model::AddSpecial::yes));
  std::size_t num_bytes = 0;
  for (auto _ : state) {
    for (const auto& row : rows) num_bytes += tokenizer.decode(row, model::SkipSpecial::yes).size();
  }
  state.counters["MB/s"] = benchmark::Counter(static_cast<double>(num_bytes) * 1e-6, benchmark::Counter::kIsRate);
}

void TokenizerBench::add_benchmarks() {
  const auto add = [](const std::string& name, auto run) {
    benchmark::RegisterBenchmark(name.c_str(), run)->Unit(benchmark::kMillisecond);
  };
  for (const std::string name : {"qwen", "llama3", "mixtral", "deepseek", "olmoe", "tiny"}) {
    for (const std::string kind : {"english", "code", "scripts"}) {
      add("BM_encode/" + name + "/" + kind, [=, this](benchmark::State& state) { encode(state, name, texts(kind)); });
    }
    for (const std::string kind : {"words", "letters", "one_letter", "spaces", "ideographs"}) {
      for (const std::size_t kib : {256, 1024}) {
        add("BM_encode_line/" + name + "/" + kind + "/KiB:" + std::to_string(kib),
            [=, this](benchmark::State& state) { encode(state, name, {repeated(line_unit(kind), kib << 10)}); });
      }
    }
    add("BM_decode/" + name, [=, this](benchmark::State& state) { decode(state, name); });
  }
}

}  // namespace moebius::bench
