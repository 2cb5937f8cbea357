package modelserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// question is what is read of a request for text. Settings of sampling, n and
// tools are accepted and change nothing: one choice of made-up text is all there is.
type question struct {
	Model               string          `json:"model"`
	Messages            json.RawMessage `json:"messages"` // of a chat
	Prompt              json.RawMessage `json:"prompt"`   // of a plain completion
	MaxTokens           *int            `json:"max_tokens"`
	MaxCompletionTokens *int            `json:"max_completion_tokens"`
	MinTokens           int             `json:"min_tokens"` // vLLM's: the answer is at least this long
	Stream              bool            `json:"stream"`
	StreamOptions       struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`

	// vLLM's, for a chat: whether the last message is to be continued, and whether
	// a new one is to be begun, which is so unless it is said otherwise.
	ContinueFinalMessage bool  `json:"continue_final_message"`
	AddGenerationPrompt  *bool `json:"add_generation_prompt"`
}

// input is what the text depends on besides the model.
type input struct {
	before []byte // JSON, or the beginning of it
	given  string // text right before the answer, or in the middle of it
}

// answer is the text for a question and the pace at which it comes.
type answer struct {
	chat        bool
	id          string
	created     int64
	model       string
	fingerprint string
	resumed     bool     // the beginning of the text was in the question
	tokens      []string // the new ones
	finish      string   // "stop" or "length"
	usage       usage
	first       time.Duration // until the first token
	each        time.Duration // from each token to the next
}

type usage struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
	Total      int `json:"total_tokens"`
}

// complete answers a chat or a plain completion, streamed or whole.
func (s *Server) complete(w http.ResponseWriter, r *http.Request) {
	chat := r.URL.Path == "/v1/chat/completions"
	var asked question
	if !read(w, r, &asked) {
		return
	}
	in, err := asked.input(chat)
	if err != nil {
		refuse(w, http.StatusBadRequest, "invalid_request", err.Error())
		return
	}
	if !s.knows(w, asked.Model) || s.isPoisoned(w, in) {
		return
	}
	release := s.occupy(r.Context())
	defer release()
	s.executions.Add(1)

	made := s.makeUp(chat, asked, in)
	if made.resumed {
		s.resumed.Add(1)
	}
	s.think(r.Context(), made.first)
	if asked.Stream {
		s.stream(w, r, made, asked.StreamOptions.IncludeUsage)
		return
	}
	s.whole(w, r, made)
}

// read takes the body into a question; otherwise it has refused the request.
func read(w http.ResponseWriter, r *http.Request, into any) bool {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(body, into)
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, "invalid_json", "the body is not a JSON request: "+err.Error())
		return false
	}
	return true
}

// input returns what the text depends on, or says what is missing from the
// question or contradicts itself.
func (q question) input(chat bool) (input, error) {
	written, name := q.Prompt, "prompt"
	if chat {
		written, name = q.Messages, "messages"
	}
	if len(written) == 0 || string(written) == "null" {
		return input{}, fmt.Errorf("%s is missing", name)
	}
	if limit := q.limit(); limit != nil && *limit < 1 {
		return input{}, errors.New("max_tokens must be at least 1")
	}
	if chat && q.ContinueFinalMessage && (q.AddGenerationPrompt == nil || *q.AddGenerationPrompt) {
		return input{}, errors.New("continue_final_message and add_generation_prompt contradict each other; " +
			"to continue the last message, set add_generation_prompt to false, which is true by default")
	}
	meant, err := decoded(written)
	if err != nil {
		return input{}, err
	}
	if chat && q.ContinueFinalMessage {
		return continued(meant), nil
	}
	if prompt, isText := meant.(string); isText && !chat {
		return input{before: []byte(`"`), given: prompt}, nil
	}
	return input{before: encode(meant)}, nil
}

// decoded returns what a JSON text means: two texts that differ only in how they
// are written get the same answer.
func decoded(written json.RawMessage) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(written))
	decoder.UseNumber()
	var meant any
	err := decoder.Decode(&meant)
	return meant, err
}

// continued takes the text of the last message for part of the answer. A message
// that is not the assistant's, or not plain text, stays part of the question.
func continued(messages any) input {
	list, _ := messages.([]any)
	if len(list) > 0 {
		last, _ := list[len(list)-1].(map[string]any)
		text, isText := last["content"].(string)
		if isText && last["role"] == "assistant" {
			return input{before: encode(list[:len(list)-1]), given: text}
		}
	}
	return input{before: encode(messages)}
}

func (q question) limit() *int {
	if q.MaxCompletionTokens != nil {
		return q.MaxCompletionTokens
	}
	return q.MaxTokens
}

// holds reports whether a word is in what was asked.
func (in input) holds(word string) bool {
	return bytes.Contains(in.before, []byte(word)) || strings.Contains(in.given, word)
}

// knows reports whether this server answers to the model; otherwise it has
// refused the request.
func (s *Server) knows(w http.ResponseWriter, model string) bool {
	if model == "" {
		refuse(w, http.StatusBadRequest, "invalid_request", "model is missing")
		return false
	}
	if len(s.settings.Models) > 0 && !slices.Contains(s.settings.Models, model) {
		refuse(w, http.StatusNotFound, "model_not_found", fmt.Sprintf("the model %q is not served here", model))
		return false
	}
	return true
}

func (s *Server) makeUp(chat bool, asked question, in input) answer {
	from := begin(seedOf(asked.Model, in.before), in.given)
	most := mostTokens
	if asked.limit() != nil {
		most = *asked.limit()
	}
	tokens, finish := tell(from, asked.MinTokens, most)
	// About four bytes a token, as for English text; tokens of the answer are known.
	prompt := 1 + (len(in.before)+from.at)/4 + from.told
	made := answer{
		chat:        chat,
		created:     time.Now().Unix(),
		model:       asked.Model,
		fingerprint: "simulated-" + s.settings.Region,
		resumed:     chat && asked.ContinueFinalMessage || from.told > 0,
		tokens:      tokens,
		finish:      finish,
		usage:       usage{Prompt: prompt, Completion: len(tokens), Total: prompt + len(tokens)},
		first:       max(0, s.settings.FirstToken+jitter(from.seed, s.settings.Jitter)),
		each:        s.settings.PerToken,
	}
	made.id = made.identity(from)
	return made
}

// identity is an id that comes again with the same question. A continuation has
// another one than the answer that it continues.
func (a answer) identity(from beginning) string {
	number, kind := from.seed, "cmpl"
	if a.chat {
		kind = "chatcmpl"
	}
	if a.resumed {
		number = mix(number, fmt.Sprintf("resumed after %d", from.told))
	}
	return fmt.Sprintf("%s-%016x", kind, number)
}

// embed answers with one small vector for each input.
func (s *Server) embed(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Model string          `json:"model"`
		Input json.RawMessage `json:"input"`
	}
	if !read(w, r, &asked) {
		return
	}
	if len(asked.Input) == 0 {
		refuse(w, http.StatusBadRequest, "invalid_request", "input is missing")
		return
	}
	if !s.knows(w, asked.Model) {
		return
	}
	release := s.occupy(r.Context())
	defer release()
	s.executions.Add(1)
	s.think(r.Context(), s.settings.FirstToken)
	writeEmbeddings(w, asked.Model, asked.Input)
}
