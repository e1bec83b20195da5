// SPDX-License-Identifier: Apache-2.0
// Against transformers 5.24 and Jinja 3.1: published templates over conversations (data/chat/*/golden.json), and
// small templates for each part of the language (data/chat/cases.json).
#include "model/chat_template.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "io/model_files.hpp"
#include "model/tokenizer.hpp"

namespace moebius::model {
namespace {

using Json = nlohmann::json;
using ::testing::HasSubstr;
using Messages = std::vector<ChatMessage>;

const std::string source = MOEBIUS_SOURCE_DIR;
const std::string chat_dir = source + "/tests/data/chat";

Json read_json(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file.good()) << path;
  return Json::parse(file);
}

Messages messages_of(const Json& list) {
  Messages messages;
  for (const Json& entry : list) {
    ChatMessage& message = messages.emplace_back();
    for (const char* name : {"role", "content", "name", "reasoning_content"}) {
      if (entry.contains(name)) message.fields.emplace_back(name, entry.at(name));
    }
  }
  return messages;
}

std::vector<TemplateVariable> variables_of(const Json& conversation) {
  std::vector<TemplateVariable> variables;
  const Json given = conversation.value("variables", Json::object());
  for (const auto& [name, value] : given.items()) {
    if (value.is_boolean()) variables.push_back({name, value.get<bool>()});
    else variables.push_back({name, value.get<std::string>()});
  }
  return variables;
}

ChatTemplate::Rendered render(const std::string& text, const Messages& messages = {}) {
  return ChatTemplate({.text = text, .origin = "the template", .problem = "", .special_tokens = {}}).render(messages, {});
}

TEST(ChatTemplateGolden, published_templates) {
  const Json conversations = read_json(chat_dir + "/conversations.json");
  std::size_t num_texts = 0, num_refused = 0, num_dates = 0;
  for (const auto& entry : std::filesystem::directory_iterator(chat_dir)) {
    if (!entry.is_directory()) continue;
    SCOPED_TRACE(entry.path().filename());
    const ChatTemplate chat_template(io::read_chat_template(entry.path()));
    const Json golden = read_json(entry.path() / "golden.json");
    ASSERT_EQ(golden.size(), conversations.size());
    for (std::size_t i = 0; i < golden.size(); ++i) {
      SCOPED_TRACE(conversations[i].at("name"));
      const auto rendered = chat_template.render(messages_of(conversations[i].at("messages")), variables_of(conversations[i]));
      if (golden[i].contains("text")) {
        ASSERT_EQ(rendered.status, RowStatus::ok) << rendered.text;
        ASSERT_EQ(rendered.text, golden[i].at("text").get<std::string>());
        ++num_texts;
      } else if (golden[i].contains("today")) {
        EXPECT_EQ(rendered.status, RowStatus::unsupported);
        EXPECT_THAT(rendered.text, HasSubstr("today's date"));
        ++num_dates;
      } else {
        EXPECT_EQ(rendered.status, RowStatus::bad_field);
        EXPECT_THAT(rendered.text, HasSubstr(golden[i].at("error").get<std::string>()));
        ++num_refused;
      }
    }
  }
  EXPECT_EQ(num_texts, 411U);
  EXPECT_EQ(num_refused, 52U);
  EXPECT_EQ(num_dates, 41U);
}

TEST(ChatTemplateGolden, token_ids) {
  const Json conversations = read_json(chat_dir + "/conversations.json"), golden = read_json(chat_dir + "/chatml/golden.json");
  const ChatTemplate chat_template(io::read_chat_template(chat_dir + "/chatml"));
  const Tokenizer tokenizer(io::read_tokenizer(source + "/tests/data/goldens/tokenizers/llama3"));
  for (std::size_t i = 0; i < golden.size(); ++i) {
    const auto rendered = chat_template.render(messages_of(conversations[i].at("messages")), {});
    EXPECT_EQ(tokenizer.encode(rendered.text, AddSpecial::no), golden[i].at("ids").get<std::vector<TokenId>>());
  }
}

TEST(ChatTemplateGolden, parts_of_the_language) {
  const Json document = read_json(chat_dir + "/cases.json");
  const Messages messages = messages_of(document.at("messages"));
  EXPECT_GT(document.at("cases").size(), 60U);
  for (const Json& expected : document.at("cases")) {
    const auto rendered = render(expected.at("template"), messages);
    SCOPED_TRACE(expected.dump());
    EXPECT_EQ(rendered.status, expected.contains("text") ? RowStatus::ok : RowStatus::bad_field) << rendered.text;
    std::string part = expected.value("text", "");
    if (expected.contains("refused")) part = "refuses them: " + expected.at("refused").get<std::string>();
    if (expected.contains("failed")) part = "fails on them: ";
    EXPECT_THAT(rendered.text, HasSubstr(part));
    EXPECT_TRUE(!expected.contains("text") || rendered.text == part);
  }
}

TEST(ChatTemplate, what_is_not_known_is_named_with_its_line) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"a\n{{ messages | groupby('role') }}", "the filter 'groupby' in line 2"},
      {"{{ messages is odious }}", "the test 'odious' in line 1"},
      {"{% include 'x' %}", "the block 'include' in line 1"},
      {"\n\n{% raw %}{% endraw %}", "the block 'raw' in line 3"},
      {"{{ 1.5 }}", "a number that is no plain integer"},
      {"{{ 2 ** 3 }}", "the operator '**'"},
      {"{{ 1 / 2 }}", "the operator '/'"},
      {"{{ 1 < 2 < 3 }}", "a chain of comparisons"},
      {"{{ (1, 2) }}", "a tuple"},
      {"{{ 'a' ", "a tag without an end"},
      {"{{ 'a }}", "a string without an end"},
      {"{# a", "a comment without an end"},
      {"{% if true %}", "a block without an end"},
      {"{% endif %}", "the block 'endif'"},
      {"{% for x in messages %}{% endif %}", "the block 'endif'"},
      {"{{ a ? b }}", "the character \"?\""},
      {"{{ a ] }}", "a bracket that nothing opened"},
      {"{{ '\\ud800' }}", "an escape that stands for no character"},
      {"{% break %}", "'break' outside a loop"},
      {"{{ }}", "something else than a value"},
      {"{% set a, b = 1 %}", "this form of 'set'"},
      {"{{ 99999999999999999999 }}", "a number that is too large"},
      {"{{ messages }}", "writes a whole list"},
      {"{{ 'a'.zfill(3) }}", "the method 'zfill' of a text"},
      {"{{ '%s' % 'a' }}", "'%' on a text"},
      {"{{ [1] * 2 }}", "'*' on a text or list"},
      {"{{ [1] < [2] }}", "an order of lists"},
      {"{{ '\u00e9' | upper }}", "letters outside ASCII"},
      {"{{ strftime_now('%d') }}", "today's date"},
      {"{{ range(9999999999) }}", "a 'range' that is too long"},
      {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "macros that call each other so deep"},
      {"{{ 9223372036854775807 + 1 }}", "numbers beyond 64 bits"},
      {"{{ 'a' | tojson(indent=2) }}", "the arguments of 'tojson'"},
      {"{{" + std::string(3000, '(') + "}}", "a tag of too many parts"},
      {"{{" + std::string(300, '(') + "1" + std::string(300, ')') + "}}", "nesting that is too deep"},
      {std::string(ChatTemplate::max_template_bytes + 1, 'x'), "has 262145 bytes"},
  };
  for (const auto& [text, part] : cases) {
    const auto rendered = render(text);
    EXPECT_EQ(rendered.status, RowStatus::unsupported) << text.substr(0, 100);
    EXPECT_THAT(rendered.text, HasSubstr(part)) << text.substr(0, 100);
    EXPECT_THAT(rendered.text, HasSubstr("the template")) << text.substr(0, 100);
    EXPECT_THAT(rendered.text, HasSubstr("use /v1/completions with a prompt of your own"));
  }
}

TEST(ChatTemplate, without_a_template_every_chat_is_unsupported) {
  const ChatTemplate none({.text = "", .origin = "", .problem = "the model has no chat template", .special_tokens = {}});
  const auto rendered = none.render(Messages(1), {});
  EXPECT_EQ(rendered.status, RowStatus::unsupported);
  EXPECT_THAT(rendered.text, HasSubstr("(the model has no chat template)"));
}

TEST(ChatTemplate, variables_of_the_request_replace_those_of_the_model) {
  const ChatTemplate chat_template({.text = "{{ bos_token }}{{ flag }}{{ add_generation_prompt }}", .origin = "t", .problem = "", .special_tokens = {{"bos_token", "<s>"}}});
  EXPECT_EQ(chat_template.render(Messages(1), {}).text, "<s>True");
  const std::vector<TemplateVariable> variables = {{"bos_token", "<x>"}, {"flag", std::int64_t{7}}};
  EXPECT_EQ(chat_template.render(Messages(1), variables).text, "<x>7True");
}

TEST(ChatTemplate, damaged_templates_end_with_a_status) {
  const std::string whole = io::read_chat_template(chat_dir + "/llama3_1").text;
  const Messages messages = {{{{"role", "user"}, {"content", "x"}}}};
  unsigned state = 5;
  const auto next = [&state](std::size_t limit) { return (state = state * 1664525U + 1013904223U) / 256 % limit; };
  int num_refused = 0;
  for (int round = 0; round < 2000; ++round) {
    std::string text = whole;
    for (int i = 0; i < 3; ++i) {
      const std::size_t at = next(text.size());
      if (next(2) == 0) text.erase(at, next(20));
      else text.insert(at, 1, "{%}-('\"|.[=~ \n"[next(15)]);
    }
    if (render(text, messages).status != RowStatus::ok) ++num_refused;
  }
  EXPECT_GT(num_refused, 1000);
}

}  // namespace
}  // namespace moebius::model
