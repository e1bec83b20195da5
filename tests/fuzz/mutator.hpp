// SPDX-License-Identifier: Apache-2.0
#pragma once
// Damages texts for the fuzzers of the readers: bytes, runs of bytes, numbers, whole values of JSON and
// TOML, and pieces of another text. Everything follows from the generator that the caller gives.

#include <random>
#include <span>
#include <string>
#include <string_view>

namespace moebius::test {

class Mutator {
 public:
  explicit Mutator(std::mt19937_64& random) : random_(random) {}

  /// One to a few edits of `text`; now and then with pieces of `others`. At most max_bytes long.
  std::string mutate(std::string text, std::span<const std::string> others, std::size_t max_bytes = 1 << 20);
  /// Any bytes; most of them text, some of it no UTF-8.
  std::string random_text(std::size_t max_bytes);
  std::size_t pick(std::size_t n) { return static_cast<std::size_t>(random_() % n); }

 private:
  void edit_bytes(std::string& text);
  void edit_run(std::string& text);
  void edit_number(std::string& text);
  void edit_value(std::string& text);
  void edit_string(std::string& text);
  void splice(std::string& text, std::string_view other);

  std::mt19937_64& random_;
};

}  // namespace moebius::test
