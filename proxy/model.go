package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"

	"proxima/router"
)

// ask finds out which model the request is for, and keeps its body for another
// attempt. In the order of their word: the X-Proxima-Model header, the path, the
// body. A body that contradicts the header, that names two models, or that is
// not JSON where the decision depends on it, is the client's error.
func (x *exchange) ask() error {
	if err := x.keepBody(); err != nil {
		return x.bodyProblem(err)
	}
	matters := x.handler.Live.Snapshot().Table.ModelsMatter()
	told, ofPath := field(x.in.Header, "X-Proxima-Model"), modelOfPath(x.in.URL.Path)
	switch {
	case told == "":
		told = ofPath
	case ofPath != "" && ofPath != told && matters:
		return problemConflict(told, ofPath)
	}
	if len(told) > maxModel {
		return problemModelName
	}
	found, err := x.modelOfBody(matters)
	switch {
	case err != nil && matters:
		return err
	case told != "" && found != "" && told != found && matters:
		return problemConflict(told, found)
	case told == "" && found == "" && matters && x.body.length != 0 && isInference(x.in.URL.Path):
		return problemNoModel
	case told == "":
		told = found
	}
	x.record.Model = router.Model(told)
	x.query.Model = x.record.Model
	x.rules = x.settings.rules(x.record.Model)
	return nil
}

// keepBody reads the client's body, as much of it as is kept for another attempt.
// Where a read may wait, it ends when the client's patience does.
func (x *exchange) keepBody() error {
	x.source = source{from: x.in.Body, control: &x.control, limit: x.settings.StallTimeout}
	shared := share{room: &x.handler.kept, limit: x.settings.BodyMemory}
	if isHere(x.in.Body) {
		return x.body.keep(x.in, &x.source, x.settings.ReplayLimit, &shared)
	}
	stay := context.AfterFunc(x.ctx, func() { x.source.stop() })
	err := x.body.keep(x.in, &x.source, x.settings.ReplayLimit, &shared)
	if !stay() {
		x.source.linger()
	}
	return err
}

// isHere reports whether all that is still to come of a body has come already, so that
// no read of it waits. Of its bodies the front of package edge knows that.
func isHere(body io.Reader) bool {
	if body == nil || body == http.NoBody {
		return true
	}
	known, is := body.(interface{ Buffered() bool })
	return is && known.Buffered()
}

// modelOfBody scans a JSON body for its model. When the body is longer than what
// is kept, the rest is scanned while it is forwarded, and a second model there
// breaks the request off: what was decided holds for all of it.
func (x *exchange) modelOfBody(matters bool) (string, error) {
	if len(x.body.kept) == 0 || !x.speaksJSON() {
		return "", nil
	}
	if !isPlain(x.in.Header) {
		return "", problemEncoding
	}
	s := newScan()
	err := s.feed(x.body.kept)
	if err == nil && x.body.whole() {
		err = s.finish()
	}
	if err != nil {
		return "", problemBody(err)
	}
	x.prefix, x.streams = promptPrefix(x.body.kept, s.prompt), s.streams
	if !x.body.whole() && matters {
		if !s.found || s.isModel {
			return "", problemTooLarge(x.settings.ReplayLimit)
		}
		x.body.rest = &scanned{r: x.body.rest, scan: s}
	}
	return s.model, nil
}

// prefixBytes of a prompt tell which one it is: enough for a system prompt, or the
// first turn of a conversation, to differ from others.
const prefixBytes = 512

// promptPrefix is how the prompt begins; nil when it is too short for a cache of it
// to save anything.
func promptPrefix(body []byte, begin int64) []byte {
	if begin == 0 || int64(len(body)) < begin+prefixBytes {
		return nil
	}
	return body[begin : begin+prefixBytes]
}

// speaksJSON reports whether a body is to be read as JSON. Inference servers
// read one whatever its declared type, so on their paths only forms are exempt,
// and what is called a form but is none is not.
func (x *exchange) speaksJSON() bool {
	kind := kindOf(x.in.Header)
	if kind == "application/json" || strings.HasSuffix(kind, "+json") {
		return true
	}
	form := strings.HasPrefix(kind, "multipart/") && bytes.HasPrefix(x.body.kept, []byte("--"))
	return isInference(x.in.URL.Path) && !form
}

// scanned checks what streams past.
type scanned struct {
	r    io.Reader
	scan *scan
}

func (s *scanned) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	wrong := s.scan.feed(p[:n])
	if wrong == nil && errors.Is(err, io.EOF) {
		wrong = s.scan.finish()
	}
	if wrong != nil {
		return 0, problemBody(wrong)
	}
	return n, err
}

// inferencePaths end the paths of APIs that take a model in a JSON body: OpenAI,
// Anthropic, Ollama, and what vLLM and llama.cpp add.
var inferencePaths = []string{
	"/chat/completions", "/completions", "/embeddings", "/responses", "/v1/messages", "/rerank", "/score", "/classify",
	"/pooling", "/moderations", "/audio/speech", "/images/generations",
	"/api/generate", "/api/chat", "/api/embed",
}

func isInference(path string) bool {
	path = strings.TrimSuffix(path, "/")
	for _, end := range inferencePaths {
		if strings.HasSuffix(path, end) {
			return true
		}
	}
	return modelOfPath(path) != ""
}

// modelOfPath finds the model in paths that carry one: /v1/models/NAME (OpenAI)
// with :predict or :explain behind it (KServe), /v2/models/NAME/… (Triton,
// KServe), /openai/deployments/NAME/… (Azure), /v1beta/models/NAME:… (Gemini).
func modelOfPath(path string) string {
	if name, is := strings.CutPrefix(path, "/v1/models/"); is {
		name = strings.TrimSuffix(name, ":predict")
		return strings.TrimSuffix(name, ":explain")
	}
	if name, is := strings.CutPrefix(path, "/v1beta/models/"); is {
		name, _, _ = strings.Cut(name, ":")
		return name
	}
	for _, before := range []string{"/v2/models/", "/openai/deployments/"} {
		if rest, is := strings.CutPrefix(path, before); is {
			name, _, _ := strings.Cut(rest, "/")
			return name
		}
	}
	return ""
}

// bodyProblem tells a client that left, or that is too slow, from one whose body
// is malformed.
func (x *exchange) bodyProblem(err error) error {
	var network net.Error
	var own *Problem
	var malformed interface{ Malformed() }
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &malformed):
		return problemUnreadable(err)
	case endedBy(x.ctx) != nil:
		return endedBy(x.ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return problemSlow
	case x.in.Context().Err() != nil, errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &network):
		return errClientLeft
	}
	return problemUnreadable(err)
}
