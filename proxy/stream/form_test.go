package stream

import (
	"bytes"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// reader follows a stream with a watch and a tale.
type reader struct {
	watch Watch
	tale  *Tale // nil: the dialect has none
}

func newReader(d Dialect, choices int) *reader {
	r := &reader{watch: NewWatch(d, choices)}
	body := ask(`,"max_tokens":9`)
	if d == Text {
		body = askText("")
	}
	r.tale, _ = NewTale(d, []byte(body))
	return r
}

// skim takes events as a relay does that skims first.
func (r *reader) skim(events []byte) {
	r.each(events[r.watch.Skim(r.tale, events):])
}

// each takes events without skimming: watch and tale remember forms of their own.
func (r *reader) each(events []byte) {
	r.watch.See(events)
	if r.tale != nil {
		_ = r.tale.Hear(events)
	}
}

// read reads every event: no form is remembered. It is what the others must agree with.
func (r *reader) read(events []byte) {
	for len(events) > 0 {
		var e event
		e, events = r.watch.dialect.next(events)
		r.watch.see(e)
		if r.tale != nil {
			c := readChunk(e)
			r.tale.hear(&c)
		}
	}
}

// knows is all that a reader knows, but for the forms.
func (r *reader) knows() (Watch, Tale) {
	watch, tale := r.watch, Tale{}
	watch.form = nil
	if r.tale != nil {
		tale = *r.tale
		tale.form, tale.read = nil, 0
		tale.text = append([]byte{}, tale.text...)
	}
	return watch, tale
}

// mustAgree feeds a stream in pieces to readers with and without forms.
func mustAgree(t interface {
	Helper()
	Fatalf(string, ...any)
}, d Dialect, choices int, stream []byte, piece func(most int) int,
) {
	t.Helper()
	skimming, remembering, both, reading := newReader(d, choices), newReader(d, choices), newReader(d, choices), newReader(d, choices)
	fed, cut, from := 0, 0, 0
	for fed < len(stream) {
		fed += piece(len(stream) - fed)
		border := d.Border(stream[cut:fed], from)
		if fed == len(stream) {
			border = fed - cut // an end without a border is an event, too
		}
		if border == 0 {
			from = fed - cut
			continue
		}
		events := stream[cut : cut+border : cut+border]
		skimming.skim(bytes.Clone(events))
		remembering.each(bytes.Clone(events))
		if both.each(bytes.Clone(events)); fed%2 == 0 { // from now on the other one skims
			both, skimming = skimming, both
		}
		reading.read(bytes.Clone(events))
		cut += border
		from = fed - cut
		wantWatch, wantTale := reading.knows()
		for how, r := range map[string]*reader{"skimming": skimming, "remembering": remembering, "both": both} {
			if watch, tale := r.knows(); watch != wantWatch || !reflect.DeepEqual(tale, wantTale) {
				t.Fatalf("%s, after %q\n of %q\n  it knows %+v %+v\n    but is %+v %+v", how, events, stream[:cut], watch, tale, wantWatch, wantTale)
			}
		}
	}
}

// engines write events as some servers do; %s is where its words stand, and %d where a
// number is that differs.
var engines = map[Dialect][]string{
	Chat: {
		benchmarkEngine(Chat),
		`data: {"id":"c","created":%d,"choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":null}],"usage":null,"obfuscation":"%s"}`,
		`data: {"id":"c","object":"chat.completion.chunk","created":1,"choices":[{"index":0,"delta":{"role":"assistant","content":"%s"}}],"system_fingerprint":"f"}`,
		`data: {"choices":[{"index":0,"delta":{"content":"%s","reasoning_content":"%s"}}]}`,
		`data: {"choices":[{"index":0,"delta":{"content":"%s"}}],"usage":{"completion_tokens":%d}}`,
		`data: {"choices":[{"delta":{"content":"","reasoning_content":"%s"},"finish_reason":null}],"created":%d}`,
		`data: {"choices":[{"delta":{"content":"a","tool_calls":[{"function":{"arguments":"%s"}}]},"finish_reason":null}]}`,
		`data: {"choices":[{"index":%d,"delta":{"content":"%s"},"finish_reason":null}]}`,
		`data: {"content":"%s","choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":null}],"content":"%s"}`,
		`data: {"choices":[{"index":0,"stop_reason":{"text":"%s"},"delta":{"content":"%s"}, "finish_reason" : null}]}`,
		"event: message\ndata: {\"choices\":[{\"delta\":{\"content\":\"%s\"}}],\"error\":{\"text\":\"%s\"}}",
		": {\"choices\":[{\"delta\":{\"content\":\"%s\"}}]}\ndata: {\"choices\":[{\"delta\":{\"content\":\"%s\"}}]}",
		"data: {\"choices\":[{\"delta\":{\ndata: \"content\":\"%s\"}}]}",
		"odd: 1\ndata: {\"choices\":[{\"delta\":{\"content\":\"%s\"}}]}\nid: %d",
		`data: {"choices":[{"delta":{"content":"%s"},"finish_reason":false}]}`,
		`data: {"choices":[{"index":200,"delta":{"content":"%s"},"finish_reason":"stop"}]}`,
		`data:  [{"content":"%s"}]`,
		`data: {"content":"%s"}`,
	},
	Text: {
		benchmarkEngine(Text),
		`data: {"id":"t","choices":[{"index":0,"text":"%s"}],"created":%d}`,
		`data: {"id":"t","text":"%s","choices":[{"index":0,"text":"%s","finish_reason":null}]}`,
	},
	Responses: {
		"event: response.output_text.delta\n" + `data: {"type":"response.output_text.delta","delta":"%s","sequence_number":%d,"obfuscation":"%s"}`,
		`data: {"delta":"%s","type":"response.failed","sequence_number":%d}`,
	},
	Messages: {
		"event: content_block_delta\n" + `data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%s"}}`,
		"event: content_block_delta\n" + `data: {"type":"content_block_delta","index":%d,"delta":{"type":"input_json_delta","partial_json":"%s"} }`,
		`data: {"delta":{"text":"%s","stop_reason":null},"type":"message_delta"}`,
	},
	Lines: {
		`{"model":"m","created_at":"2025-10-09T08:52:19.%dZ","message":{"role":"assistant","content":"%s"},"done":false}`,
		`{"response":"%s","done":false,"created_at":"%s"}`,
		`{"message":{"content":"","thinking":"%s"} , "done" : false }`,
	},
	Opaque: {"data: %s", ": %s"},
}

// benchmarkEngine writes as the engine of the benchmarks.
func benchmarkEngine(d Dialect) string {
	whole := strings.NewReplacer(" harbour", "%s", "1760000000", "%d").Replace(benchmarkToken[d])
	return strings.TrimRight(whole, "\n")
}

// words are what stands in place of an engine's words: some that are read in one look,
// some that must not be, and some that break out of their string.
var words = []string{
	" harbour", "a", "", " ", "é", " 港", `\n`, `\\`, `\"`, `\u00e9`, `.\n`, `<b>`, "choices", "finish_reason", "stop_reason", "done", "[DONE]", "error",
	"</think>", "</thi", "nk>", `\u003c/think\u003e`, `\u003e`, "/think", `\`, `\x`, `\u12`, `\ud800`, "\x00", "\t", "\xff", "\xc3", "\u2028",
	`","finish_reason":"stop`, `"},"finish_reason":"stop","x":{"y":"`, `\",\"finish_reason\":\"stop`, `","done":true,"x":"`, `","type":"response.failed`,
	`"finish_reason":`, `finish_reason\":`, `"`, `":1,"a":"`, "a\n\ndata: [DONE]\n\n", "a\ndata: b", "a\rb", `{"choices":[]}`, "%s", strings.Repeat("long ", 300),
}

// strangers are events of other forms.
var strangers = map[Dialect][]string{
	Chat: {
		": wait", "data: [DONE]", "data", `data: {"id":"d","choices":[],"usage":{"completion_tokens":7}}`, `data: {"error":{"message":"no"}}`,
		"event: error\ndata: {}", `data: {"id":"e","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}`,
		`data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`, `data: {"choices":[{"index":1,"delta":{"content":"b"},"finish_reason":"length"}]}`,
		`data: {"choices":[{"index":0,"delta":{"content":null}}],"system_fingerprint":"late"}`,
	},
	Responses: {`data: {"type":"response.completed"}`, `data: {"type":"response.failed"}`, `data: {"type":"response.in_progress"}`},
	Messages: {
		"event: ping\ndata: {\"type\":\"ping\"}", `data: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}`, `data: {"type":"message_stop"}`,
		`data: {"type":"error","error":{"message":"no"}}`,
	},
	Lines: {`{"done":true}`, `{"error":"no"}`, "", "{}"},
}

// streamsOf are streams of a few engines that take turns.
func streamsOf(d Dialect) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		some := rapid.SliceOfN(rapid.SampledFrom(engines[d]), 1, 2).Draw(t, "engines")
		lineEnd := rapid.SampledFrom([]string{"\n", "\n", "\r\n", "\r"}).Draw(t, "line end")
		other := strangers[d]
		if d == Text {
			other = strangers[Chat]
		}
		var stream strings.Builder
		for range rapid.IntRange(1, 40).Draw(t, "events") {
			event := rapid.SampledFrom(some).Draw(t, "engine")
			if len(other) > 0 && rapid.IntRange(0, 7).Draw(t, "stranger") == 0 {
				event = rapid.SampledFrom(other).Draw(t, "stranger")
			}
			common := rapid.Bool().Draw(t, "common")
			for strings.Contains(event, "%d") {
				number := rapid.SampledFrom([]string{"0", "7", "1760000001", "01", "-1", "1.5", "1e3", ""}).Draw(t, "number")
				event = strings.Replace(event, "%d", number, 1)
			}
			for range strings.Count(event, "%s") {
				word := rapid.SampledFrom([]string{" harbour", "a", ""}).Draw(t, "common word")
				if !common {
					word = rapid.SampledFrom(words).Draw(t, "word")
				}
				event = strings.Replace(event, "%s", word, 1)
			}
			end := "\n\n"
			if d == Lines {
				end = "\n"
			}
			stream.WriteString(strings.ReplaceAll(event+end, "\n", lineEnd))
		}
		return stream.String()
	})
}

// TestWhoRemembersFormsKnowsWhatWhoReadsKnows holds what is known without reading against
// what is read.
func TestWhoRemembersFormsKnowsWhatWhoReadsKnows(t *testing.T) {
	for d := Opaque; d <= Lines; d++ {
		t.Run(fmt.Sprint(d), func(t *testing.T) {
			text := streamsOf(d)
			rapid.Check(t, func(t *rapid.T) {
				stream := []byte(text.Draw(t, "stream"))
				for range rapid.IntRange(0, 2).Draw(t, "mutations") {
					at := rapid.IntRange(0, len(stream)-1).Draw(t, "at")
					stream[at] = rapid.SampledFrom([]byte("\n\r\"\\:,{}[]0a \xff")).Draw(t, "mutation")
				}
				choices := rapid.IntRange(1, 2).Draw(t, "choices")
				mustAgree(t, d, choices, stream, func(most int) int { return rapid.IntRange(1, most).Draw(t, "piece") })
			})
		})
	}
}

func FuzzForm(f *testing.F) {
	for _, text := range streams(f) {
		for d := Chat; d <= Lines; d++ {
			f.Add(uint8(d), uint8(200), append(bytes.Clone(text), text...))
		}
	}
	for d, all := range engines {
		for _, engine := range all {
			event := strings.NewReplacer("%s", "a", "%d", "1").Replace(engine) + "\n\n"
			f.Add(uint8(d), uint8(50), []byte(strings.Repeat(event, 5)))
		}
	}
	f.Fuzz(func(t *testing.T, dialect, size uint8, stream []byte) {
		mustAgree(t, Dialect(dialect%uint8(Lines+1)), 1, stream, func(most int) int { return min(most, int(size)+1) })
	})
}

// TestEventsThatAreAlikeAreNotRead tells for every API which of its events are.
func TestEventsThatAreAlikeAreNotRead(t *testing.T) {
	for name, c := range map[string]struct {
		dialect Dialect
		event   string
		others  []string
		reads   bool // the tale reads it none the less
	}{
		"a chat": {
			dialect: Chat, event: benchmarkToken[Chat],
			others: []string{"1760000000", "1760000001", " harbour", "", " harbour", `caf\u00e9 \"`, " harbour", "港"},
		},
		"OpenAI's chat": {
			dialect: Chat, event: `data: {"id":"c","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}],"usage":null,"obfuscation":"b"}` + "\r\n\r\n",
			others: []string{`:"b"`, `:"fghI7"`},
		},
		"a chat that reasons":  {dialect: Chat, event: `data: {"choices":[{"delta":{"content":null,"reasoning_content":"Hm"}}]}` + "\n\n", others: []string{"Hm", "Well"}},
		"a call of a tool":     {dialect: Chat, event: `data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a"}}]}}]}` + "\n\n", others: []string{`{\"a`, `\":1`}},
		"a chat that counts":   {dialect: Chat, event: `data: {"choices":[{"delta":{"content":"a"}}],"usage":{"completion_tokens":1}}` + "\n\n", reads: true},
		"a completion":         {dialect: Text, event: benchmarkToken[Text], others: []string{" harbour", "a"}},
		"a response":           {dialect: Responses, event: benchmarkToken[Responses], others: []string{" harbour", "a", `:9}`, `:10}`}},
		"a message":            {dialect: Messages, event: benchmarkToken[Messages], others: []string{" harbour", "a"}},
		"lines":                {dialect: Lines, event: benchmarkToken[Lines], others: []string{" harbour", "a", "19.385406Z", "20.1Z"}},
		"lines of completions": {dialect: Lines, event: `{"created_at":"2025","response":"a","done":false}` + "\n", others: []string{`"a"`, `"b"`, "2025", "2026"}},
	} {
		r := newReader(c.dialect, 1)
		for range 4 {
			r.skim([]byte(c.event))
		}
		for _, event := range append([]string{c.event}, variants(c.event, c.others)...) {
			if got := r.watch.Skim(nil, []byte(event+event)); got != 2*len(event) {
				t.Errorf("%s: of %q the watch takes %d bytes without reading", name, event, got)
			}
			if got := r.watch.Skim(r.tale, []byte(event)); (got != len(event)) != c.reads {
				t.Errorf("%s: of %q the tale takes %d bytes without reading", name, event, got)
			}
		}
	}
}

// variants are an event with one of its parts replaced at a time.
func variants(event string, replacements []string) []string {
	var events []string
	for ; len(replacements) > 0; replacements = replacements[2:] {
		events = append(events, strings.Replace(event, replacements[0], replacements[1], 1))
	}
	return events
}

// TestFormsThatDoNotPayAreLearnedRarely: a server whose events are never alike costs
// little more than it would if none were remembered.
func TestFormsThatDoNotPayAreLearnedRarely(t *testing.T) {
	r := newReader(Chat, 1)
	for i := range 1000 {
		r.skim(fmt.Appendf(nil, `data: {"choices":[{"index":0,"delta":{"content":"a"}}],"odd":%d}`+"\n\n", i))
	}
	if learned := r.watch.form.number; learned > 20 {
		t.Errorf("of 1,000 events %d were learned", learned)
	}
	for range 3000 {
		r.skim([]byte(said("a", " harbour")))
	}
	if r.watch.form.hits == 0 {
		t.Error("when they are alike at last it does not notice")
	}
}

// TestAFormIsOnlyWhatIsAlwaysSo is about a copy of a watch, which has not seen what the
// watch has when they learn a form together.
func TestAFormIsOnlyWhatIsAlwaysSo(t *testing.T) {
	const last = `data: {"type":"message_delta","delta":{"text":"Bye","stop_reason":"end_turn"}}` + "\n\n"
	w := NewWatch(Messages, 1)
	for range 3 {
		w.See([]byte(benchmarkToken[Messages]))
	}
	before := w
	w.See([]byte(strings.Repeat(last, 5)))
	if before.See([]byte(last)); !before.Finished() {
		t.Errorf("the stream has ended, and it knows no more than %s", tell(before))
	}
}

// TestATaleReadsTheFirstEventOfEveryForm: it may have more to learn than text.
func TestATaleReadsTheFirstEventOfEveryForm(t *testing.T) {
	r := newReader(Chat, 1)
	late := []byte(`data: {"system_fingerprint":"late","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}` + "\n\n")
	for range 3 {
		r.watch.See(late)
		_ = r.tale.Hear([]byte(said("a", "Hi")))
	}
	if got := r.watch.Skim(r.tale, late); got != 0 {
		t.Errorf("%d bytes of a form that it knows from the watch alone are not read", got)
	}
	r.each(late)
	if got := r.tale.identity.of([]byte("system_fingerprint")); string(got) != `"late"` {
		t.Errorf("the fingerprint is %s", got)
	}
	if got := r.watch.Skim(r.tale, late); got != len(late) {
		t.Errorf("only %d bytes are taken of what it has read", got)
	}
}

// TestAResumedTaleIsNotSkimmed: what the next endpoint says is to be translated.
func TestAResumedTaleIsNotSkimmed(t *testing.T) {
	r := newReader(Chat, 1)
	for range 4 {
		r.skim([]byte(said("a", "Hi")))
	}
	r.tale.Resume()
	if got := r.watch.Skim(r.tale, []byte(said("a", "Hi"))); got != 0 {
		t.Errorf("it takes %d bytes", got)
	}
}

// TestAStreamKeepsLittleMoreThanItsText weighs watch, tale and form of many streams that
// have said a hundred tokens each.
func TestAStreamKeepsLittleMoreThanItsText(t *testing.T) {
	const many, tokens = 500, 100
	body, event := chat1KB(), []byte(benchmarkToken[Chat])
	before := heap()
	var all [many]*reader
	for i := range all {
		tale, err := NewTale(Chat, body)
		if err != nil {
			t.Fatal(err)
		}
		all[i] = &reader{watch: NewWatch(Chat, 1), tale: tale}
		for range tokens {
			all[i].skim(event)
		}
	}
	each := int(heap()-before) / many
	text := len(all[0].tale.text)
	t.Logf("%d bytes a stream, of which %d are its text", each, text)
	if more := each - text; more > 1000 {
		t.Errorf("a stream keeps %d bytes beyond the %d of its text", more, text)
	}
	runtime.KeepAlive(&all)
}

// heap is how many bytes live on the heap.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkSkim(b *testing.B) {
	event := []byte(benchmarkToken[Chat])
	r := newReader(Chat, 1)
	r.tale.limit = 0
	for range 4 {
		r.skim(event)
	}
	b.ReportAllocs()
	for b.Loop() {
		r.tale.text, r.tale.tokens = r.tale.text[:0], 0
		if r.watch.Skim(r.tale, event) != len(event) {
			b.Fatal("the token was not taken for one")
		}
	}
}
