package workload

import (
	"container/heap"
	"sort"
)

// Sessions says how requests belong together. The zero value: they do not.
//
// Each turn's prompt has all that was said before, prompt and answer, and new text. A
// turn comes when its client has read the answer, which is taken to come at 25 ms a
// token, and has thought: it is then the area's next arrival, which at r conversation
// requests a second is about Turns/r seconds later, and longer after a crowd has left:
// the rate is kept, and the pauses give. A conversation also ends when its prompt would
// have more than 16,000 tokens of what was said.
type Sessions struct {
	Share        float64 // of the requests that belong to conversations
	Turns        float64 // mean length of a conversation, geometric
	ThinkMs      float64 // mean pause of its client after the answer, exponential
	Prefixes     int     // system prompts there are, the n-th used as often as 1/n (Zipf); each request has one
	PrefixTokens int
}

const (
	mostShared = 16_000             // tokens of what was said
	answerMs   = 25.0               // a token
	newShare   = 4                  // a later turn's new text is a quarter of a recorded prompt, which has its own history
	mostLeadMs = 3600e3             // before time 0
	leadLives  = 3                  // mean conversations, after which one in twenty that were there at first is left
	prefixHash = 0x9e3779b97f4a7c15 // odd, so that no two numbers have the same
)

// conversation is one that goes on.
type conversation struct {
	readyMs float64 // when its client may ask again
	last    Request
}

// waiting is conversations by when they are ready, a heap.
type waiting []*conversation

func (w waiting) Len() int           { return len(w) }
func (w waiting) Less(i, j int) bool { return w[i].readyMs < w[j].readyMs }
func (w waiting) Swap(i, j int)      { w[i], w[j] = w[j], w[i] }
func (w *waiting) Push(c any)        { *w = append(*w, c.(*conversation)) }
func (w *waiting) Pop() any {
	old := *w
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*w = old[:len(old)-1]
	return last
}

// wait keeps a conversation for its next turn, if it is to have one.
func (d *demand) wait(q Request) {
	ends := d.Sessions.Turns <= 1 || d.what.Float64()*d.Sessions.Turns < 1
	if ends || q.Context+q.Generate > mostShared {
		return
	}
	pause := float64(q.Generate)*answerMs + d.Sessions.ThinkMs*d.what.ExpFloat64()
	heap.Push(&d.waiting, &conversation{readyMs: q.AtMs + pause, last: q})
}

// nextTurn is the next question of whoever has been ready the longest; false when nobody
// is.
func (d *demand) nextTurn(at float64) (Request, bool) {
	if len(d.waiting) == 0 || d.waiting[0].readyMs > at {
		return Request{}, false
	}
	q := heap.Pop(&d.waiting).(*conversation).last
	more := d.row()
	q.AtMs, q.Turn = at, q.Turn+1
	q.Shared = q.Context + q.Generate
	q.Context, q.Generate = q.Shared+max(more.Context/newShare, 1), more.Generate
	return q, true
}

// leadMs is how long before time 0 conversations begin.
func (d *demand) leadMs() float64 {
	if d.Sessions.Share <= 0 || d.Sessions.Turns <= 1 {
		return 0
	}
	return min(leadLives*d.Sessions.Turns*d.pauseMs, mostLeadMs)
}

// prefix puts a system prompt before a request.
func (d *demand) prefix(q *Request) {
	if d.Sessions.Prefixes <= 0 || d.Sessions.PrefixTokens <= 0 {
		return
	}
	n := min(sort.SearchFloat64s(d.popularity, d.what.Float64()), len(d.popularity)-1)
	q.Prefix, q.PrefixTokens = uint64(n+1)*prefixHash, d.Sessions.PrefixTokens
	q.Context += d.Sessions.PrefixTokens
}

// zipf is the share that the first 1, 2, … of n things have, the k-th in proportion to
// 1/k.
func zipf(n int) []float64 {
	sums, total := make([]float64, max(n, 0)), 0.0
	for k := range sums {
		total += 1 / float64(k+1)
		sums[k] = total
	}
	for k := range sums {
		sums[k] /= total
	}
	return sums
}
