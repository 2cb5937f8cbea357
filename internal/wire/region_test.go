package wire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// region is an endpoint that takes HTTP/1.1 to the letter and writes down all that
// comes, with every fault in it.
type region struct {
	listener net.Listener
	script   []segment // how it answers what is asked of it; nil: with 200

	running sync.WaitGroup
	mu      sync.Mutex
	got     []*asked
	raw     []*bytes.Buffer // all bytes of each connection
}

// asked is a request as it came.
type asked struct {
	method, target string
	fields         []field
	body           string
	complete       bool
	faults         []string
}

type field struct{ name, value string }

// values of a field, in the order of their lines.
func (r *asked) values(name string) []string {
	var values []string
	for _, f := range r.fields {
		if strings.EqualFold(f.name, name) {
			values = append(values, f.value)
		}
	}
	return values
}

func (r *asked) fault(form string, values ...any) {
	r.faults = append(r.faults, fmt.Sprintf(form, values...))
}

// incomplete is the one fault that is the router's right: it may break a request off.
const incomplete = "incomplete head"

func (g *region) run() {
	g.running.Go(func() {
		for {
			conn, err := g.listener.Accept()
			if err != nil {
				return
			}
			g.running.Go(func() { g.serve(conn.(*net.TCPConn)) })
		}
	})
}

// end waits until every connection has ended: the router has to close them first.
func (g *region) end() {
	g.listener.Close()
	g.running.Wait()
}

func (g *region) serve(conn *net.TCPConn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	raw := &bytes.Buffer{}
	g.mu.Lock()
	g.raw = append(g.raw, raw)
	g.mu.Unlock()
	in := bufio.NewReader(io.TeeReader(conn, raw))
	for {
		r, err := hear(in)
		if r != nil && r.target != sentinel {
			g.mu.Lock()
			g.got = append(g.got, r)
			g.mu.Unlock()
		}
		if err != nil || !g.answer(conn, r) {
			return
		}
	}
}

// answer reports whether the connection goes on.
func (g *region) answer(conn *net.TCPConn, r *asked) bool {
	if r.target != sentinel && g.script != nil {
		return g.play(conn)
	}
	body := "region"
	if r.target == sentinel {
		body = sentinel
	}
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", len(body))
	if r.method == "HEAD" {
		body = ""
	}
	_, err := io.WriteString(conn, head+body)
	return err == nil && !slices.ContainsFunc(r.values("Connection"), func(v string) bool { return strings.Contains(strings.ToLower(v), "close") })
}

// play does what the case says.
func (g *region) play(conn *net.TCPConn) bool {
	for _, s := range g.script {
		switch {
		case s.Close:
			return false
		case s.RST:
			time.Sleep(longestPause / 2) // what was sent before shall arrive
			_ = conn.SetLinger(0)
			return false
		case s.HangMS > 0:
			time.Sleep(min(time.Duration(s.HangMS)*time.Millisecond, longestPause))
		default:
			if s.writeTo(conn) != nil {
				return false
			}
		}
	}
	return true
}

// hear reads one request. An error ends the connection; what was read of the
// request is returned with it, nil when there was nothing.
func hear(in *bufio.Reader) (*asked, error) {
	head, err := until(in, "\r\n\r\n")
	if err != nil {
		if head == "" {
			return nil, err
		}
		return &asked{faults: []string{incomplete}}, err
	}
	r := &asked{}
	lines := strings.Split(head, "\r\n")
	r.readLine(lines[0])
	for _, line := range lines[1:] {
		r.readField(line)
	}
	r.check()
	if r.body, err = r.readBody(in); err != nil {
		return r, err
	}
	r.complete = true
	return r, nil
}

// until reads up to and with a separator, and returns what is before it.
func until(in *bufio.Reader, separator string) (string, error) {
	var text strings.Builder
	for !strings.HasSuffix(text.String(), separator) {
		line, err := in.ReadString('\n')
		text.WriteString(line)
		if err != nil {
			return text.String(), err
		}
	}
	return strings.TrimSuffix(text.String(), separator), nil
}

var (
	token       = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
	protocol    = regexp.MustCompile(`^HTTP/1\.[01]$`)
	number      = regexp.MustCompile(`^[0-9]+$`)
	hexadecimal = regexp.MustCompile(`^[0-9A-Fa-f]{1,16}$`)
	control     = regexp.MustCompile(`[\x00-\x20\x7f]`)
)

func (r *asked) readLine(line string) {
	parts := strings.Split(line, " ")
	if len(parts) != 3 || !token.MatchString(parts[0]) || !protocol.MatchString(parts[2]) {
		r.fault("request line %.80q", line)
	}
	if len(parts) > 1 {
		r.method, r.target = parts[0], parts[1]
	}
	if control.MatchString(r.target) {
		r.fault("target %.80q", r.target)
	}
}

func (r *asked) readField(line string) {
	name, value, found := strings.Cut(line, ":")
	switch {
	case strings.ContainsAny(line, "\r\n"):
		r.fault("a CR or LF alone in %.80q", line)
	case !found:
		r.fault("no colon in %.80q", line)
	case !token.MatchString(name):
		r.fault("name %.80q", name)
	case strings.Contains(value, "\x00"):
		r.fault("NUL in %.80q", line)
	}
	r.fields = append(r.fields, field{name, strings.Trim(value, " \t")})
}

// check looks at what the fields say together.
func (r *asked) check() {
	lengths, codings := r.values("Content-Length"), r.values("Transfer-Encoding")
	switch {
	case len(lengths)+len(codings) > 1:
		r.fault("length %.80q and coding %.80q", lengths, codings)
	case len(lengths) == 1 && !number.MatchString(lengths[0]):
		r.fault("length %.80q", lengths)
	case len(codings) == 1 && !strings.EqualFold(codings[0], "chunked"):
		r.fault("coding %.80q", codings)
	}
	if hosts := r.values("Host"); len(hosts) != 1 {
		r.fault("hosts %.80q", hosts)
	}
}

var errFraming = errors.New("the body's framing is not to the letter")

func (r *asked) readBody(in *bufio.Reader) (string, error) {
	if len(r.values("Transfer-Encoding")) > 0 {
		return r.readChunks(in)
	}
	lengths := r.values("Content-Length")
	if len(lengths) == 0 {
		return "", nil
	}
	n, err := strconv.Atoi(lengths[0])
	if err != nil {
		return "", errFraming
	}
	return take(in, n)
}

func take(in io.Reader, n int) (string, error) {
	var content bytes.Buffer
	_, err := io.CopyN(&content, in, int64(n))
	return content.String(), err
}

func (r *asked) readChunks(in *bufio.Reader) (string, error) {
	var body strings.Builder
	for {
		line, err := until(in, "\r\n")
		if err != nil {
			return body.String(), err
		}
		if !hexadecimal.MatchString(line) {
			r.fault("chunk size %.80q", line)
			return body.String(), errFraming
		}
		size, err := strconv.ParseInt(line, 16, 32)
		if err != nil {
			return body.String(), errFraming
		}
		if size == 0 {
			return body.String(), r.readTrailer(in)
		}
		chunk, err := take(in, int(size)+2)
		if err != nil {
			return body.String(), err
		}
		if !strings.HasSuffix(chunk, "\r\n") {
			r.fault("a chunk ends with %.80q", chunk[size:])
			return body.String(), errFraming
		}
		body.WriteString(chunk[:size])
	}
}

func (r *asked) readTrailer(in *bufio.Reader) error {
	for {
		line, err := until(in, "\r\n")
		if line == "" || err != nil {
			return err
		}
		if name, _, found := strings.Cut(line, ":"); !found || !token.MatchString(name) {
			r.fault("trailer %.80q", line)
		}
	}
}
