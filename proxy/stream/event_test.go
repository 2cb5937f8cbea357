package stream

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestABorderIsWhereAnEventEnds(t *testing.T) {
	for _, c := range []struct {
		dialect Dialect
		text    string
		want    int
	}{
		{Chat, "", 0},
		{Chat, "data: 1", 0},
		{Chat, "data: 1\n", 0},
		{Chat, "data: 1\n\n", 9},
		{Chat, "data: 1\r\n\r\n", 11},
		{Chat, "data: 1\r\r", 9},
		{Chat, "data: 1\n\r\n", 10},
		{Chat, "data: 1\r\n\n", 10},
		{Chat, "data: 1\r\n\r", 10}, // the empty line ends with CR already
		{Chat, "data: 1\r\n", 0},    // one end of one line
		{Chat, "data: 1\n\ndata: 2\n", 9},
		{Chat, "data: 1\n\ndata: 2\n\nda", 18},
		{Chat, "\n", 1},
		{Chat, "\r\n", 2},
		{Opaque, "data: 1\n\n", 9},
		{Lines, "{}\n{}", 3},
		{Lines, "{}", 0},
		{Lines, "{\r", 0},
		{Lines, "{}\r\n{}\r\n", 8},
	} {
		if got := c.dialect.Border([]byte(c.text), 0); got != c.want {
			t.Errorf("dialect %v, %q: %d, want %d", c.dialect, c.text, got, c.want)
		}
	}
}

func TestABorderLooksOnlyAtWhatIsNew(t *testing.T) {
	text := []byte("data: 1\n\ndata: 2\n")
	if got := Chat.Border(text, len("data: 1\n\n")); got != 0 {
		t.Errorf("it looked back and found %d", got)
	}
	if got := Chat.Border(append(text, '\n'), len(text)); got != len(text)+1 {
		t.Errorf("an end that came in two pieces is at %d", got)
	}
	if got := Lines.Border([]byte("{}\n{"), 3); got != 0 {
		t.Errorf("of lines it looked back and found %d", got)
	}
}

func TestDataIsFoundWhereItStandsInItsEvent(t *testing.T) {
	for _, c := range []struct {
		dialect Dialect
		event   string
		want    int
	}{
		{Chat, "data: 1\n\n", 6},
		{Chat, "data:1\n\n", 5},
		{Chat, "data: 1\r\n\r\n", 6},
		{Chat, ": data: 1\nevent: a\ndata:  1\nid: 1\n\n", 25},
		{Chat, "data: 1\ndata: 2\n\n", -1},
		{Chat, ": 1\n\n", -1},
		{Chat, "data\n\n", -1},
		{Chat, "data: 1\n", -1},
		{Chat, "data: 1\r\n", -1},
		{Chat, "data: 1\r\r", -1},
		{Chat, "data: 1", -1},
		{Lines, "1\n", 0},
		{Lines, "1\r\n", 0},
		{Lines, "1", -1},
		{Lines, "\n", -1},
	} {
		e, _ := c.dialect.next(append([]byte(c.event), "data: 3\n\n"...)[:len(c.event)])
		if got := e.dataAt(c.dialect); got != c.want {
			t.Errorf("dialect %v: in %q the data is at %d, want %d", c.dialect, c.event, got, c.want)
		}
	}
}

// borders is Border told slowly, for every prefix of a text by its length: read from
// the start, a line at a time, where a CR ends its line both before and after the LF
// that may belong to it.
func borders(text string) []int {
	all := make([]int, 1, len(text)+1)
	end, lineIsEmpty, afterCR := 0, true, false
	for i, c := range []byte(text) {
		belongs := c == '\n' && afterCR
		ends := (c == '\n' || c == '\r') && !belongs
		if ends && lineIsEmpty || belongs && end == i {
			end = i + 1
		}
		if !belongs {
			lineIsEmpty = ends
		}
		afterCR = c == '\r'
		all = append(all, end)
	}
	return all
}

var eventText = rapid.Custom(func(t *rapid.T) string {
	part := rapid.SampledFrom([]string{"\n", "\r", "\r\n", "data: 1", ":", "data", "event: error", "\n\n", "\r\r\n", "{}"})
	return strings.Join(rapid.SliceOf(part).Draw(t, "parts"), "")
})

func TestBordersDoNotDependOnHowAStreamIsFed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := eventText.Draw(t, "text")
		wanted := borders(text)
		cut, from := 0, 0
		for fed := 0; fed < len(text); {
			fed += rapid.IntRange(1, len(text)-fed).Draw(t, "piece")
			border := Chat.Border([]byte(text[cut:fed]), from)
			if want := wanted[fed]; border == 0 && want > cut || border > 0 && cut+border != want {
				t.Fatalf("of %q the border is at %d + %d, want %d", text[:fed], cut, border, want)
			}
			cut += border
			from = fed - cut
		}
	})
}

func TestEventsAreThePiecesOfTheStream(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := eventText.Draw(t, "text")
		d := rapid.SampledFrom([]Dialect{Chat, Lines}).Draw(t, "dialect")
		whole := ""
		for rest := []byte(text); len(rest) > 0; {
			var e event
			e, rest = d.next(rest)
			whole += string(e.raw)
		}
		if whole != text {
			t.Fatalf("the events of %q are %q", text, whole)
		}
	})
}

func TestAnEventIsReadAsTheSpecificationSays(t *testing.T) {
	long := strings.Repeat("x", 3000)
	for _, c := range []struct {
		text, name, data string
		strange          bool
		rest             string
	}{
		{text: "data: 1\n\ndata: 2\n\n", data: "1", rest: "data: 2\n\n"},
		{text: "data:1\r\rx", data: "1", rest: "x"},
		{text: "data:  1\r\n\r\n", data: " 1"},
		{text: "event: a\ndata: {\ndata: }\nid: 7\nretry: 10\n: note\n\n", name: "a", data: "{\n}"},
		{text: "data\n\n"},
		{text: ": note\n\n"},
		{text: "\ndata: 1\n\n", rest: "data: 1\n\n"},
		{text: "datum: 1\n\n", strange: true},
		{text: "\ufeffdata: 1\n\n", strange: true},
		{text: "data: " + long + "\rdata: 2\n\n", data: long + "\n2"},
		{text: "data: 1", data: "1"},
	} {
		e, rest := Chat.next([]byte(c.text))
		if string(e.name) != c.name || string(e.data) != c.data || e.strange != c.strange || string(rest) != c.rest {
			t.Errorf("%.40q is %.40q %.40q %v, then %q", c.text, e.name, e.data, e.strange, rest)
		}
	}
}

func BenchmarkBorder(b *testing.B) {
	token := benchmarkToken[Chat]
	for name, text := range map[string]string{"whole": token, "half": token[:150], "whole and half": token + token[:150]} {
		b.Run(name, func(b *testing.B) {
			buf := []byte(text)
			for b.Loop() {
				Chat.Border(buf, 0)
			}
		})
	}
}
