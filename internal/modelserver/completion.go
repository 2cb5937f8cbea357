package modelserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

const mostTokens = 4096 // an answer is never longer, whatever max_tokens says

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
}

// answer is the text for a question and the pace at which it comes.
type answer struct {
	chat        bool
	id          string
	created     int64
	model       string
	fingerprint string
	tokens      []string
	finish      string // "stop" or "length"
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
	input, err := asked.input(chat)
	if err != nil {
		refuse(w, http.StatusBadRequest, "invalid_request", err.Error())
		return
	}
	if !s.knows(w, asked.Model) {
		return
	}
	release := s.occupy(r.Context())
	defer release()
	s.executions.Add(1)

	made := s.makeUp(chat, asked, input)
	s.pause(r.Context(), made.first)
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

// input returns what the text depends on besides the model, or says what is
// missing from the question.
func (q question) input(chat bool) ([]byte, error) {
	given, name := q.Prompt, "prompt"
	if chat {
		given, name = q.Messages, "messages"
	}
	if len(given) == 0 || string(given) == "null" {
		return nil, fmt.Errorf("%s is missing", name)
	}
	if limit := q.limit(); limit != nil && *limit < 1 {
		return nil, errors.New("max_tokens must be at least 1")
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, given); err != nil {
		return nil, err
	}
	return compact.Bytes(), nil
}

func (q question) limit() *int {
	if q.MaxCompletionTokens != nil {
		return q.MaxCompletionTokens
	}
	return q.MaxTokens
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

func (s *Server) makeUp(chat bool, asked question, input []byte) answer {
	seed := seedOf(asked.Model, input)
	limit := mostTokens
	if asked.limit() != nil {
		limit = min(*asked.limit(), mostTokens)
	}
	tokens, finish := tell(seed, min(asked.MinTokens, limit), limit)
	prompt := 1 + len(input)/4 // about four bytes a token, as for English text
	kind := "cmpl"
	if chat {
		kind = "chatcmpl"
	}
	return answer{
		chat:        chat,
		id:          fmt.Sprintf("%s-%016x", kind, seed),
		created:     time.Now().Unix(),
		model:       asked.Model,
		fingerprint: "simulated-" + s.settings.Region,
		tokens:      tokens,
		finish:      finish,
		usage:       usage{Prompt: prompt, Completion: len(tokens), Total: prompt + len(tokens)},
		first:       max(0, s.settings.FirstToken+jitter(seed, s.settings.Jitter)),
		each:        s.settings.PerToken,
	}
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
	s.pause(r.Context(), s.settings.FirstToken)
	writeEmbeddings(w, asked.Model, asked.Input)
}
