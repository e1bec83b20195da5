// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the tests of the readers share: a folder of its own for each test, the message of the Failure
// that an act ends with, and a seeded mutator of texts.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <string_view>

#include "base/failure.hpp"

namespace moebius::io {

class FolderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::path(MOEBIUS_BINARY_DIR) / "tests/io/tmp" / test->test_suite_name() / test->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  std::filesystem::path write(const std::string& name, std::string_view content) const {
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return folder_ / name;
  }
  std::filesystem::path folder_;
};

inline std::filesystem::path source_path(const std::string& path) {
  return std::filesystem::path(MOEBIUS_SOURCE_DIR) / path;
}

/// The message of the Failure{code} that `act` throws; it must be one line.
inline std::string failure_of(const std::function<void()>& act, ExitCode code = ExitCode::unreadable_input) {
  try {
    act();
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.code(), code) << failure.what();
    EXPECT_EQ(std::string(failure.what()).find('\n'), std::string::npos) << failure.what();
    return failure.what();
  }
  return "no failure";
}

/// One to three small edits: bytes changed, removed, repeated, or the end cut off.
inline std::string mutate(std::string text, std::mt19937_64& random, std::string_view alphabet) {
  const auto pick = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  const auto num_edits = 1 + pick(3);
  for (std::size_t edit = 0; edit < num_edits && !text.empty(); ++edit) {
    const auto at = pick(text.size());
    switch (pick(6)) {
      case 0:
        text[at] = static_cast<char>(random());
        break;
      case 1:
        text[at] = alphabet[pick(alphabet.size())];
        break;
      case 2:
        text.erase(at, 1 + pick(8));
        break;
      case 3:
        text.insert(at, text.substr(pick(text.size()), 1 + pick(16)));
        break;
      case 4:
        text.resize(at);
        break;
      case 5:
        text[pick(std::min<std::size_t>(8, text.size()))] = static_cast<char>(random());
        break;
    }
  }
  return text;
}

}  // namespace moebius::io
