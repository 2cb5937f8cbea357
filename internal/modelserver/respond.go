package modelserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// object is JSON as the OpenAI API writes it.
type object map[string]any

const done = "[DONE]" // the last event of a stream

// stream sends an answer as server-sent events: the role, one event a token, the
// reason why it ends, the usage if it was asked for, and [DONE].
func (s *Server) stream(w http.ResponseWriter, r *http.Request, made answer, withUsage bool) {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	if s.breaksFirst(w, r) {
		return
	}
	if made.chat {
		s.send(w, r, encode(made.event(object{"role": "assistant", "content": ""}, nil)))
	}
	for i, token := range made.tokens {
		if i > 0 {
			s.think(r.Context(), s.pace(made))
		}
		if s.breaksAt(w, r, i, true) {
			return
		}
		s.send(w, r, encode(made.event(made.delta(token), nil)))
		s.tokens.Add(1)
	}
	if s.breaksAt(w, r, len(made.tokens), true) {
		return
	}
	s.send(w, r, encode(made.event(made.delta(""), made.finish)))
	if withUsage {
		s.send(w, r, encode(made.envelope(made.chunkKind(), object{"choices": []object{}, "usage": made.usage})))
	}
	s.send(w, r, []byte(done))
}

// whole sends an answer as one JSON document when its last token is there. An
// answer that breaks off has sent the same share of its bytes as of its tokens.
func (s *Server) whole(w http.ResponseWriter, r *http.Request, made answer) {
	document := encode(made.document())
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(document)))
	sent := 0
	for i := range made.tokens {
		if i > 0 {
			s.think(r.Context(), s.pace(made))
		}
		if s.Fault().stops(i, false) {
			until := len(document) * i / len(made.tokens)
			w.Write(document[sent:until])
			flush(w)
			sent = until
			s.breaksAt(w, r, i, false)
		}
		s.tokens.Add(1)
	}
	w.Write(document[sent:])
}

// pace is the time from a token to the next as things are.
func (s *Server) pace(made answer) time.Duration {
	if fault := s.Fault(); fault.Mode == SlowTokens {
		return fault.Delay
	}
	return made.each
}

func (a answer) document() object {
	text := strings.Join(a.tokens, "")
	choice := object{"index": 0, "finish_reason": a.finish, "logprobs": nil}
	kind := "text_completion"
	if a.chat {
		choice["message"] = object{"role": "assistant", "content": text}
		kind = "chat.completion"
	} else {
		choice["text"] = text
	}
	return a.envelope(kind, object{"choices": []object{choice}, "usage": a.usage})
}

// event is one event of a stream; finish is nil until the last.
func (a answer) event(delta object, finish any) object {
	choice := object{"index": 0, "finish_reason": finish}
	if a.chat {
		choice["delta"] = delta
	} else {
		choice["text"], choice["logprobs"] = delta["text"], nil
	}
	return a.envelope(a.chunkKind(), object{"choices": []object{choice}})
}

func (a answer) delta(token string) object {
	switch {
	case !a.chat:
		return object{"text": token}
	case token == "":
		return object{}
	}
	return object{"content": token}
}

func (a answer) chunkKind() string {
	if a.chat {
		return "chat.completion.chunk"
	}
	return "text_completion"
}

func (a answer) envelope(kind string, o object) object {
	o["object"], o["id"], o["created"], o["model"] = kind, a.id, a.created, a.model
	o["system_fingerprint"] = a.fingerprint
	return o
}

func (s *Server) models(w http.ResponseWriter, _ *http.Request) {
	list := []object{}
	for _, name := range s.settings.Models {
		list = append(list, object{"id": name, "object": "model", "created": 0, "owned_by": "simulated"})
	}
	writeJSON(w, object{"object": "list", "data": list})
}

func writeEmbeddings(w http.ResponseWriter, model string, input json.RawMessage) {
	inputs := []json.RawMessage{input}
	var texts []string
	if json.Unmarshal(input, &texts) == nil { // several texts; a list of numbers is one text in tokens
		inputs = nil
		for _, text := range texts {
			inputs = append(inputs, encode(text))
		}
	}
	data := []object{}
	for i, one := range inputs {
		data = append(data, object{"object": "embedding", "index": i, "embedding": place(seedOf(model, one))})
	}
	tokens := 1 + len(input)/4
	writeJSON(w, object{
		"object": "list", "model": model, "data": data,
		"usage": object{"prompt_tokens": tokens, "total_tokens": tokens},
	})
}

func unknownPath(w http.ResponseWriter, r *http.Request) {
	refuse(w, http.StatusNotFound, "unknown_url", fmt.Sprintf("there is no %s %s here", r.Method, r.URL.Path))
}

// refuse answers with an error in OpenAI's shape.
func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(encode(failure(status, code, message)))
}

func failure(status int, code, message string) object {
	kind := "invalid_request_error"
	switch {
	case status >= 500:
		kind = "server_error"
	case status == http.StatusTooManyRequests:
		kind = "rate_limit_error"
	}
	return object{"error": object{"message": message, "type": kind, "param": nil, "code": code}}
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(encode(v), '\n'))
}

// send writes one server-sent event. That a client has left is noticed by the
// request's context, so errors of writing say nothing new.
func (s *Server) send(w http.ResponseWriter, r *http.Request, data []byte) {
	event := fmt.Appendf(nil, "data: %s\n\n", data)
	for len(event) > 0 {
		part := len(event)
		fault := s.Fault()
		if fault.Mode == Drip {
			part = 1
		}
		w.Write(event[:part])
		flush(w)
		event = event[part:]
		if fault.Mode == Drip {
			s.pause(r.Context(), fault.Delay)
		}
	}
}

func flush(w http.ResponseWriter) { http.NewResponseController(w).Flush() }

// encode is for values of this package, all of which JSON can express.
func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}
