// SPDX-License-Identifier: Apache-2.0
#include "io/model_files.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/io/input_support.hpp"

namespace moebius::io {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Json = nlohmann::json;

Json load(const std::string& path) {
  std::ifstream stream(source_path(path));
  return Json::parse(stream);
}

class ModelConfigTest : public FolderTest {
 protected:
  ModelConfig read(const Json& config) const {
    write("config.json", config.dump());
    return read_model_config(folder_);
  }
  std::string failure(const Json& config) const {
    return failure_of([&] { read(config); });
  }
  Json tiny() const { return load("inputs/models/tiny/config.json"); }
};

TEST_F(ModelConfigTest, reads_the_tiny_model) {
  const auto config = read_model_config(source_path("inputs/models/tiny"));
  EXPECT_EQ(config.model_type, "qwen3_moe");
  EXPECT_EQ(config.vocab_size, 4096);
  EXPECT_EQ(config.hidden_size, 256);
  EXPECT_EQ(config.num_layers, 4);
  EXPECT_EQ(config.num_heads, 8);
  EXPECT_EQ(config.num_kv_heads, 2);
  EXPECT_EQ(config.head_dim, 32);
  EXPECT_EQ(config.intermediate_size, 512);
  EXPECT_EQ(config.moe_intermediate_size, 64);
  EXPECT_EQ(config.num_experts, 32);
  EXPECT_EQ(config.experts_per_token, 4);
  EXPECT_TRUE(config.router.norm_topk_prob);
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_THAT(config.moe_layer, ElementsAre(1, 1, 1, 1));
  EXPECT_EQ(config.rope_theta, 10000.0);
  EXPECT_EQ(config.rms_norm_eps, 1e-6);
  EXPECT_EQ(config.max_position_embeddings, 2048);
  EXPECT_EQ(config.bos_token, 0);
  EXPECT_THAT(config.eos_tokens, ElementsAre(0, 2));  // config.json says 0 alone: the generation file wins
}

TEST_F(ModelConfigTest, reads_the_newer_spelling) {
  const auto config = read_model_config(source_path("tests/data/goldens/models/qwen3_moe"));
  EXPECT_EQ(config.num_experts, 16);      // num_local_experts
  EXPECT_EQ(config.rope_theta, 10000.0);  // rope_parameters
  EXPECT_FALSE(config.tie_word_embeddings);
  EXPECT_THAT(config.eos_tokens, ElementsAre(2));
  EXPECT_EQ(config.bos_token, 1);
}

TEST_F(ModelConfigTest, every_second_layer_is_dense_in_the_tied_model) {
  const auto config = read_model_config(source_path("tests/data/goldens/models/qwen3_moe_tied"));
  EXPECT_THAT(config.moe_layer, ElementsAre(0, 1, 0, 1));
  EXPECT_TRUE(config.tie_word_embeddings);
}

TEST_F(ModelConfigTest, moe_layers_follow_both_keys) {
  auto json = tiny();
  json["num_hidden_layers"] = 7;
  json["decoder_sparse_step"] = 3;
  json["mlp_only_layers"] = {5};
  EXPECT_THAT(read(json).moe_layer, ElementsAre(0, 0, 1, 0, 0, 0, 0));
  json["decoder_sparse_step"] = 1;
  json["mlp_only_layers"] = {0, 6};
  EXPECT_THAT(read(json).moe_layer, ElementsAre(0, 1, 1, 1, 1, 1, 0));
}

TEST_F(ModelConfigTest, optional_keys_have_the_defaults_of_transformers) {
  auto json = tiny();
  for (const char* key : {"architectures", "head_dim", "intermediate_size", "norm_topk_prob", "decoder_sparse_step",
                          "mlp_only_layers", "hidden_act", "rope_scaling", "attention_bias", "tie_word_embeddings",
                          "use_sliding_window", "bos_token_id", "eos_token_id"}) {
    json.erase(key);
  }
  const auto config = read(json);
  EXPECT_EQ(config.head_dim, 32);  // 256 / 8
  EXPECT_FALSE(config.router.norm_topk_prob);
  EXPECT_FALSE(config.tie_word_embeddings);
  EXPECT_EQ(config.bos_token, -1);
  EXPECT_THAT(config.eos_tokens, IsEmpty());
  EXPECT_EQ(config.intermediate_size, 0);
}

TEST_F(ModelConfigTest, end_tokens_come_from_the_generation_file_where_it_has_any) {
  auto json = tiny();
  json["eos_token_id"] = {5, 6};
  json.erase("bos_token_id");
  write("generation_config.json", R"({"bos_token_id": 9})");
  EXPECT_THAT(read(json).eos_tokens, ElementsAre(5, 6));
  EXPECT_EQ(read(json).bos_token, 9);
  write("generation_config.json", R"({"eos_token_id": 7})");
  EXPECT_THAT(read(json).eos_tokens, ElementsAre(7));
  write("generation_config.json", R"({"eos_token_id": 4096})");
  EXPECT_THAT(failure(json), HasSubstr("generation_config.json: key eos_token_id is 4096"));
}

struct Change {
  const char* key;
  Json value;  // discarded: the key is removed
  const char* part_of_message;
};

TEST_F(ModelConfigTest, names_what_it_cannot_run) {
  const Json removed(Json::value_t::discarded);
  const std::vector<Change> cases = {
      {"model_type", "gpt2", R"(key model_type is "gpt2" (this version of moebius runs only mixtral, )"},
      {"model_type", removed, "key model_type is missing"},
      {"architectures", {"Qwen3MoeForSequenceClassification"}, "Qwen3MoeForSequenceClassification"},
      {"architectures", 3, "key architectures is unusable"},
      {"hidden_act", "gelu", R"(key hidden_act is "gelu")"},
      {"attention_bias", true, "key attention_bias is true"},
      {"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}, R"(key rope_scaling.type is "linear")"},
      {"rope_scaling", {{"rope_type", "yarn"}}, "key rope_scaling.original_max_position_embeddings is missing"},
      {"rope_scaling", "yarn", "key rope_scaling is a string (it must be an object)"},
      {"rope_parameters", {{"rope_type", "llama3"}, {"rope_theta", 1e4}}, R"(rope_parameters.rope_type is "llama3")"},
      {"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 5e5}}, "key rope_theta is 10000 (rope_parameters"},
      {"rope_parameters", {{"partial_rotary_factor", 0.5}}, "partial_rotary_factor is not 1"},
      {"rope_theta", removed, "key rope_theta is missing"},
      {"rope_theta", 0, "key rope_theta is 0"},
      {"rope_theta", "big", R"(key rope_theta is "big" (it must be a number))"},
      {"quantization_config", {{"bits", 4}}, "key quantization_config.quant_method is missing"},
      {"layer_types", {"full_attention", "sliding_attention"}, "key layer_types is not full_attention"},
      {"vocab_size", removed, "key vocab_size is missing"},
      {"vocab_size", 0, "key vocab_size is 0 (it must be an integer from 1"},
      {"vocab_size", -5, "key vocab_size is -5"},
      {"vocab_size", 4096.5, "key vocab_size is 4096.5"},
      {"vocab_size", "4096", R"(key vocab_size is "4096")"},
      {"vocab_size", 18446744073709551615ULL, "key vocab_size is 18446744073709551615"},
      {"hidden_size", nullptr, "key hidden_size is missing"},
      {"num_hidden_layers", 1000000, "key num_hidden_layers is 1000000"},
      {"num_attention_heads", 7, "key num_key_value_heads is 2 (it must divide num_attention_heads, which is 7)"},
      {"head_dim", 33, "key head_dim is 33 (rotary embeddings turn pairs"},
      {"num_experts", removed, "key num_experts is missing"},
      {"num_experts", 0, "key num_experts is 0"},
      {"num_local_experts", 16, "key num_experts is 32 (num_local_experts is 16)"},
      {"num_experts_per_tok", 33, "key num_experts_per_tok is 33 (there are 32 experts)"},
      {"decoder_sparse_step", 0, "key decoder_sparse_step is 0"},
      {"mlp_only_layers", {4}, "key mlp_only_layers is 4"},
      {"mlp_only_layers", {"a"}, R"(key mlp_only_layers is "a")"},
      {"rms_norm_eps", 0.0, "key rms_norm_eps is 0"},
      {"bos_token_id", 4096, "key bos_token_id is 4096"},
      {"norm_topk_prob", 1, "key norm_topk_prob is 1 (it must be true or false)"},
      {"max_position_embeddings", {2048}, "key max_position_embeddings is a list"},
  };
  for (const auto& change : cases) {
    auto json = tiny();
    if (change.value.is_discarded()) {
      json.erase(change.key);
    } else {
      json[change.key] = change.value;
    }
    const auto message = failure(json);
    EXPECT_THAT(message, HasSubstr(change.part_of_message)) << change.key;
    EXPECT_THAT(message, HasSubstr((folder_ / "config.json").string()));
  }
}

TEST_F(ModelConfigTest, a_sliding_window_counts_only_when_it_is_on_and_has_a_width) {
  auto json = tiny();
  json["sliding_window"] = 4096;
  EXPECT_THAT(read(json).windows, IsEmpty());
  json["use_sliding_window"] = true;
  EXPECT_THAT(read(json).windows, ElementsAre(4096, 4096, 4096, 4096));
  json["sliding_window"] = nullptr;
  EXPECT_THAT(read(json).windows, IsEmpty());
}

TEST_F(ModelConfigTest, a_dense_layer_needs_its_size) {
  auto json = tiny();
  json["mlp_only_layers"] = {1};
  json.erase("intermediate_size");
  EXPECT_THAT(failure(json), HasSubstr("key intermediate_size is missing"));
}

TEST_F(ModelConfigTest, missing_and_broken_files) {
  EXPECT_THAT(failure_of([&] { read_model_config(folder_); }), HasSubstr("config.json (No such file"));
  EXPECT_THAT(failure_of([&] { read_model_config(folder_ / "none"); }), HasSubstr("there is no folder of that name"));
  EXPECT_THAT(failure_of([&] { read_model_config("models/none"); }), HasSubstr("relative paths start at"));
  write("config.json", R"({"model_type": "qwen3_moe",)");
  EXPECT_THAT(failure_of([&] { read_model_config(folder_); }), HasSubstr("is not valid JSON"));
  write("config.json", "[1]");
  EXPECT_THAT(failure_of([&] { read_model_config(folder_); }), HasSubstr("the document is a list"));
}

TEST_F(ModelConfigTest, mutations_are_read_or_refused) {
  const std::uint64_t seed = 5;
  RecordProperty("seed", std::to_string(seed));
  std::mt19937_64 random(seed);
  const auto whole = tiny().dump();
  int num_refused = 0;
  for (int round = 0; round < 3000; ++round) {
    write("config.json", mutate(whole, random, "0123456789{}[]\",:-.e"));
    try {
      const auto config = read_model_config(folder_);
      ASSERT_EQ(config.moe_layer.size(), static_cast<std::size_t>(config.num_layers));
      ASSERT_EQ(config.num_heads % config.num_kv_heads, 0);
      ASSERT_LE(config.experts_per_token, config.num_experts);
    } catch (const Failure& failure) {
      ASSERT_EQ(failure.code(), ExitCode::unreadable_input) << "seed " << seed << " round " << round;
      ++num_refused;
    }
  }
  EXPECT_GT(num_refused, 1000);
}

// tokenizer.json -------------------------------------------------------------------------------

class TokenizerFileTest : public FolderTest {
 protected:
  TokenizerSpec read(const Json& json) const { return read_tokenizer(write("tokenizer.json", json.dump())); }
  std::string failure(const Json& json) const {
    return failure_of([&] { read(json); });
  }
  /// Smallest file of the form: pieces a, b, ab and the special token <s>.
  Json small() const {
    return Json::parse(R"({
      "version": "1.0", "truncation": null, "padding": null,
      "added_tokens": [{"id": 3, "content": "<s>", "special": true, "normalized": false}],
      "normalizer": null,
      "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
      "post_processor": null, "decoder": {"type": "ByteLevel"},
      "model": {"type": "BPE", "vocab": {"b": 1, "ab": 2, "a": 0}, "merges": [["a", "b"]]}})");
  }
};

TEST_F(TokenizerFileTest, reads_the_tiny_tokenizer_from_its_folder) {
  const auto spec = read_tokenizer(source_path("inputs/models/tiny"));
  EXPECT_EQ(spec.vocab.size(), 4096U);
  EXPECT_EQ(spec.vocab[0], (std::pair<std::string, TokenId>("<|endoftext|>", 0)));
  EXPECT_EQ(spec.merges.size(), 3836U);
  EXPECT_EQ(spec.merges[0], (std::pair<std::string, std::string>("Ġ", "t")));
  ASSERT_EQ(spec.added_tokens.size(), 4U);
  EXPECT_EQ(spec.added_tokens[2].content, "<|im_end|>");
  EXPECT_TRUE(spec.added_tokens[2].special);
  EXPECT_THAT(spec.normalizer, IsEmpty());
  EXPECT_TRUE(spec.byte_level);
  ASSERT_EQ(spec.pre_tokenizer.size(), 1U);
  EXPECT_EQ(spec.pre_tokenizer[0].kind, PreTokenizerStep::Kind::byte_level);
  EXPECT_TRUE(spec.pre_tokenizer[0].use_regex);
  EXPECT_FALSE(spec.pre_tokenizer[0].add_prefix_space);
  EXPECT_FALSE(spec.ignore_merges);
  EXPECT_THAT(spec.prefix_special_ids, IsEmpty());
}

TEST_F(TokenizerFileTest, reads_published_styles) {
  const auto qwen = read_tokenizer(source_path("tests/data/goldens/tokenizers/qwen/tokenizer.json"));
  ASSERT_EQ(qwen.normalizer.size(), 1U);
  EXPECT_EQ(qwen.normalizer[0].kind, NormalizerStep::Kind::nfc);
  ASSERT_EQ(qwen.pre_tokenizer.size(), 2U);
  EXPECT_EQ(qwen.pre_tokenizer[0].kind, PreTokenizerStep::Kind::split);
  EXPECT_THAT(qwen.pre_tokenizer[0].pattern, HasSubstr(R"(\p{N}| ?[^\s\p{L}\p{N}]+)"));
  EXPECT_FALSE(qwen.pre_tokenizer[1].use_regex);
  EXPECT_EQ(qwen.added_tokens.back().id, 1501);
  EXPECT_FALSE(qwen.added_tokens[3].special);
  const auto olmoe = read_tokenizer(source_path("tests/data/goldens/tokenizers/olmoe"));
  EXPECT_EQ(olmoe.merges.size(), 1241U);
  const auto deepseek = read_tokenizer(source_path("tests/data/goldens/tokenizers/deepseek"));
  ASSERT_EQ(deepseek.pre_tokenizer.size(), 6U);
  EXPECT_EQ(deepseek.pre_tokenizer[4].pattern, R"(\p{N})") << "Digits, one by one";
}

TEST_F(TokenizerFileTest, reads_pieces_of_characters) {
  const auto spec = read_tokenizer(source_path("tests/data/goldens/tokenizers/mixtral"));
  EXPECT_FALSE(spec.byte_level);
  EXPECT_TRUE(spec.byte_fallback);
  EXPECT_TRUE(spec.fuse_unknown);
  EXPECT_EQ(spec.unknown_token, 0);
  ASSERT_EQ(spec.normalizer.size(), 2U);
  EXPECT_EQ(spec.normalizer[0].kind, NormalizerStep::Kind::prepend);
  EXPECT_EQ(spec.normalizer[0].replacement.to, "\u2581");
  EXPECT_EQ(spec.normalizer[1].kind, NormalizerStep::Kind::replace);
  EXPECT_EQ(spec.normalizer[1].replacement.from, " ");
  EXPECT_THAT(spec.pre_tokenizer, IsEmpty());
  ASSERT_EQ(spec.decoder.replacements.size(), 1U);
  EXPECT_EQ(spec.decoder.replacements[0].from, "\u2581");
  EXPECT_TRUE(spec.decoder.byte_fallback);
  EXPECT_EQ(spec.decoder.num_leading_spaces, 1);
}

TEST_F(TokenizerFileTest, other_names_of_split) {
  auto json = small();
  json["pre_tokenizer"] = Json::parse(R"({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": false},
    {"type": "Digits", "individual_digits": true}, {"type": "Split", "pattern": {"String": "a.[\\"}, "behavior": "Isolated"},
    {"type": "ByteLevel"}]})");
  const auto steps = read(json).pre_tokenizer;
  ASSERT_EQ(steps.size(), 4U);
  EXPECT_EQ(steps[0].pattern, R"(\p{N}+)");
  EXPECT_EQ(steps[1].pattern, R"(\p{N})");
  EXPECT_EQ(steps[2].pattern, R"(a\.\[\\)");
}

TEST_F(TokenizerFileTest, metaspace_is_read_in_its_old_and_new_form) {
  auto json = small();
  json["decoder"] = {{"type", "Fuse"}};
  json["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "\u2581"}, {"add_prefix_space", false}};
  EXPECT_EQ(read(json).pre_tokenizer[0].prepend_scheme, PreTokenizerStep::PrependScheme::never);
  EXPECT_TRUE(read(json).pre_tokenizer[0].cut_at_spaces);
  json["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", "first"}, {"split", false}};
  EXPECT_EQ(read(json).pre_tokenizer[0].prepend_scheme, PreTokenizerStep::PrependScheme::first);
  EXPECT_FALSE(read(json).pre_tokenizer[0].cut_at_spaces);
  json["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "\u2581"}};
  EXPECT_EQ(read(json).pre_tokenizer[0].prepend_scheme, PreTokenizerStep::PrependScheme::always);
}

TEST_F(TokenizerFileTest, merges_may_be_pairs_or_strings) {
  auto json = small();
  EXPECT_THAT(read(json).merges, ElementsAre(std::pair<std::string, std::string>("a", "b")));
  json["model"]["merges"] = {"a b"};
  EXPECT_THAT(read(json).merges, ElementsAre(std::pair<std::string, std::string>("a", "b")));
  EXPECT_EQ(read(json).vocab[2].first, "ab");  // by id
}

TEST_F(TokenizerFileTest, templates_become_ids_around_the_text) {
  auto json = small();
  const auto processor = Json::parse(R"({"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
               {"SpecialToken": {"id": "ab", "type_id": 0}}],
    "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [3], "tokens": ["<s>"]},
                                   "ab": {"id": "ab", "ids": [2, 1], "tokens": ["ab"]}}})");
  json["post_processor"] = processor;
  EXPECT_THAT(read(json).prefix_special_ids, ElementsAre(3));
  EXPECT_THAT(read(json).suffix_special_ids, ElementsAre(2, 1));
  json["post_processor"] = {{"type", "Sequence"}, {"processors", {{{"type", "ByteLevel"}}, processor, processor}}};
  EXPECT_THAT(read(json).prefix_special_ids, ElementsAre(3, 3));
  EXPECT_THAT(read(json).suffix_special_ids, ElementsAre(2, 1, 2, 1));
}

struct Patch {
  const char* pointer;  // JSON pointer of what is replaced
  Json value;
  const char* part_of_message;
};

TEST_F(TokenizerFileTest, names_what_it_cannot_run) {
  const auto sequence = Json{{"type", "Sequence"}};
  const std::vector<Patch> cases = {
      {"/model/type", "Unigram", R"(key model.type is "Unigram" (this version of moebius runs only BPE))"},
      {"/model/byte_fallback", true, "key model.byte_fallback is true"},
      {"/model/dropout", 0.1, "key model.dropout is not 0"},
      {"/model/unk_token", "<unk>", R"(key model.unk_token is "<unk>" (this version of moebius runs only a piece of model.vocab))"},
      {"/model/end_of_word_suffix", "</w>", "key model.end_of_word_suffix is set"},
      {"/model/vocab", Json::array(), "key model.vocab is a list (it must be an object)"},
      {"/model/vocab/a", -1, R"(gives "a" the id -1)"},
      {"/model/vocab/a", 1.5, R"(gives "a" the id 1.5)"},
      {"/model/vocab/a", 1, "another piece has it"},
      {"/model/merges", Json::parse(R"([["a", "c"]])"), R"(key model.merges[0] uses "c")"},
      {"/model/merges", Json::parse(R"([["b", "a"]])"), R"(key model.merges[0] uses "ba")"},
      {"/model/merges", {"a b c"}, "key model.merges[0] is not a pair"},
      {"/model/merges", {{"a", "b"}, 7}, "key model.merges[1] is not a pair"},
      {"/model/merges", "a b", "key model.merges is a string (it must be a list)"},
      {"/normalizer", {{"type", "NFKC"}}, R"(key normalizer.type is "NFKC")"},
      {"/normalizer", {{"type", "Sequence"}, {"normalizers", {{{"type", "Lowercase"}}}}}, R"("Lowercase")"},
      {"/pre_tokenizer", nullptr, R"(key decoder.type is "ByteLevel" (this version of moebius runs only ByteLevel where)"},
      {"/pre_tokenizer", {{"type", "Whitespace"}}, R"(key pre_tokenizer.type is "Whitespace")"},
      {"/pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "_"}}, R"(key pre_tokenizer.replacement is "_")"},
      {"/pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", "last"}}, R"("last")"},
      {"/pre_tokenizer",
       {{"type", "Sequence"}, {"pretokenizers", {{{"type", "ByteLevel"}}, {{"type", "Digits"}}}}},
       "with ByteLevel before another step"},
      {"/pre_tokenizer",
       {{"type", "Sequence"}, {"pretokenizers", {{{"type", "Metaspace"}, {"replacement", "\u2581"}}, {{"type", "ByteLevel"}}}}},
       "with Metaspace behind another step or before ByteLevel"},
      {"/pre_tokenizer", {{"type", "Split"}, {"pattern", {{"Regex", " "}}}, {"behavior", "Removed"}}, R"("Removed")"},
      {"/pre_tokenizer",
       {{"type", "Split"}, {"pattern", {{"Regex", " "}}}, {"behavior", "Isolated"}, {"invert", true}},
       "invert is true"},
      {"/pre_tokenizer",
       {{"type", "Split"}, {"pattern", {{"Regex", " "}}}, {"behavior", "Isolated"}},
       R"(key decoder.type is "ByteLevel")"},
      {"/pre_tokenizer", sequence, "key pre_tokenizer.pretokenizers is missing"},
      {"/pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {sequence}}}, "a Sequence in a Sequence"},
      {"/post_processor", {{"type", "BertProcessing"}}, R"(key post_processor.type is "BertProcessing")"},
      {"/post_processor", {{"type", "TemplateProcessing"}, {"single", Json::array()}}, "a template with 0 texts"},
      {"/post_processor",
       {{"type", "TemplateProcessing"},
        {"single", {{{"SpecialToken", {{"id", "x"}}}}}},
        {"special_tokens", Json::object()}},
       "key post_processor.special_tokens.x is missing"},
      {"/decoder", {{"type", "WordPiece"}}, R"(key decoder.type is "WordPiece")"},
      {"/decoder", {{"type", "Sequence"}, {"decoders", {{{"type", "ByteLevel"}}, {{"type", "Fuse"}}}}}, "ByteLevel alone"},
      {"/added_tokens/0/id", -1, "key added_tokens[0].id is -1"},
      {"/added_tokens/0/content", "", "key added_tokens[0].content is empty"},
      {"/added_tokens/0", 3, "key added_tokens[0] is an integer"},
      {"/model", nullptr, "key model is missing"},
  };
  for (const auto& patch : cases) {
    auto json = small();
    json[Json::json_pointer(patch.pointer)] = patch.value;
    EXPECT_THAT(failure(json), HasSubstr(patch.part_of_message)) << patch.pointer << " " << patch.value;
  }
}

TEST_F(TokenizerFileTest, missing_file) {
  EXPECT_THAT(failure_of([&] { read_tokenizer(folder_); }), HasSubstr("tokenizer.json (No such file"));
}

TEST_F(TokenizerFileTest, mutations_are_read_or_refused) {
  const std::uint64_t seed = 6;
  RecordProperty("seed", std::to_string(seed));
  std::mt19937_64 random(seed);
  const auto whole = small().dump();
  int num_refused = 0;
  for (int round = 0; round < 3000; ++round) {
    const auto path = write("tokenizer.json", mutate(whole, random, "0123456789{}[]\",:-.e"));
    try {
      for (const auto& [piece, id] : read_tokenizer(path).vocab) ASSERT_GE(id, 0);
    } catch (const Failure& failure) {
      ASSERT_EQ(failure.code(), ExitCode::unreadable_input) << "seed " << seed << " round " << round;
      ++num_refused;
    }
  }
  EXPECT_GT(num_refused, 1000);
}

}  // namespace
}  // namespace moebius::io
