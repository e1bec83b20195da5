// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/fuzz_target.hpp"

#include <fstream>
#include <iterator>

#include "base/failure.hpp"

namespace moebius::test {

Verdict read_or_refuse(const std::function<void()>& read) {
  try {
    read();
    return Verdict::accepted;
  } catch (const Failure& failure) {
    const std::string message = failure.what();
    if (message.empty()) throw Problem("a Failure without a message");
    if (message.find('\n') != std::string::npos) throw Problem("a Failure of several lines: " + message);
    if (message.size() > 4000) throw Problem("a Failure of " + std::to_string(message.size()) + " bytes: " + message.substr(0, 200));
    return Verdict::refused;
  }
}

std::string read_whole(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + file.string());
  return {std::istreambuf_iterator<char>(in), {}};
}

void write_whole(const std::filesystem::path& file, const std::string& content) {
  std::ofstream out(file, std::ios::binary | std::ios::trunc);
  out << content;
  if (!out) throw std::runtime_error("cannot write " + file.string());
}

std::filesystem::path source_path(const std::string& path) { return std::filesystem::path(MOEBIUS_SOURCE_DIR) / path; }

}  // namespace moebius::test
