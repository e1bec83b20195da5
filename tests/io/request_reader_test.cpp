// SPDX-License-Identifier: Apache-2.0
#include "io/request_reader.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "io/utf8.hpp"
#include "tests/io/input_support.hpp"

namespace moebius::io {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;
using Ids = std::vector<TokenId>;

Request good(const std::string& text, int num_unknown_fields = 0) {
  const auto parsed = parse_request(text, 12);
  EXPECT_EQ(parsed.num_unknown_fields, num_unknown_fields) << text;
  if (const auto* bad = std::get_if<BadLine>(&parsed.line)) {
    ADD_FAILURE() << text << " gives: " << bad->message;
    return {};
  }
  return std::get<Request>(parsed.line);
}

std::string text_of(const TextOrIds& text) { return std::get<std::string>(text); }
Ids ids_of(const TextOrIds& text) { return std::get<Ids>(text); }

TEST(RequestReaderTest, loglikelihood_with_one_continuation) {
  const auto request =
      good(R"({"custom_id": "a", "kind": "loglikelihood", "context": "The sky is", "continuation": " blue"})");
  EXPECT_EQ(request.custom_id, "a");
  EXPECT_EQ(request.input_line, 12);
  EXPECT_EQ(request.kind, RequestKind::loglikelihood);
  EXPECT_EQ(text_of(request.context), "The sky is");
  ASSERT_EQ(request.continuations.size(), 1U);
  EXPECT_EQ(text_of(request.continuations[0]), " blue");
  EXPECT_FALSE(request.label);
}

TEST(RequestReaderTest, loglikelihood_with_many_continuations_and_a_label) {
  const auto request = good(
      R"({"custom_id":"a","kind":"loglikelihood","context":"","continuations":["x",[5,6],"y"],"label":2,"other":1,"more":{}})",
      2);
  EXPECT_EQ(text_of(request.context), "");
  ASSERT_EQ(request.continuations.size(), 3U);
  EXPECT_THAT(ids_of(request.continuations[1]), ElementsAre(5, 6));
  EXPECT_EQ(request.label, 2);
}

TEST(RequestReaderTest, ids_in_place_of_any_text) {
  EXPECT_THAT(ids_of(good(R"({"kind":"loglikelihood","context":[],"continuation":[0,2147483647]})").continuations[0]),
              ElementsAre(0, 2147483647));
  EXPECT_THAT(ids_of(good(R"({"kind":"loglikelihood_rolling","text":[1]})").context), ElementsAre(1));
  EXPECT_THAT(ids_of(good(R"({"kind":"generate_until","context":[1,2]})").context), ElementsAre(1, 2));
  const std::string url = R"({"url":"/v1/completions","body":{"prompt":)";
  EXPECT_THAT(ids_of(good(url + "[7,8]}}").context), ElementsAre(7, 8));
  EXPECT_THAT(ids_of(good(url + "[[7,8]]}}").context), ElementsAre(7, 8));
  EXPECT_THAT(ids_of(good(url + "[]}}").context), IsEmpty());
  EXPECT_EQ(text_of(good(url + "[\"one\"]}}").context), "one");
}

TEST(RequestReaderTest, a_line_without_an_id_is_named_after_its_number) {
  EXPECT_EQ(good(R"({"kind":"loglikelihood_rolling","text":"x"})").custom_id, "line-12");
  EXPECT_EQ(good(R"({"custom_id":null,"kind":"loglikelihood_rolling","text":"x"})").custom_id, "line-12");
  EXPECT_EQ(good(R"({"custom_id":"","kind":"loglikelihood_rolling","text":"x"})").custom_id, "line-12");
}

TEST(RequestReaderTest, text_is_kept_byte_by_byte) {
  EXPECT_EQ(
      text_of(good("{\"kind\":\"loglikelihood_rolling\",\"text\":\"a\\u0000\\n\\ud83d\\ude00\xc3\xa9\"}").context),
      std::string("a\0\n\xf0\x9f\x98\x80\xc3\xa9", 9));
}

TEST(RequestReaderTest, generate_until_with_everything) {
  const auto request = good(
      R"({"custom_id":"c","kind":"generate_until","context":"q","until":["\n","."],"max_gen_toks":32,"temperature":0.7,)"
      R"("top_p":0.9,"top_k":40,"min_p":0.05,"seed":7,"num_logprobs":3})");
  EXPECT_EQ(request.kind, RequestKind::generate_until);
  const auto& sampling = request.sampling;
  EXPECT_THAT(sampling.stop, ElementsAre("\n", "."));
  EXPECT_EQ(sampling.max_tokens, 32);
  EXPECT_EQ(sampling.temperature, 0.7);
  EXPECT_EQ(sampling.top_p, 0.9);
  EXPECT_EQ(sampling.top_k, 40);
  EXPECT_EQ(sampling.min_p, 0.05);
  EXPECT_EQ(sampling.seed, 7U);
  EXPECT_EQ(sampling.num_logprobs, 3);
  EXPECT_FALSE(sampling.echo);
}

TEST(RequestReaderTest, generate_until_defaults_are_greedy) {
  const auto sampling = good(R"({"kind":"generate_until","context":"q","until":"\n","seed":null})").sampling;
  EXPECT_EQ(sampling.temperature, 0.0);
  EXPECT_EQ(sampling.top_p, 1.0);
  EXPECT_EQ(sampling.max_tokens, 256);
  EXPECT_FALSE(sampling.seed);
  EXPECT_THAT(sampling.stop, ElementsAre("\n"));
}

TEST(RequestReaderTest, completions_with_everything) {
  const auto request = good(
      R"({"custom_id":"d","method":"POST","url":"/v1/completions","body":{"model":"m","prompt":"p","max_tokens":0,)"
      R"("temperature":0,"top_p":0.5,"seed":-1,"stop":["a","b"],"logprobs":20,"echo":true,"n":3,"user":"u","best_of":3,)"
      R"("frequency_penalty":0,"logit_bias":{},"suffix":null,"what":1},"why":2})",
      2);
  EXPECT_EQ(request.kind, RequestKind::completion);
  EXPECT_EQ(text_of(request.context), "p");
  EXPECT_EQ(request.num_choices, 3);
  EXPECT_EQ(request.sampling.max_tokens, 0);
  EXPECT_EQ(request.sampling.seed, 18446744073709551615ULL);
  EXPECT_EQ(request.sampling.num_logprobs, 20);
  EXPECT_TRUE(request.sampling.echo);
  EXPECT_EQ(request.sampling.temperature, 0.0);
  EXPECT_THAT(request.sampling.stop, ElementsAre("a", "b"));
}

TEST(RequestReaderTest, completions_defaults_are_those_of_the_api) {
  const auto request = good(R"({"url":"/v1/completions","body":{"prompt":"p","stop":null,"logprobs":null}})");
  EXPECT_EQ(request.sampling.temperature, 1.0);
  EXPECT_EQ(request.sampling.max_tokens, 16);
  EXPECT_EQ(request.sampling.num_logprobs, 0);
  EXPECT_EQ(request.num_choices, 1);
  EXPECT_THAT(request.sampling.stop, IsEmpty());
}

struct BadCase {
  std::string text;
  RowStatus status;
  std::string part_of_message;
};

std::string line_of(const std::string& fields) { return R"({"custom_id":"id",)" + fields + "}"; }
std::string body_of(const std::string& fields) {
  return R"({"custom_id":"id","url":"/v1/completions","body":{)" + fields + "}}";
}
std::string generate(const std::string& fields) {
  return line_of(R"("kind":"generate_until","context":"c",)" + fields);
}

void expect_bad(const BadCase& bad, const std::string& custom_id) {
  const auto parsed = parse_request(bad.text, 12);
  const auto shown = bad.text.substr(0, 150);
  const auto* line = std::get_if<BadLine>(&parsed.line);
  ASSERT_NE(line, nullptr) << shown << " was accepted";
  EXPECT_EQ(line->status, bad.status) << shown << " gives " << to_string(line->status) << ": " << line->message;
  EXPECT_THAT(line->message, HasSubstr(bad.part_of_message)) << shown;
  EXPECT_THAT(line->message, StartsWith("line 12: ")) << shown;
  EXPECT_FALSE(first_invalid_utf8(line->message)) << shown;
  EXPECT_LT(line->message.size(), 500U) << shown;
  EXPECT_EQ(line->custom_id, custom_id) << shown;
  EXPECT_EQ(line->input_line, 12);
}

TEST(RequestReaderTest, bad_fields_of_lm_eval_forms) {
  using enum RowStatus;
  const std::vector<BadCase> cases = {
      {line_of(R"("x":1)"), bad_field, "field kind is missing"},
      {line_of(R"("kind":3)"), bad_field, "field kind is 3 (it must be a string)"},
      {line_of(R"("kind":"loglikelyhood")"), unknown_kind,
       R"(field kind is "loglikelyhood" (it must be loglikelihood, )"},
      {line_of(R"("kind":"loglikelihood")"), bad_field, "field context is missing"},
      {line_of(R"("kind":"loglikelihood","context":null,"continuation":"x")"), bad_field, "field context is missing"},
      {line_of(R"("kind":"loglikelihood","context":3,"continuation":"x")"), bad_field,
       "field context is 3 (it must be a string or a list of token ids)"},
      {line_of(R"("kind":"loglikelihood","context":"c")"), bad_field, "field continuation is missing"},
      {line_of(R"("kind":"loglikelihood","context":"c","continuation":"")"), bad_field, "field continuation is empty"},
      {line_of(R"("kind":"loglikelihood","context":"c","continuation":[])"), bad_field, "field continuation is empty"},
      {line_of(R"("kind":"loglikelihood","context":"c","continuations":["a",""])"), bad_field,
       "field continuations[1] is empty"},
      {line_of(R"("kind":"loglikelihood","context":"c","continuations":[])"), bad_field,
       "field continuations is empty"},
      {line_of(R"("kind":"loglikelihood","context":"c","continuations":"a")"), bad_field, "it must be a list of texts"},
      {line_of(R"("kind":"loglikelihood","context":"c","continuations":[1,2])"), bad_field,
       "field continuations[0] is 1"},
      {line_of(R"("kind":"loglikelihood","context":"c","continuations":["a"],"continuation":"b")"), bad_field,
       "only one of them"},
      {line_of(R"("kind":"loglikelihood","context":"c","continuations":["a","b"],"label":2)"), bad_field,
       "field label is 2 (it must be an integer from 0 to 1)"},
      {line_of(R"("kind":"loglikelihood","context":"c","continuation":"a","label":-1)"), bad_field,
       "field label is -1"},
      {line_of(R"("kind":"loglikelihood","context":"c","continuation":"a","label":"0")"), bad_field,
       "field label is \"0\""},
      {line_of(R"("kind":"loglikelihood","context":[-1],"continuation":"a")"), bad_token, "field context[0] is -1"},
      {line_of(R"("kind":"loglikelihood","context":[1,2147483648],"continuation":"a")"), bad_token, "field context[1]"},
      {line_of(R"("kind":"loglikelihood","context":[1e300],"continuation":"a")"), bad_token, "field context[0]"},
      {line_of(R"("kind":"loglikelihood","context":[18446744073709551615],"continuation":"a")"), bad_token,
       "context[0]"},
      {line_of(R"("kind":"loglikelihood","context":[99999999999999999999999],"continuation":"a")"), bad_token,
       "context[0]"},
      {line_of(R"("kind":"loglikelihood","context":[1.5],"continuation":"a")"), bad_field, "context[0] is 1.5"},
      {line_of(R"("kind":"loglikelihood","context":[1,true],"continuation":"a")"), bad_field, "context[1] is true"},
      {line_of(R"("kind":"loglikelihood","context":[[1]],"continuation":"a")"), bad_field, "context[0] is a list"},
      {line_of(R"("kind":"loglikelihood_rolling")"), bad_field, "field text is missing"},
      {line_of(R"("kind":"loglikelihood_rolling","text":"")"), bad_field, "field text is empty"},
      {line_of(R"("kind":"loglikelihood_rolling","text":[])"), bad_field, "field text is empty"},
      {generate(R"("max_gen_toks":0)"), bad_field, "field max_gen_toks is 0 (it must be an integer from 1"},
      {generate(R"("max_gen_toks":1e9)"), bad_field, "field max_gen_toks is 1000000000.0"},
      {generate(R"("max_gen_toks":2147483648)"), bad_field, "field max_gen_toks"},
      {generate(R"("temperature":-0.1)"), bad_field, "field temperature is -0.1"},
      {generate(R"("temperature":"0")"), bad_field, "field temperature is \"0\""},
      {generate(R"("top_p":0)"), bad_field, "field top_p is 0 (no token would be left)"},
      {generate(R"("top_p":1.01)"), bad_field, "field top_p is 1.01"},
      {generate(R"("top_k":-1)"), bad_field, "field top_k is -1"},
      {generate(R"("min_p":2)"), bad_field, "field min_p is 2"},
      {generate(R"("seed":1.5)"), bad_field, "field seed is 1.5"},
      {generate(R"("seed":99999999999999999999)"), bad_field, "field seed"},
      {generate(R"("num_logprobs":21)"), bad_field, "field num_logprobs is 21"},
      {generate(R"("until":3)"), bad_field, "field until is 3"},
      {generate(R"("until":["a",3])"), bad_field, "field until[1] is 3"},
      {generate(R"("until":["a",""])"), bad_field, "field until[1] is empty"},
  };
  for (const auto& bad : cases) expect_bad(bad, "id");
}

TEST(RequestReaderTest, bad_fields_of_openai_lines) {
  using enum RowStatus;
  const std::vector<BadCase> cases = {
      {body_of(""), bad_field, "field body.prompt is missing"},
      {body_of(R"("prompt":{})"), bad_field, "field body.prompt is an object"},
      {body_of(R"("prompt":["a","b"])"), unsupported, "field body.prompt holds 2 prompts"},
      {body_of(R"("prompt":[["a"]])"), bad_field, "field body.prompt[0][0] is \"a\""},
      {body_of(R"("prompt":[-5])"), bad_token, "field body.prompt[0] is -5"},
      {body_of(R"("prompt":"p","max_tokens":0)"), bad_field, "field body.max_tokens is 0"},
      {body_of(R"("prompt":"p","max_tokens":-1,"echo":true)"), bad_field, "field body.max_tokens is -1"},
      {body_of(R"("prompt":"p","logprobs":true)"), bad_field, "field body.logprobs is true"},
      {body_of(R"("prompt":"p","logprobs":21)"), bad_field, "field body.logprobs is 21"},
      {body_of(R"("prompt":"p","echo":1)"), bad_field, "field body.echo is 1"},
      {body_of(R"("prompt":"p","n":0)"), bad_field, "field body.n is 0"},
      {body_of(R"("prompt":"p","n":129)"), bad_field, "field body.n is 129"},
      {body_of(R"("prompt":"p","stop":[[1]])"), bad_field, "field body.stop[0] is a list"},
      {body_of(R"("prompt":"p","best_of":2)"), unsupported, "field body.best_of is set"},
      {body_of(R"("prompt":"p","frequency_penalty":0.5)"), unsupported, "field body.frequency_penalty is set"},
      {body_of(R"("prompt":"p","logit_bias":{"5":1})"), unsupported, "field body.logit_bias is set"},
      {body_of(R"("prompt":"p","suffix":"s")"), unsupported, "field body.suffix is set"},
      {line_of(R"("url":"/v1/embeddings","body":{})"), unknown_kind, "field url is \"/v1/embeddings\""},
      {line_of(R"("url":7,"body":{})"), bad_field, "field url is 7"},
      {line_of(R"("url":"/v1/completions")"), bad_field, "field body is missing"},
      {line_of(R"("url":"/v1/completions","body":[])"), bad_field, "field body is a list"},
      {line_of(R"("url":"/v1/completions","method":"GET","body":{})"), bad_field, "field method is \"GET\""},
      {line_of(R"("kind":")" + std::string(100000, 'k') + "\""), unknown_kind, "kkkk\"..."},
  };
  for (const auto& bad : cases) expect_bad(bad, "id");
}

TEST(RequestReaderTest, bad_json_and_bad_utf8) {
  using enum RowStatus;
  const std::string start = R"({"custom_id":"id","kind":"loglikelihood_rolling","text":)";
  const std::vector<BadCase> kept = {
      {start + "\"x\"", bad_json, "not valid JSON ("},
      {start + "NaN}", bad_json, "not valid JSON"},
      {start + "1e999}", bad_json, "a number is too large"},
      {start + "'x'}", bad_json, "not valid JSON"},
      {start + "\"x\",}", bad_json, "not valid JSON"},
      {start + "\"x\"} {}", bad_json, "not valid JSON"},
      {start + "\"x\",\"text\":\"y\"}", bad_json, R"(key "text" appears twice)"},
      {start + "\"\\ud800\"}", bad_json, "not valid JSON"},
      {start + "\"a\nb\"}", bad_json, "not valid JSON"},
      {start + std::string(100000, '['), bad_json, "nested more than 64 deep"},
      {start + "\"" + std::string(100000, 'x') + "\x01\"}", bad_json, "not valid JSON"},
      {start + "\"\xff\"}", bad_utf8, "not UTF-8 (byte 58 is not valid UTF-8)"},
      {start + "\"\xc0\xaf\"}", bad_utf8, "not UTF-8"},
      {start + "\"\xed\xa0\x80\"}", bad_utf8, "not UTF-8"},
      {start + "\"\xf4\x90\x80\x80\"}", bad_utf8, "not UTF-8"},
      {start + "\"\xe2\x82", bad_utf8, "not UTF-8"},
      {R"({"custom_id" : "id", "custom_id": "other"})", bad_json, "appears twice"},
  };
  for (const auto& bad : kept) expect_bad(bad, "id");
  const std::vector<BadCase> lost = {
      {"", bad_json, "not valid JSON"},
      {"{", bad_json, "not valid JSON"},
      {R"({"a\nb": 1, "a\nb": 2})", bad_json, R"(key "a\nb" appears twice)"},  // a message is one line
      {"\xff", bad_utf8, "not UTF-8 (byte 1"},
      {"[]", bad_field, "the line is a list"},
      {"\"text\"", bad_field, "the line is a string"},
      {R"({"custom_id":"id)", bad_json, "not valid JSON"},
      {R"({"custom_id":"id\)", bad_json, "not valid JSON"},
      {R"({"custom_id":)", bad_json, "not valid JSON"},
      {R"({"custom_id" )", bad_json, "not valid JSON"},
      {R"({"custom_id":3,)", bad_json, "not valid JSON"},
      {"{\"custom_id\":\"\xff\"}", bad_utf8, "not UTF-8"},
      {R"({"custom_id":3,"kind":"loglikelihood_rolling","text":"x"})", bad_field, "field custom_id is 3"},
  };
  for (const auto& bad : lost) expect_bad(bad, "line-12");
  expect_bad({R"({"custom_id":"a\"b\\", oops)", bad_json, "not valid JSON"}, "a\"b\\");
}

TEST(RequestReaderTest, plain_text) {
  const auto parsed = plain_text_request("a text\n", "book.txt");
  const auto& request = std::get<Request>(parsed.line);
  EXPECT_EQ(request.custom_id, "book.txt");
  EXPECT_EQ(request.kind, RequestKind::loglikelihood_rolling);
  EXPECT_EQ(text_of(request.context), "a text\n");
  EXPECT_EQ(request.input_line, 1);
  EXPECT_EQ(std::get<BadLine>(plain_text_request("\xff", "book.txt").line).status, RowStatus::bad_utf8);
  EXPECT_EQ(std::get<Request>(plain_text_request("x", "\xff.txt").line).custom_id, "line-1");
}

TEST(RequestReaderTest, a_hundred_thousand_mutated_lines) {
  const std::uint64_t seed = 3;
  RecordProperty("seed", std::to_string(seed));
  std::mt19937_64 random(seed);
  const std::vector<std::string> lines = {
      R"({"custom_id":"a","kind":"loglikelihood","context":"The sky","continuations":[" blue",[1,2]],"label":1})",
      R"({"custom_id":"b","kind":"loglikelihood_rolling","text":"\u00e9\ud83d\ude00 é"})",
      R"({"custom_id":"e","kind":"loglikelihood_rolling","text":[2147483646,2147483640,1]})",
      R"({"custom_id":"c","kind":"generate_until","context":"q","until":["\n"],"max_gen_toks":32,"temperature":0.5,"seed":7})",
      R"({"custom_id":"d","method":"POST","url":"/v1/completions","body":{"prompt":[1,2],"n":2,"logprobs":5,"echo":true}})",
  };
  std::map<RowStatus, int> seen;
  for (int round = 0; round < 100000; ++round) {
    const auto text = mutate(lines[static_cast<std::size_t>(round) % lines.size()], random, "{}[]\",:\\0123456789eu-.");
    const auto parsed = parse_request(text, round);  // a throw fails the test
    if (const auto* bad = std::get_if<BadLine>(&parsed.line)) {
      ++seen[bad->status];
      ASSERT_FALSE(first_invalid_utf8(bad->message)) << "seed " << seed << " round " << round;
      ASSERT_FALSE(first_invalid_utf8(bad->custom_id)) << "seed " << seed << " round " << round;
      ASSERT_FALSE(bad->message.empty());
    } else {
      const auto& request = std::get<Request>(parsed.line);
      ++seen[RowStatus::ok];
      ASSERT_FALSE(request.custom_id.empty());
      ASSERT_EQ(request.continuations.empty(), request.kind != RequestKind::loglikelihood) << text;
      ASSERT_GE(request.num_choices, 1);
    }
  }
  for (const auto status : {RowStatus::ok, RowStatus::bad_json, RowStatus::bad_utf8, RowStatus::bad_field,
                            RowStatus::unknown_kind, RowStatus::bad_token}) {
    EXPECT_GT(seen[status], 50) << to_string(status);
  }
}

TEST(Utf8Test, agrees_with_a_table_of_all_characters) {
  const auto encode = [](std::uint32_t c) {
    const auto byte = [](std::uint32_t value) { return static_cast<char>(static_cast<unsigned char>(value)); };
    if (c < 0x80) return std::string{byte(c)};
    if (c < 0x800) return std::string{byte(0xc0 | c >> 6), byte(0x80 | (c & 63))};
    if (c < 0x10000) return std::string{byte(0xe0 | c >> 12), byte(0x80 | (c >> 6 & 63)), byte(0x80 | (c & 63))};
    return std::string{byte(0xf0 | c >> 18), byte(0x80 | (c >> 12 & 63)), byte(0x80 | (c >> 6 & 63)),
                       byte(0x80 | (c & 63))};
  };
  for (std::uint32_t c = 0; c < 0x130000; ++c) {
    const bool valid = c < 0xd800 || (c > 0xdfff && c < 0x110000);
    const auto text = encode(c);
    ASSERT_EQ(!first_invalid_utf8(text), valid) << c;
    if (text.size() > 1) {
      ASSERT_EQ(first_invalid_utf8(text.substr(0, text.size() - 1)), std::optional<std::size_t>(0)) << c;
    }
  }
  // Overlong forms of '/', U+07FF and U+FFFF, and bytes that never occur.
  for (const std::string text : {"\xc0\xaf", "\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\x80", "\xfe", "\xff"}) {
    EXPECT_EQ(first_invalid_utf8("12345678abc" + text), std::optional<std::size_t>(11));
  }
  EXPECT_EQ(utf8_prefix("a\xc3\xa9z", 2), "a");
  EXPECT_EQ(utf8_prefix("a\xc3\xa9z", 3), "a\xc3\xa9");
  EXPECT_EQ(utf8_prefix("abc", 9), "abc");
}

}  // namespace
}  // namespace moebius::io
