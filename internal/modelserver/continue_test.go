package modelserver

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

const goOn = `,"continue_final_message":true,"add_generation_prompt":false`

func TestAChatGoesOnWhereItsBeginningEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		texas, tokyo := New(Settings{Region: "texas"}), New(Settings{Region: "tokyo"})
		here, there := start(t, texas), start(t, tokyo)
		streamed := `,"stream":true,"stream_options":{"include_usage":true}`
		alone := here.chat(hello, streamed)
		said := strings.Join(alone.tokens[:7], "")

		rest := there.chat(assistantSaid(said), goOn+streamed)

		if !slices.Equal(rest.tokens, alone.tokens[7:]) || rest.finish != alone.finish || !rest.done {
			t.Errorf("alone %q\nrest %+v", alone.tokens, rest)
		}
		if rest.usage != (usage{alone.usage.Prompt + 7, alone.usage.Completion - 7, alone.usage.Total}) {
			t.Errorf("usage alone %+v, of the rest %+v", alone.usage, rest.usage)
		}
		if rest.id == alone.id || rest.fingerprint == alone.fingerprint {
			t.Errorf("the continuation cannot be told from the beginning: %s, %s", rest.id, rest.fingerprint)
		}
		if tokyo.Stats().Resumed != 1 || texas.Stats().Resumed != 0 {
			t.Errorf("texas %+v\ntokyo %+v", texas.Stats(), tokyo.Stats())
		}
	})
}

func TestAPromptWithTheBeginningOfItsAnswerGetsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(Settings{})
		client := start(t, server)
		alone := client.completion("Once upon a time", `,"stream":true`)
		said := strings.Join(alone.tokens[:7], "")

		rest := client.completion("Once upon a time"+said, `,"stream":true`)

		if !slices.Equal(rest.tokens, alone.tokens[7:]) || rest.finish != alone.finish || rest.id == alone.id {
			t.Errorf("alone %q\nrest %+v", alone.tokens, rest)
		}
		if stats := server.Stats(); stats.Resumed != 1 || stats.Tokens != int64(2*len(alone.tokens)-7) {
			t.Errorf("%+v", stats)
		}
	})
}

func TestATextCutWithinATokenGoesOnWithinIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := start(t, New(Settings{}))
		alone := client.chat(hello, "")

		for cut := range len(alone.text) {
			rest := client.chat(assistantSaid(alone.text[:cut]), goOn)

			if rest.text != alone.text[cut:] || rest.usage.Total != alone.usage.Total {
				t.Fatalf("%q goes on with %q", alone.text[:cut], rest.text)
			}
		}
	})
}

func TestAWholeAnswerGoesOnWithNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := start(t, New(Settings{}))
		alone := client.chat(hello, "")

		rest := client.chat(assistantSaid(alone.text), goOn+`,"stream":true`)

		if rest.text != "" || rest.finish != "stop" || !rest.done {
			t.Errorf("%+v", rest)
		}
	})
}

func TestWordsThatItWouldNotHaveSaidAreContinuedToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := start(t, New(Settings{}))
		alone := client.chat(hello, "")
		first := client.chat(assistantSaid("Certainly! Here"), goOn+`,"stream":true`)
		cut := strings.Join(first.tokens[:5], "")

		again := client.chat(assistantSaid("Certainly! Here"), goOn)
		rest := client.chat(assistantSaid("Certainly! Here"+cut), goOn)

		if again.text != first.text || first.text == alone.text {
			t.Errorf("once %q, again %q, alone %q", first.text, again.text, alone.text)
		}
		if cut+rest.text != first.text {
			t.Errorf("%q breaks off after %q and goes on with %q", first.text, cut, rest.text)
		}
	})
}

func TestHowAQuestionIsWrittenDoesNotMatter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := start(t, New(Settings{}))

		one := client.chat(`[{"role":"user","content":"<é>"}]`, "")
		two := client.chat(`[ {"content":"\u003c\u00e9>", "role":"user"} ]`, "")

		if one.text != two.text || one.usage != two.usage {
			t.Errorf("%+v\n%+v", one, two)
		}
	})
}

// Questions are made of the words that answers are made of, so that they end in
// what might be the beginning of an answer.
func TestEveryAnswerIsTheSameCutOrNot(t *testing.T) {
	server := New(Settings{})
	rapid.Check(t, func(t *rapid.T) {
		q := rapid.Custom(anyQuestion).Draw(t, "question")
		alone := q.ask(server)
		cut := rapid.IntRange(0, len(alone.tokens)).Draw(t, "cut")
		again := rapid.IntRange(0, cut).Draw(t, "first cut")
		if q.most > 0 && cut == q.most { // nothing more may be asked for
			t.Skip()
		}

		between := q.after(alone.tokens[:again])
		rest := between.after(between.ask(server).tokens[:cut-again]).ask(server)

		if !slices.Equal(rest.tokens, alone.tokens[cut:]) || rest.finish != alone.finish {
			t.Fatalf("alone %q (%s)\nafter %d %q (%s)", alone.tokens, alone.finish, cut, rest.tokens, rest.finish)
		}
		if rest.usage != (usage{alone.usage.Prompt + cut, alone.usage.Completion - cut, alone.usage.Total}) {
			t.Fatalf("usage alone %+v, after %d %+v", alone.usage, cut, rest.usage)
		}
		if cut > 0 && rest.id == alone.id {
			t.Fatalf("both have the id %s", rest.id)
		}
	})
}

func FuzzAnAnswerGoesOnWhateverWasAsked(f *testing.F) {
	f.Add("", 1)
	f.Add(" the river the", 3)
	f.Add("Once, upon a time.", 63)
	f.Add(" of of of of of", 0)
	f.Fuzz(func(t *testing.T, prompt string, cut int) {
		tokens, finish := tell(begin(1, prompt), 0, mostTokens)
		if cut < 0 || cut > len(tokens) {
			t.Skip()
		}

		rest, end := tell(begin(1, prompt+strings.Join(tokens[:cut], "")), 0, mostTokens)

		if !slices.Equal(rest, tokens[cut:]) || end != finish {
			t.Errorf("%q gets %q, cut after %d %q", prompt, tokens, cut, rest)
		}
	})
}

func assistantSaid(text string) string {
	return strings.TrimSuffix(hello, "]") + `,{"role":"assistant","content":` + string(encode(text)) + `}]`
}

// asked is a question with all that a continuation of its answer changes in it.
type asked struct {
	chat        bool
	text        string // the prompt, or what the user says
	said        string // by the assistant before, in a chat
	goOn        bool
	least, most int // 0: not limited
}

func anyQuestion(t *rapid.T) asked {
	words := rapid.SampledFrom(append(vocabulary[:], "\n", "é", "Tell", " ", `"`))
	q := asked{
		chat: rapid.Bool().Draw(t, "chat"),
		text: strings.Join(rapid.SliceOfN(words, 0, 12).Draw(t, "words"), ""),
		goOn: rapid.Bool().Draw(t, "goes on"),
	}
	if q.goOn {
		q.said = strings.Join(rapid.SliceOfN(words, 0, 4).Draw(t, "said"), "")
	}
	if rapid.Bool().Draw(t, "limited") {
		q.least = rapid.IntRange(0, 100).Draw(t, "least")
		q.most = rapid.IntRange(1, 100).Draw(t, "most")
	}
	return q
}

// after is the question for the rest when some tokens of the answer are there.
func (q asked) after(tokens []string) asked {
	text := strings.Join(tokens, "")
	if q.chat {
		q.said += text
		q.goOn = true
	} else {
		q.text += text
	}
	q.least -= len(tokens)
	if q.most > 0 {
		q.most -= len(tokens)
	}
	return q
}

func (q asked) ask(server *Server) told {
	body := object{"model": "llama-3-8b", "prompt": q.text, "min_tokens": max(q.least, 0)}
	path := "/v1/completions"
	if q.most > 0 {
		body["max_tokens"] = q.most
	}
	if q.chat {
		path = "/v1/chat/completions"
		messages := []object{{"role": "user", "content": q.text}}
		if q.goOn {
			messages = append(messages, object{"role": "assistant", "content": q.said})
			body["continue_final_message"], body["add_generation_prompt"] = true, false
		}
		body["messages"] = messages
	}
	body["stream"], body["stream_options"] = true, object{"include_usage": true}
	w := httptest.NewRecorder()
	server.ServeHTTP(w, httptest.NewRequest("POST", path, strings.NewReader(string(encode(body)))))
	return client{}.hear(w.Result())
}
