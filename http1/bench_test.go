package http1

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
)

// usualRequest is a head of 440 bytes with ten fields, as a client of a model writes it.
var usualRequest = "POST /v1/chat/completions HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: OpenAI/Python 1.99.0\r\n" +
	"Accept: application/json\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nContent-Type: application/json\r\n" +
	"Authorization: Bearer sk-proj-" + strings.Repeat("k", 120) + "\r\nx-stainless-lang: python\r\nx-stainless-runtime: CPython\r\n" +
	"Content-Length: 512\r\n\r\n"

// usualResponse is the head of a stream.
const usualResponse = "HTTP/1.1 200 OK\r\ndate: Mon, 02 Mar 2026 10:11:12 GMT\r\nserver: uvicorn\r\ncontent-type: text/event-stream; charset=utf-8\r\n" +
	"cache-control: no-cache\r\nx-request-id: 0f3c9f0e6a1b4c5d\r\ntransfer-encoding: chunked\r\n\r\n"

func BenchmarkParseRequest(b *testing.B) {
	head := make([]byte, len(usualRequest))
	b.SetBytes(int64(len(head)))
	b.ReportAllocs()
	for b.Loop() {
		copy(head, usualRequest)
		var r http.Request
		end, err := Head(head, 0, true)
		if err != nil || end != len(head) {
			b.Fatal(end, err)
		}
		if err := ParseRequest(head, &r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadRequestOfNetHTTP(b *testing.B) {
	from := strings.NewReader("")
	in := bufio.NewReader(from)
	b.SetBytes(int64(len(usualRequest)))
	b.ReportAllocs()
	for b.Loop() {
		from.Reset(usualRequest)
		in.Reset(from)
		if _, err := http.ReadRequest(in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseResponse(b *testing.B) {
	head := make([]byte, len(usualResponse))
	b.SetBytes(int64(len(head)))
	b.ReportAllocs()
	for b.Loop() {
		copy(head, usualResponse)
		var r http.Response
		end, err := Head(head, 0, false)
		if err != nil || end != len(head) {
			b.Fatal(end, err)
		}
		if err := ParseResponse(head, "POST", &r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadResponseOfNetHTTP(b *testing.B) {
	from := strings.NewReader("")
	in := bufio.NewReader(from)
	b.SetBytes(int64(len(usualResponse)))
	b.ReportAllocs()
	for b.Loop() {
		from.Reset(usualResponse)
		in.Reset(from)
		if _, err := http.ReadResponse(in, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkChunks is about an event of a stream, which comes as a chunk.
func BenchmarkChunks(b *testing.B) {
	sent := AppendChunk(nil, []byte("data: {"+strings.Repeat("x", 230)+"}\n\n"))
	piece := make([]byte, len(sent))
	var c Chunks
	b.SetBytes(int64(len(sent)))
	b.ReportAllocs()
	for b.Loop() {
		copy(piece, sent)
		if data, _, err := c.Decode(piece); err != nil || len(data) != 240 {
			b.Fatal(len(data), err)
		}
	}
}

func BenchmarkAppendHeader(b *testing.B) {
	var r http.Request
	if err := ParseRequest([]byte(usualRequest), &r); err != nil {
		b.Fatal(err)
	}
	var p []byte
	b.ReportAllocs()
	for b.Loop() {
		p = AppendHeader(p[:0], r.Header, nil)
	}
}
