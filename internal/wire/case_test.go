package wire

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Case is a file of testdata/http-cases, whose README.md explains each field.
type Case struct {
	ID      string
	Group   string
	Proto   string
	Title   string
	Level   string
	Verdict string
	Allow   []string
	Send    []segment
	Client  struct {
		RejectStatus     []int `json:"reject_status"`
		CloseAfterReject bool  `json:"close_after_reject"`
		NoAnswerOK       bool  `json:"no_answer_ok"`
	}
	Upstream struct {
		NeverTargets    []string `json:"never_targets"`
		MaxRequests     int      `json:"max_requests"`
		Body            *octets
		RequireBytes    []octets `json:"require_bytes"`
		RequireBytesToo []octets `json:"require_bytes_ci"`
		ForbidBytes     []octets `json:"forbid_bytes"`
		ForbidBytesCase []octets `json:"forbid_bytes_cs"`
	}
	Expect struct {
		ClientIP string `json:"client_ip"`
	}
	Config struct {
		TrustedHops   []string `json:"trusted_hops"`
		ProxyProtocol bool     `json:"proxy_protocol"`
	}
	Needs, Why   string
	Cite, Origin []string
}

func (c *Case) allows(outcome string) bool { return slices.Contains(c.Allow, outcome) }

// octets are bytes, written as characters up to U+00FF.
type octets string

func (o *octets) UnmarshalJSON(text []byte) error {
	var characters string
	if err := json.Unmarshal(text, &characters); err != nil {
		return err
	}
	var bytes strings.Builder
	for _, r := range characters {
		bytes.WriteByte(byte(r))
	}
	*o = octets(bytes.String())
	return nil
}

// segment is a piece of what is sent, or something else that a peer does.
type segment struct {
	Bytes     octets
	Repeat    octets
	N         int
	Drip      octets
	DelayMS   int  `json:"delay_ms"`
	HalfClose bool `json:"half_close"`
	Close     bool
	RST       bool
	HangMS    int `json:"hang_ms"`

	Headers  [][2]octets `json:"h2_headers"`
	Body     *octets     `json:"h2_body"`
	Trailers [][2]octets `json:"h2_trailers"`
}

// longestPause bounds what a case says of time, so that the tests end soon. It is
// long enough for a dripping head to meet the router's time limit.
const longestPause = 100 * time.Millisecond

// writeTo sends the bytes of a segment.
func (s *segment) writeTo(w io.Writer) error {
	_, err := io.WriteString(w, string(s.Bytes)+strings.Repeat(string(s.Repeat), s.N))
	for at := 0; at < len(s.Drip) && err == nil; at++ {
		_, err = io.WriteString(w, string(s.Drip[at:at+1]))
		time.Sleep(min(time.Duration(s.DelayMS)*time.Millisecond, longestPause))
	}
	return err
}

// readCases reads every case. A field that is not known is an error: what it asks
// for would not be looked at.
func readCases(t *testing.T) []*Case {
	t.Helper()
	files, err := filepath.Glob("testdata/http-cases/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	cases := make([]*Case, len(files))
	for i, name := range files {
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		cases[i] = &Case{}
		decoder := json.NewDecoder(file)
		decoder.DisallowUnknownFields()
		err = decoder.Decode(cases[i])
		file.Close()
		if err != nil || cases[i].ID+".json" != filepath.Base(name) {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return cases
}
