// SPDX-License-Identifier: Apache-2.0
// Chat lines; those of /v1/completions are in request_reader_test.cpp.
#include "io/openai_request.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/request_reader.hpp"
#include "io/utf8.hpp"

namespace moebius::io {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Field = std::pair<std::string, std::string>;

std::string line_of(const std::string& body) {
  return R"({"custom_id":"id","method":"POST","url":"/v1/chat/completions","body":{)" + body + "}}";
}
const std::string hello = R"("messages":[{"role":"user","content":"Hello"}])";

Request good(const std::string& body, int num_unknown_fields = 0) {
  const auto parsed = parse_request(line_of(body), 12);
  EXPECT_EQ(parsed.num_unknown_fields, num_unknown_fields) << body;
  if (const auto* bad = std::get_if<BadLine>(&parsed.line)) {
    ADD_FAILURE() << body << " gives: " << bad->message;
    return {};
  }
  return std::get<Request>(parsed.line);
}

TEST(ChatRequest, defaults) {
  const Request request = good(hello);
  EXPECT_EQ(request.kind, RequestKind::chat);
  EXPECT_EQ(request.custom_id, "id");
  ASSERT_EQ(request.messages.size(), 1U);
  EXPECT_THAT(request.messages[0].fields, ElementsAre(Field("role", "user"), Field("content", "Hello")));
  EXPECT_EQ(request.sampling.temperature, 1.0);
  EXPECT_EQ(request.sampling.max_tokens, 256);
  EXPECT_EQ(request.sampling.num_logprobs, 0);
  EXPECT_EQ(request.num_choices, 1);
  EXPECT_THAT(request.template_variables, IsEmpty());
}

TEST(ChatRequest, everything) {
  const Request request = good(
      hello + R"(,"model":"m","max_completion_tokens":7,"temperature":0,"top_p":0.5,"seed":3,"stop":["a","b"],"n":2,"logprobs":true,)"
              R"("top_logprobs":5,"user":"u","stream":false,"tools":[],"tool_choice":"none","response_format":{"type":"text"},)"
              R"("store":true,"metadata":{"a":"b"},"modalities":["text"],"presence_penalty":0,"logit_bias":null,"add_generation_prompt":true,)"
              R"("chat_template_kwargs":{"enable_thinking":false,"date_string":"today","n":3},"what":1)",
      1);
  EXPECT_EQ(request.sampling.max_tokens, 7);
  EXPECT_EQ(request.sampling.temperature, 0.0);
  EXPECT_EQ(request.sampling.top_p, 0.5);
  EXPECT_EQ(request.sampling.seed, 3U);
  EXPECT_THAT(request.sampling.stop, ElementsAre("a", "b"));
  EXPECT_EQ(request.sampling.num_logprobs, 5);
  EXPECT_EQ(request.num_choices, 2);
  ASSERT_EQ(request.template_variables.size(), 3U);
  EXPECT_EQ(request.template_variables[0].name, "date_string");
  EXPECT_EQ(std::get<std::string>(request.template_variables[0].value), "today");
  EXPECT_FALSE(std::get<bool>(request.template_variables[1].value));
  EXPECT_EQ(std::get<std::int64_t>(request.template_variables[2].value), 3);
  EXPECT_EQ(good(hello + R"(,"max_tokens":9)").sampling.max_tokens, 9);
  EXPECT_EQ(good(hello + R"(,"max_tokens":9,"max_completion_tokens":9)").sampling.max_tokens, 9);
}

TEST(ChatRequest, contents) {
  const Request request = good(
      R"("messages":[{"content":"s","role":"system","name":"Ann","refusal":null,"tool_calls":[]},)"
      R"({"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b\n"}]},)"
      R"({"role":"assistant","content":"","reasoning_content":"hm"},{"role":"user","content":[]}])");
  ASSERT_EQ(request.messages.size(), 4U);
  EXPECT_THAT(request.messages[0].fields, ElementsAre(Field("role", "system"), Field("content", "s"), Field("name", "Ann")));
  EXPECT_EQ(request.messages[1].fields[1].second, "a\nb\n");
  EXPECT_EQ(request.messages[2].fields.at(2), Field("reasoning_content", "hm"));
  EXPECT_EQ(request.messages[3].fields[1].second, "");
}

struct BadCase {
  std::string body;
  RowStatus status;
  std::string part_of_message;
};

TEST(ChatRequest, bad_lines) {
  using enum RowStatus;
  const auto message = [](const std::string& fields) { return R"("messages":[{"role":"user","content":"x"},{)" + fields + "}]"; };
  const std::vector<BadCase> cases = {
      {"", bad_field, "field body.messages is missing"},
      {R"("messages":"hi")", bad_field, R"(field body.messages is "hi" (it must be a list of messages))"},
      {R"("messages":[])", bad_field, "field body.messages is empty"},
      {R"("messages":["hi"])", bad_field, R"(field body.messages[0] is "hi" (a message is an object))"},
      {message(R"("content":"x")"), bad_field, "field body.messages[1].role is missing"},
      {message(R"("role":7,"content":"x")"), bad_field, "field body.messages[1].role is 7"},
      {message(R"("role":"user")"), bad_field, "field body.messages[1].content is missing"},
      {message(R"("role":"user","content":null)"), bad_field, "field body.messages[1].content is missing"},
      {message(R"("role":"user","content":[1])"), bad_field, "field body.messages[1].content[0] is 1"},
      {message(R"("role":"user","content":{})"), bad_field, "body.messages[1].content is an object"},
      {message(R"("role":"user","content":[{"text":"x"}])"), bad_field, "content[0].type is missing"},
      {message(R"("role":"user","content":[{"type":"text"}])"), bad_field, "content[0].text is missing"},
      {message(R"("role":"user","content":[{"type":"image_url","image_url":{}}])"), unsupported, R"(content[0].type is "image_url")"},
      {message(R"("role":"tool","content":"x")"), unsupported, "field body.messages[1].role is tool"},
      {message(R"("role":"assistant","content":"x","tool_calls":[{"id":"1"}])"), unsupported, "body.messages[1].tool_calls is set"},
      {message(R"("role":"assistant","content":"x","prefix":true)"), unsupported, "body.messages[1].prefix is true"},
      {hello + R"(,"max_tokens":0)", bad_field, "field body.max_tokens is 0"},
      {hello + R"(,"max_tokens":5,"max_completion_tokens":6)", bad_field, "body.max_tokens is 5 beside max_completion_tokens 6"},
      {hello + R"(,"logprobs":5)", bad_field, "field body.logprobs is 5"},
      {hello + R"(,"top_logprobs":5)", bad_field, "body.top_logprobs is 5 (without logprobs there are none)"},
      {hello + R"(,"logprobs":true,"top_logprobs":21)", bad_field, "field body.top_logprobs is 21"},
      {hello + R"(,"n":0)", bad_field, "field body.n is 0"},
      {hello + R"(,"chat_template_kwargs":[])", bad_field, "field body.chat_template_kwargs is a list"},
      {hello + R"(,"chat_template_kwargs":{"x":[1]})", unsupported, "body.chat_template_kwargs.x is a list"},
      {hello + R"(,"chat_template_kwargs":{"messages":"m"})", unsupported, "body.chat_template_kwargs.messages is set"},
      {hello + R"(,"chat_template_kwargs":{"x":9007199254740993})", bad_field, "body.chat_template_kwargs.x"},
      {hello + R"(,"tools":[{"type":"function"}])", unsupported, "field body.tools is set"},
      {hello + R"(,"tool_choice":"required")", unsupported, "field body.tool_choice is set"},
      {hello + R"(,"response_format":{"type":"json_object"})", unsupported, "field body.response_format is not"},
      {hello + R"(,"modalities":["text","audio"])", unsupported, "field body.modalities is not"},
      {hello + R"(,"reasoning_effort":"low")", unsupported, "field body.reasoning_effort is set"},
      {hello + R"(,"chat_template":"x")", unsupported, "field body.chat_template is set"},
      {hello + R"(,"continue_final_message":true)", unsupported, "field body.continue_final_message is set"},
      {hello + R"(,"add_generation_prompt":false)", unsupported, "field body.add_generation_prompt is false"},
      {hello + R"(,"frequency_penalty":1)", unsupported, "field body.frequency_penalty is set"},
      {hello + R"(,"logit_bias":{"5":1})", unsupported, "field body.logit_bias is set"},
  };
  for (const BadCase& bad : cases) {
    const auto parsed = parse_request(line_of(bad.body), 12);
    const auto* line = std::get_if<BadLine>(&parsed.line);
    ASSERT_NE(line, nullptr) << bad.body << " was accepted";
    EXPECT_EQ(line->status, bad.status) << bad.body << " gives " << to_string(line->status) << ": " << line->message;
    EXPECT_THAT(line->message, HasSubstr(bad.part_of_message)) << bad.body;
    EXPECT_THAT(line->message, ::testing::StartsWith("line 12: field "));
    EXPECT_EQ(line->custom_id, "id");
    EXPECT_FALSE(first_invalid_utf8(line->message));
  }
}

}  // namespace
}  // namespace moebius::io
