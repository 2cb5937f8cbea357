package proxy

import (
	"errors"
	"net/http"
)

// isBug tells a panic that nobody meant from the one that ends an answer on purpose.
func isBug(recovered any) bool {
	err, is := recovered.(error)
	return !is || !errors.Is(err, http.ErrAbortHandler)
}
