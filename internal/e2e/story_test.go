package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"proxima/internal/modelserver"
)

// story is a streamed answer as a client reads it, byte by byte to the end of its
// connection. Two are compared by differs.
type story struct {
	Text    string
	Finish  string
	Usage   string
	IDs     []string // every other one
	Roles   int      // events that say who speaks
	Done    int      // events that say [DONE]
	Failure string   // the code of an error event
	Notes   []string // comments
	Strange []string // lines that belong to no event: torn ones
	Status  int
	Region  string // where it began
	Bytes   int
	Broken  error // how the connection ended; nil: well
}

// differs says how a story differs from one that was told without a fault; "": in
// nothing.
func (s *story) differs(from *story) string {
	switch {
	case s.Text != from.Text:
		same := 0
		for same < min(len(s.Text), len(from.Text)) && s.Text[same] == from.Text[same] {
			same++
		}
		return fmt.Sprintf("after %d bytes of text that are right it has %.40q, not %.40q; failure %q, connection %v",
			same, s.Text[same:], from.Text[same:], s.Failure, s.Broken)
	case !slices.Equal(s.IDs, from.IDs):
		return fmt.Sprintf("ids %q, not %q", s.IDs, from.IDs)
	case s.Finish != from.Finish, s.Usage != from.Usage, s.Roles != from.Roles, s.Done != from.Done:
		return fmt.Sprintf("finish %q, usage %s, %d roles, %d times [DONE], not %q, %s, %d and %d",
			s.Finish, s.Usage, s.Roles, s.Done, from.Finish, from.Usage, from.Roles, from.Done)
	case s.Failure != "", s.Broken != nil, len(s.Strange) > 0:
		return fmt.Sprintf("failure %q, connection %v, strange lines %q", s.Failure, s.Broken, s.Strange)
	}
	return ""
}

// read takes in a stream to its end. Each event is announced before it is taken in.
func (s *story) read(from io.Reader, event func()) {
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadString('\n')
		s.Bytes += len(line)
		switch data, isData := strings.CutPrefix(line, "data: "); {
		case line == "\n", line == "":
		case isData && err == nil:
			event()
			s.hear(strings.TrimSuffix(data, "\n"))
		case line[0] == ':':
			s.Notes = append(s.Notes, line)
		default:
			s.Strange = append(s.Strange, line)
		}
		if err != nil && err != io.EOF {
			s.Broken = err
		}
		if err != nil {
			return
		}
	}
}

func (s *story) hear(data string) {
	if data == "[DONE]" {
		s.Done++
		return
	}
	var said struct {
		ID      string
		Choices []struct {
			Delta  struct{ Role, Content string }
			Finish *string `json:"finish_reason"`
		}
		Usage *struct {
			Prompt     int `json:"prompt_tokens"`
			Completion int `json:"completion_tokens"`
			Total      int `json:"total_tokens"`
		}
		Error *struct{ Code string }
	}
	if err := json.Unmarshal([]byte(data), &said); err != nil {
		s.Strange = append(s.Strange, data)
		return
	}
	if said.Error != nil {
		s.Failure = said.Error.Code
		return
	}
	if !slices.Contains(s.IDs, said.ID) {
		s.IDs = append(s.IDs, said.ID)
	}
	for _, choice := range said.Choices {
		s.Text += choice.Delta.Content
		if choice.Delta.Role != "" {
			s.Roles++
		}
		if choice.Finish != nil {
			s.Finish += *choice.Finish
		}
	}
	if said.Usage != nil {
		s.Usage += fmt.Sprint(*said.Usage)
	}
}

// alone is the story that a region tells when nothing is wrong and nobody is between.
func alone(t *testing.T, region, question string) *story {
	t.Helper()
	response := httptest.NewRecorder()
	server := modelserver.New(modelserver.Settings{Region: region})
	server.ServeHTTP(response, httptest.NewRequest(http.MethodPost, "/v1/chat/completions", strings.NewReader(question)))
	told := &story{}
	told.read(response.Body, func() {})
	if told.Text == "" || told.Done != 1 {
		t.Fatalf("the model server alone tells %+v", told)
	}
	return told
}

// asks is the body of a request for a streamed answer with its usage. Each number has
// another answer, of this many tokens at least.
func asks(number int, model string, tokens int) string {
	return fmt.Sprintf(`{"model":%q,"stream":true,"stream_options":{"include_usage":true},"min_tokens":%d,"max_tokens":%d,`+
		`"messages":[{"role":"user","content":"question %d"}]}`, model, tokens, tokens+100, number)
}

// listener is a client that reads one streamed answer.
type listener struct {
	Question string
	Story    story // when over is closed

	over chan struct{}

	mu   sync.Mutex // guards came
	came []time.Time
}

// listen asks a question as a client in Berlin and reads the answer in the background.
func (r *Router) listen(question string, header http.Header) *listener {
	l := &listener{Question: question, over: make(chan struct{})}
	request, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.URL+"/v1/chat/completions", strings.NewReader(question))
	if err != nil {
		r.t.Fatal(err)
	}
	request.Header.Set("X-Forwarded-For", berlin)
	for name, values := range header {
		request.Header[name] = values
	}
	go func() {
		defer close(l.over)
		response, err := single(time.Minute).Do(request)
		if err != nil {
			l.Story.Broken = err
			return
		}
		defer response.Body.Close()
		l.Story.Status, l.Story.Region = response.StatusCode, response.Header.Get("X-Proxima-Region")
		l.Story.read(response.Body, l.note)
	}()
	return l
}

func (l *listener) note() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.came = append(l.came, time.Now())
}

// events are when each event came so far.
func (l *listener) events() []time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.came)
}

// Wait waits for the end of the answer.
func (l *listener) Wait() *story {
	<-l.over
	return &l.Story
}
