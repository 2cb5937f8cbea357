package proxy

import (
	"errors"
	"net/http"
	"runtime/debug"
)

// isBug tells a panic that nobody meant from the one that ends an answer on purpose.
func isBug(recovered any) bool {
	err, is := recovered.(error)
	return !is || !errors.Is(err, http.ErrAbortHandler)
}

// contain keeps a bug in a goroutine beside the request from ending the process. It is
// to be deferred.
func (h *Handler) contain() {
	if recovered := recover(); recovered != nil {
		h.Panicked(recovered, debug.Stack())
	}
}
