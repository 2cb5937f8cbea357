package stream

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
)

func FuzzBorder(f *testing.F) {
	for _, seed := range []string{"data: 1\n\ndata: 2\r\n\r\n", "\r\r\n\n", "a\r\n\rb", ": x\n\n{}\n"} {
		f.Add([]byte(seed), uint8(3))
	}
	f.Fuzz(func(t *testing.T, stream []byte, size uint8) {
		piece := int(size)%16 + 1
		wanted := borders(string(stream))
		cut, from := 0, 0
		for fed := 0; fed < len(stream); {
			fed = min(fed+piece, len(stream))
			border := Chat.Border(stream[cut:fed], from)
			if want := wanted[fed]; border == 0 && want > cut || border > 0 && cut+border != want {
				t.Fatalf("of %q the border is at %d + %d, want %d", stream[:fed], cut, border, want)
			}
			cut += border
			from = fed - cut
		}
	})
}

func FuzzWatch(f *testing.F) {
	for _, text := range streams(f) {
		for d := Opaque; d <= Lines; d++ {
			f.Add(uint8(d), text)
		}
	}
	f.Fuzz(func(t *testing.T, dialect uint8, stream []byte) {
		d := Dialect(dialect % uint8(Lines+1))
		whole, eventwise, slow := NewWatch(d, 1), NewWatch(d, 1), NewWatch(d, 1)
		whole.See(stream)
		for rest := stream; len(rest) > 0; {
			var e event
			e, rest = d.next(rest)
			eventwise.See(e.raw)
			slow.see(e)
		}
		whole.form, eventwise.form = nil, nil
		if whole != eventwise || whole != slow {
			t.Fatalf("%q at once: %+v, event by event: %+v, without forms: %+v", stream, whole, eventwise, slow)
		}
		if whole.Done() && !whole.Finished() || whole.Finished() && !whole.Whole() {
			t.Fatalf("%q: %s", stream, tell(whole))
		}
		Choices(d, stream)
	})
}

func FuzzTale(f *testing.F) {
	for _, body := range []string{
		ask(""), ask(`,"max_tokens":3,"min_tokens":2`), askText(""), says(`[{"role":"user","content":[{"type":"text","text":"a"}]}]`),
		`{"messages":[{"role":"assistant","content":"Well,"}],"stream":true,"continue_final_message":true}`,
	} {
		for _, text := range streams(f) {
			f.Add([]byte(body), text, text)
		}
	}
	f.Fuzz(func(t *testing.T, body, first, second []byte) {
		for _, d := range []Dialect{Chat, Text} {
			tale, err := NewTale(d, body)
			if err != nil {
				if !errors.Is(err, ErrNotContinuable) {
					t.Fatal(err)
				}
				continue
			}
			mustGoOn(t, tale, tale.Hear(first))
			tale.Resume()
			seen, err := tale.Translate(second)
			mustGoOn(t, tale, err)
			mustStayJSON(t, second, seen)
		}
	})
}

// mustGoOn checks that a tale that lives has a request, or an end.
func mustGoOn(t *testing.T, tale *Tale, heard error) {
	t.Helper()
	if (heard == nil) != tale.Continuable() {
		t.Fatalf("%v, continuable %v", heard, tale.Continuable())
	}
	body, more, err := tale.Request()
	if (err == nil) != tale.Continuable() || more && !json.Valid(body) {
		t.Fatalf("%v %v: %q", more, err, body)
	}
	for rest := tale.End(); len(rest) > 0; {
		var e event
		e, rest = tale.dialect.next(rest)
		if !isDone(e.data) && !json.Valid(e.data) {
			t.Fatalf("the end is %q", e.raw)
		}
	}
}

// mustStayJSON checks that events that were JSON are so after their translation.
func mustStayJSON(t *testing.T, before, after []byte) {
	t.Helper()
	valid := true
	for rest := before; len(rest) > 0; {
		var e event
		e, rest = Chat.next(rest)
		valid = valid && (json.Valid(e.data) || isDone(e.data) || len(e.data) == 0)
	}
	for rest := after; valid && len(rest) > 0; {
		var e event
		e, rest = Chat.next(rest)
		if !json.Valid(e.data) && !isDone(e.data) && len(bytes.TrimSpace(e.data)) > 0 {
			t.Fatalf("%q became %q", before, after)
		}
	}
}
