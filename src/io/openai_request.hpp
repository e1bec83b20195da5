// SPDX-License-Identifier: Apache-2.0
#pragma once
// The body of an OpenAI batch line into a Request, for request_reader.cpp. What is wrong throws BadField.
// An option that would change what is generated and that no code here follows is `unsupported`: to run
// the row all the same would answer another question.

#include "base/request.hpp"
#include "io/request_fields.hpp"

namespace moebius::io {

/// /v1/completions: prompt, max_tokens (16), temperature (1), top_p, seed, stop, logprobs, echo, n.
void read_completion(RequestFields& body, Request& request);

/// /v1/chat/completions: messages, max_completion_tokens or max_tokens (256), temperature (1),
/// top_p, seed, stop, n, logprobs with top_logprobs, chat_template_kwargs. The content of a message is a
/// text, or a list of text parts, which are joined by line breaks.
void read_chat(RequestFields& body, Request& request);

}  // namespace moebius::io
