package proxy

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"proxima/router"
)

// Bounds of asking endpoints which models they have.
const (
	listEndpoints = 16
	listTimeout   = 2 * time.Second
	listBytes     = 1 << 20
)

func isModelList(r *http.Request) bool {
	return r.Method == http.MethodGet && r.URL.Path == "/v1/models"
}

// listing is an entry of OpenAI's model list, as the server wrote it.
type listing struct {
	id  string
	raw json.RawMessage
}

// listModels answers GET /v1/models with the union over healthy regions that the
// client may be served from. Declared models come from the table; endpoints that
// serve every model are asked. Of two entries for a model the first one counts,
// in the table's order, and an endpoint's own before one made up here.
func (h *Handler) listModels(x *exchange) {
	snapshot := h.Live.Snapshot()
	healthy := snapshot.Healthy(x.record.From)
	list := h.askModels(x, snapshot, healthy)
	for _, at := range healthy {
		for _, m := range snapshot.Table.Endpoints[at].Models {
			list = append(list, declared(m))
		}
	}
	if x.ctx.Err() != nil {
		x.respond(x.cancelled())
		return
	}
	x.respondModels(union(list))
}

// askModels asks the endpoints that declare none, a few at the most, all at once.
func (h *Handler) askModels(x *exchange, s *router.Snapshot, healthy []int) []listing {
	ctx, cancel := context.WithTimeout(x.ctx, listTimeout)
	defer cancel()
	var asked []*router.Endpoint
	for _, at := range healthy {
		if e := &s.Table.Endpoints[at]; len(e.Models) == 0 && len(asked) < listEndpoints {
			asked = append(asked, e)
		}
	}
	header := x.listHeader()
	answers := make([][]listing, len(asked))
	var asking sync.WaitGroup
	for i, endpoint := range asked {
		asking.Go(func() {
			defer h.contain()
			answers[i] = h.askOne(ctx, header.Clone(), endpoint)
		})
	}
	asking.Wait()
	return slices.Concat(answers...)
}

// listHeader is the client's header without what could bring anything but the
// whole list in plain text.
func (x *exchange) listHeader() http.Header {
	h := x.forwardedHeader()
	for _, name := range []string{
		"Accept", "Accept-Encoding", "Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since",
		"Content-Length", "Content-Type", "Content-Encoding",
	} {
		h.Del(name)
	}
	return h
}

// askOne returns an endpoint's own list; nothing when it does not give one in time.
func (h *Handler) askOne(ctx context.Context, header http.Header, e *router.Endpoint) []listing {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, e.URL.JoinPath("/v1/models").String(), nil)
	if err != nil {
		return nil
	}
	r.Header = header
	response, err := h.Failover.Next.RoundTrip(r)
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, listBytes))
	if err != nil || response.StatusCode != http.StatusOK {
		return nil
	}
	return readList(text)
}

// readList reads OpenAI's model list; entries without an id are left out.
func readList(text []byte) []listing {
	var list struct {
		Data []json.RawMessage `json:"data"`
	}
	if json.Unmarshal(text, &list) != nil {
		return nil
	}
	var found []listing
	for _, raw := range list.Data {
		var entry struct {
			ID string `json:"id"`
		}
		if json.Unmarshal(raw, &entry) == nil && entry.ID != "" {
			found = append(found, listing{entry.ID, raw})
		}
	}
	return found
}

func declared(m router.Model) listing {
	raw, _ := json.Marshal(map[string]any{"id": m, "object": "model", "created": 0, "owned_by": "proxima"})
	return listing{string(m), raw}
}

// union keeps the first entry for each model, in the order of their names.
func union(list []listing) []json.RawMessage {
	byID := func(a, b listing) int { return cmp.Compare(a.id, b.id) }
	slices.SortStableFunc(list, byID)
	list = slices.CompactFunc(list, func(a, b listing) bool { return a.id == b.id })
	entries := make([]json.RawMessage, len(list))
	for i := range list {
		entries[i] = list[i].raw
	}
	return entries
}

func (x *exchange) respondModels(entries []json.RawMessage) {
	text, _ := json.Marshal(map[string]any{"object": "list", "data": entries}) // valid already
	x.describe(x.w.Header())
	x.w.Header().Set("Content-Type", "application/json")
	x.record.Status, x.committed = http.StatusOK, true
	n, err := x.w.Write(append(text, '\n'))
	x.record.Bytes = int64(n)
	x.record.Complete = err == nil
}
