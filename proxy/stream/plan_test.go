package stream

import (
	"errors"
	"testing"
)

// ask is a chat request with more parameters.
func ask(more string) string {
	return `{"model":"m","messages":[{"role":"user","content":"Hi"}],"stream":true` + more + `}`
}

// askText is the same of a completion.
func askText(more string) string {
	return `{"model":"m","prompt":"Once","max_tokens":10,"stream":true` + more + `}`
}

func says(messages string) string {
	return `{"messages":` + messages + `,"stream":true}`
}

func TestWhatCannotBeContinuedIsRefusedWithItsReason(t *testing.T) {
	for _, c := range []struct {
		dialect    Dialect
		body, want string
	}{
		{Responses, ask(""), "only chat completions and completions can"},
		{Opaque, ask(""), "only chat completions and completions can"},
		{Chat, `{`, "the request is not JSON"},
		{Chat, `[]`, "the request does not ask for a stream"},
		{Chat, `{"messages":[{"role":"user","content":"Hi"}]}`, "the request does not ask for a stream"},
		{Chat, `{"messages":[{"role":"user","content":"Hi"}],"stream":1}`, "the request does not ask for a stream"},
		{Chat, `{"stream":true}`, "the request has no prompt"},
		{Chat, says(`[]`), "the request has no prompt"},
		{Chat, says(`"Hi"`), "the messages are no list"},
		{Chat, says(`["Hi"]`), "a message is of nobody known"},
		{Chat, says(`[{"role":"oracle","content":"Hi"}]`), "a message is of nobody known"},
		{Chat, says(`[{"role":"user","content":1}]`), "there is more than text in it"},
		{Chat, says(`[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{}}]}]`), "there is more than text in it"},
		{Chat, says(`[{"role":"user","content":[{"type":"input_audio"}]}]`), "there is more than text in it"},
		{Chat, says(`[{"role":"user","content":["Hi"]}]`), "there is more than text in it"},
		{Chat, says(`[{"role":"user","content":"Hi","audio":{"id":"1"}}]`), "there is more than text in it"},
		{Chat, says(`[{"role":"tool","content":"Hi"}]`), "tools were called"},
		{Chat, says(`[{"role":"assistant","content":null,"tool_calls":[{}]},{"role":"user","content":"Hi"}]`), "tools were called"},
		{Chat, says(`[{"role":"user","role":"system","content":"Hi"}]`), `"role" stands twice in an object`},
		{Chat, says(`[{"role":"user","content":"Hi","Content":"Ho"}]`), `some servers may know "Content" by another name`},
		{Chat, says(`[{"role":"assistant","content":"Hi"}]`), "the assistant has the last word, and servers differ in whether the answer goes on with it"},
		{Chat, ask(`,"stream":true`), `"stream" stands twice in an object`},
		{Chat, ask(`,"to\u006fls":[{}]`), `some servers may know "to\\u006fls" by another name`},
		{Chat, ask(`,"Tools":[{}]`), `some servers may know "Tools" by another name`},
		{Chat, ask(`,"n":2`), "n is not 1"},
		{Chat, ask(`,"n":1.0`), "n is not 1"},
		{Text, askText(`,"best_of":2`), "best_of is not 1"},
		{Chat, ask(`,"tools":[{"type":"function"}]`), "tools are offered: tools"},
		{Chat, ask(`,"functions":[{}]`), "tools are offered: functions"},
		{Chat, ask(`,"tool_choice":"auto"`), "tools are offered: tool_choice"},
		{Chat, ask(`,"web_search_options":{"a":1}`), "tools are offered: web_search_options"},
		{Chat, ask(`,"logprobs":true`), "more is asked for than text: logprobs"},
		{Chat, ask(`,"top_logprobs":2`), "more is asked for than text: top_logprobs"},
		{Text, askText(`,"logprobs":0`), "more is asked for than text: logprobs"},
		{Text, askText(`,"prompt_logprobs":0`), "more is asked for than text: prompt_logprobs"},
		{Chat, ask(`,"n_probs":1`), "more is asked for than text: n_probs"},
		{Chat, ask(`,"return_token_ids":true`), "more is asked for than text: return_token_ids"},
		{Chat, ask(`,"response_format":{"type":"json_object"}`), "the answer is bound to a format"},
		{Chat, ask(`,"response_format":{"type":"text","schema":{}}`), "the answer is bound to a format"},
		{Chat, ask(`,"response_format":"text"`), "the answer is bound to a format"},
		{Chat, ask(`,"guided_regex":"a+"`), "a grammar binds the answer: guided_regex"},
		{Chat, ask(`,"guided_choice":["a"]`), "a grammar binds the answer: guided_choice"},
		{Chat, ask(`,"structured_outputs":{"regex":"a"}`), "a grammar binds the answer: structured_outputs"},
		{Chat, ask(`,"structural_tag":"{}"`), "a grammar binds the answer: structural_tag"},
		{Chat, ask(`,"grammar":"root ::= a"`), "a grammar binds the answer: grammar"},
		{Text, askText(`,"json_schema":{"type":"object"}`), "a grammar binds the answer: json_schema"},
		{Text, askText(`,"ebnf":"a"`), "a grammar binds the answer: ebnf"},
		{Text, askText(`,"regex":"a"`), "a grammar binds the answer: regex"},
		{Chat, ask(`,"modalities":["text","audio"]`), "there is more than text in it"},
		{Chat, ask(`,"audio":{"voice":"alloy"}`), "there is more than text in it: audio"},
		{Text, askText(`,"image_data":["a"]`), "there is more than text in it: image_data"},
		{Text, askText(`,"prompt_embeds":"a"`), "there is more than text in it: prompt_embeds"},
		{Text, askText(`,"echo":true`), "the text is not to follow its prompt alone: echo"},
		{Text, askText(`,"suffix":"end"`), "the text is not to follow its prompt alone: suffix"},
		{Text, askText(`,"messages":[{}]`), "the prompt is none of this API's: messages"},
		{Chat, ask(`,"prompt":"Hi"`), "the prompt is none of this API's: prompt"},
		{Text, askText(`,"use_beam_search":true`), "more decides on the next token than the text so far: use_beam_search"},
		{Text, askText(`,"truncate_prompt_tokens":100`), "more decides on the next token than the text so far: truncate_prompt_tokens"},
		{Chat, ask(`,"max_tokens":0`), "max_tokens is not a number of tokens"},
		{Chat, ask(`,"max_tokens":10.5`), "max_tokens is not a number of tokens"},
		{Chat, ask(`,"max_completion_tokens":"10"`), "max_completion_tokens is not a number of tokens"},
		{Chat, ask(`,"max_tokens":10,"max_completion_tokens":20`), "the request limits its tokens in two ways"},
		{Chat, ask(`,"min_tokens":-1`), "min_tokens is not a number of tokens"},
		{Chat, ask(`,"add_generation_prompt":0`), "add_generation_prompt is neither true nor false"},
		{Chat, ask(`,"add_generation_prompt":false`), "add_generation_prompt is false, so that the answer may not begin as the assistant's"},
		{Chat, ask(`,"continue_final_message":"content"`), "continue_final_message is neither true nor false"},
		{Chat, ask(`,"continue_final_message":true`), "continue_final_message is set, but the last message is no text of the assistant's"},
		{
			Chat, `{"messages":[{"role":"assistant","content":[{"type":"text","text":"Hi"}]}],"stream":true,"continue_final_message":true}`,
			"continue_final_message is set, but the last message is no text of the assistant's",
		},
		{Text, `{"prompt":"Once","stream":true}`, "without max_tokens, servers differ in how long a completion is: set it"},
		{Text, `{"prompt":"Once","max_tokens":null,"stream":true}`, "without max_tokens, servers differ in how long a completion is: set it"},
		{Text, `{"prompt":["a","b"],"max_tokens":1,"stream":true}`, "the prompt is not one text"},
		{Text, `{"prompt":[],"max_tokens":1,"stream":true}`, "the prompt is not one text"},
		{Text, `{"prompt":[1,2],"max_tokens":1,"stream":true}`, "the prompt is not one text"},
		{Text, `{"prompt":null,"max_tokens":1,"stream":true}`, "the prompt is not one text"},
	} {
		_, err := NewTale(c.dialect, []byte(c.body))
		if !errors.Is(err, ErrNotContinuable) || err.Error() != "the stream cannot go on elsewhere: "+c.want {
			t.Errorf("%s: %v, want %q", c.body, err, c.want)
		}
	}
}

func TestWhatLeavesTheAnswerTextAloneIsAccepted(t *testing.T) {
	for _, c := range []struct {
		dialect Dialect
		body    string
	}{
		{Chat, ask(``)},
		{Chat, ask(`,"n":1,"best_of":null,"tools":[],"functions":null,"tool_choice":"none","logprobs":false,"top_logprobs":0`)},
		{Chat, ask(`,"response_format":{"type":"text"},"modalities":["text"],"audio":null,"structured_outputs":{ }`)},
		{Chat, ask(`,"temperature":0,"seed":7,"stop":["\n"],"stream_options":{"include_usage":true},"user":"u","metadata":{"Tools":1}`)},
		{Chat, ask(`,"max_tokens":10,"max_completion_tokens":10,"min_tokens":0,"add_generation_prompt":true,"continue_final_message":false`)},
		{Chat, ask(`,"chat_template_kwargs":{"enable_thinking":false},"top_k":20,"repetition_penalty":1.1,"parallel_tool_calls":true`)},
		{Chat, says(`[{"role":"system","content":"Be brief."},{"role":"user","content":[{"type":"text","text":"Hi"}],"name":"u"}]`)},
		{Chat, says(`[{"role":"assistant","content":"Hi","refusal":null,"tool_calls":[]},{"role":"user","content":null}]`)},
		{Chat, `{"messages":[{"role":"assistant","content":"Well,"}],"stream":true,"continue_final_message":true,"add_generation_prompt":false}`},
		{Text, askText(``)},
		{Text, askText(`,"echo":false,"suffix":null,"logprobs":null,"best_of":1`)},
		{Text, `{"prompt":["Once"],"n_predict":10,"stream":true}`},
	} {
		if tale, err := NewTale(c.dialect, []byte(c.body)); err != nil || !tale.Continuable() {
			t.Errorf("%s: %v", c.body, err)
		}
	}
}
