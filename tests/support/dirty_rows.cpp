// SPDX-License-Identifier: Apache-2.0
// Dirty input at any size, and the judge of what became of it.
//   dirty_rows make ROWS SEED DIRTY CLEAN EXPECTED   requests, one in a hundred bad in one of twenty ways; the good ones
//                                                     alone; and for each bad line its number, status and part of its message
//   dirty_rows check RESULTS EXPECTED                 prints the digest over the good rows; exit code 1 where a row is not as expected
#include <array>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "base/hash.hpp"
#include "base/random.hpp"
#include "base/request.hpp"
#include "io/results_reader.hpp"
#include "io/row_digest.hpp"

namespace moebius {
namespace {

constexpr std::int64_t one_bad_in = 100;

/// One way of being bad: `line` takes the name of the request and the number of its line.
struct Way {
  const char* status;
  const char* message;  ///< a part of what it has to say
  std::function<std::string(const std::string& id, std::int64_t line)> line;
};

std::string with_id(const std::string& id, const std::string& rest) { return "{\"custom_id\": \"" + id + "\", " + rest + "}"; }

std::string scored(const std::string& id, const std::string& context, const std::string& rest) {
  return with_id(id, "\"kind\": \"loglikelihood\", \"context\": " + context + ", " + rest);
}

const std::array<Way, 20>& ways() {
  using Id = const std::string&;
  static const std::array<Way, 20> all{{
      {"bad_json", "not valid JSON", [](Id id, auto) { return scored(id, "\"The sky", ""); }},
      {"bad_json", "not valid JSON", [](Id, auto) { return std::string("The sky is blue"); }},
      {"bad_utf8", "not UTF-8", [](Id id, auto) { return scored(id, "\"The sk\xff\xfe is\"", "\"continuation\": \" blue\""); }},
      {"bad_json", "not valid JSON", [](Id id, auto) { return scored(id, "\"The\x01 sky\"", "\"continuation\": \" blue\""); }},
      {"unknown_kind", "kind is \"loglikelyhood\"", [](Id id, auto) { return with_id(id, R"("kind": "loglikelyhood", "context": "a", "continuation": "b")"); }},
      {"unknown_kind", "url is", [](Id id, auto) { return with_id(id, R"("method": "POST", "url": "/v1/embeddings", "body": {"input": "a"})"); }},
      {"bad_field", "context is missing", [](Id id, auto) { return with_id(id, R"("kind": "loglikelihood", "continuation": " blue")"); }},
      {"bad_field", "context is 17", [](Id id, auto) { return scored(id, "17", R"("continuation": " blue")"); }},
      {"bad_field", "continuations is empty", [](Id id, auto) { return scored(id, R"("The sky")", R"("continuations": [])"); }},
      {"bad_token", "is -5", [](Id id, auto) { return scored(id, "[1, -5]", R"("continuation": [3])"); }},
      {"bad_token", "99999", [](Id id, auto line) { return scored(id, "[1, 99999, " + std::to_string(line % 512) + "]", R"("continuation": [3])"); }},
      {"bad_field", "the line is a list", [](Id id, auto) { return "[\"" + id + "\"]"; }},
      {"bad_field", "method is \"GET\"", [](Id id, auto) { return with_id(id, R"("method": "GET", "url": "/v1/completions", "body": {"prompt": "a"})"); }},
      {"bad_field", "body is a string", [](Id id, auto) { return with_id(id, R"("method": "POST", "url": "/v1/completions", "body": "The sky")"); }},
      {"bad_field", "temperature is -1", [](Id id, auto) { return with_id(id, R"("kind": "generate_until", "context": "a", "until": [], "temperature": -1)"); }},
      {"bad_field", "label is 7", [](Id id, auto) { return scored(id, R"("The sky")", R"("continuation": " blue", "label": 7)"); }},
      {"too_long", "1000000", [](Id id, auto) { return with_id(id, R"("kind": "generate_until", "context": "a", "until": [], "max_gen_toks": 1000000)"); }},
      {"bad_json", "appears twice", [](Id id, auto) { return scored(id, R"("a")", R"("context": "b", "continuation": " blue")"); }},
      {"bad_json", "deep", [](Id id, auto) { return scored(id, std::string(3000, '[') + std::string(3000, ']'), R"("continuation": " blue")"); }},
      {"unsupported", "body.tools is set", [](Id id, auto) {
         return with_id(id, R"("method": "POST", "url": "/v1/chat/completions", "body": {"messages": [{"role": "user", "content": "Hi"}], "tools": [{"type": "function"}]})");
       }},
  }};
  return all;
}

/// Few tokens, so that a million rows take minutes; no two rows alike.
std::string good_line(const std::string& id, std::uint64_t seed, std::int64_t line) {
  const auto token = [&](std::uint32_t i) { return std::to_string(static_cast<int>(philox_uniform(seed, static_cast<std::uint64_t>(line), i) * 512)); };
  return scored(id, fmt::format("[{}, {}]", token(1), token(2)), fmt::format("\"continuation\": [{}]", token(3)));
}

int make(std::int64_t num_rows, std::uint64_t seed, char** files) {
  std::ofstream dirty(files[0]), clean(files[1]), expected(files[2]);
  for (std::int64_t line = 1; line <= num_rows; ++line) {
    const std::string id = "row-" + std::to_string(line);
    const double draw = philox_uniform(seed, static_cast<std::uint64_t>(line), 0) * static_cast<double>(one_bad_in);
    if (draw >= 1) {
      const std::string text = good_line(id, seed, line);
      dirty << text << '\n';
      clean << text << '\n';
      continue;
    }
    const Way& way = ways()[static_cast<std::size_t>(draw * static_cast<double>(ways().size()))];
    dirty << way.line(id, line) << '\n';
    expected << line << '\t' << way.status << '\t' << way.message << '\n';
  }
  dirty.flush(), clean.flush(), expected.flush();
  return dirty && clean && expected ? 0 : 1;
}

struct Expected {
  std::string status, message;
};

std::map<std::int64_t, Expected> read_expected(const char* file) {
  std::map<std::int64_t, Expected> all;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    std::istringstream fields(line);
    std::string number;
    Expected row;
    std::getline(fields, number, '\t');
    std::getline(fields, row.status, '\t');
    std::getline(fields, row.message);
    all.emplace(std::stoll(number), row);
  }
  return all;
}

int check(const char* directory, const char* expected_file) {
  constexpr std::int64_t rows_per_read = 4096;
  std::map<std::int64_t, Expected> expected = read_expected(expected_file);
  std::map<std::string, std::int64_t> ways_seen;
  const io::ResultsReader reader(directory);
  Digest128 digest;
  std::int64_t num_good = 0, num_bad = 0, num_wrong = 0;
  for (std::int64_t first = 0; first < reader.num_rows(); first += rows_per_read) {
    for (const Row& row : reader.read_rows(first, rows_per_read)) {
      const auto bad = expected.find(row.input_line);
      bool right = row.status == RowStatus::ok && row.message.empty();
      if (bad == expected.end()) {
        ++num_good;
        digest += io::row_digest(row);
      } else {
        ++num_bad;
        right = bad->second.status == to_string(row.status) && row.message.find(bad->second.message) != std::string::npos;
        ++ways_seen[bad->second.status + bad->second.message];
        expected.erase(bad);
      }
      if (!right && ++num_wrong <= 5)
        std::cerr << "line " << row.input_line << " is " << to_string(row.status) << ": " << row.message << '\n';
    }
  }
  for (const auto& [line, row] : expected)
    if (++num_wrong <= 5) std::cerr << "line " << line << " has no row, or two\n";
  std::cout << "{\"good\":" << num_good << ",\"bad\":" << num_bad << ",\"ways\":" << ways_seen.size() << ",\"wrong\":" << num_wrong << ",\"digest\":\""
            << to_hex(digest) << "\"}\n";
  return num_wrong == 0 ? 0 : 1;
}

}  // namespace
}  // namespace moebius

int main(int argc, char** argv) {
  if (argc == 7 && std::strcmp(argv[1], "make") == 0)
    return moebius::make(std::stoll(argv[2]), std::stoull(argv[3]), argv + 4);
  if (argc == 4 && std::strcmp(argv[1], "check") == 0) return moebius::check(argv[2], argv[3]);
  std::cerr << "usage: dirty_rows make ROWS SEED DIRTY CLEAN EXPECTED | dirty_rows check RESULTS EXPECTED\n";
  return 2;
}
