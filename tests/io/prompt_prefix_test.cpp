// SPDX-License-Identifier: Apache-2.0
#include "io/prompt_prefix.hpp"

#include <gtest/gtest.h>

#include <string>

namespace moebius::io {
namespace {

const std::string head = R"({"custom_id": "a", "kind": "loglikelihood", "context": ")";

TEST(PromptPrefix, KeysCoverTheBeginningOfThePrompt) {
  const std::string shared(300, 'x');
  const PrefixKeys first = prefix_keys(head + shared + std::string(1000, 'y'));
  const PrefixKeys second = prefix_keys(head + shared + std::string(1000, 'z'));
  EXPECT_EQ(first[0], second[0]);  // 64 bytes
  EXPECT_EQ(first[1], second[1]);  // 256
  EXPECT_NE(first[2], second[2]);  // 1024
  EXPECT_NE(first[2], 0U);
  EXPECT_EQ(first[3], 0U);  // 4096: it is not that long
}

TEST(PromptPrefix, WhatStandsBeforeThePromptDoesNotCount) {
  const std::string prompt = std::string(100, 'x');
  const PrefixKeys keys = prefix_keys(head + prompt);
  EXPECT_NE(keys[0], 0U);
  EXPECT_EQ(keys, prefix_keys(R"({"context" : ")" + prompt));
  EXPECT_EQ(keys, prefix_keys(R"({"url": "/v1/completions", "body": {"model": "m", "prompt":")" + prompt));
  EXPECT_EQ(keys, prefix_keys(R"({"x": "a \"context\": ", "prompt":	")" + prompt));  // quotes inside of a text are escaped
  EXPECT_NE(keys, prefix_keys(R"({"messages": [{")" + prompt));
}

TEST(PromptPrefix, TheFirstOfSeveralCounts) {
  const std::string prompt = std::string(100, 'x');
  EXPECT_EQ(prefix_keys(R"({"context": ")" + prompt + R"(", "prompt": ")" + std::string(200, 'y'))[0],
            prefix_keys(R"({"context": ")" + prompt)[0]);
}

TEST(PromptPrefix, NoPromptNoKeys) {
  for (const std::string& line : {std::string(), std::string("{"), std::string(R"({"text": ")") + std::string(100, 'x'),
                                  std::string(R"({"context")"), std::string(R"({"context" )"), std::string(R"({"context":)"),
                                  std::string(R"({"context", ")") + std::string(100, 'x'), head + std::string(62, 'x'),
                                  std::string(max_bytes_before_prompt, ' ') + head + std::string(100, 'x')}) {
    EXPECT_EQ(prefix_keys(line), PrefixKeys{}) << line;
  }
  EXPECT_NE(prefix_keys(head + std::string(63, 'x')), PrefixKeys{});  // with its quote 64 bytes
}

}  // namespace
}  // namespace moebius::io
