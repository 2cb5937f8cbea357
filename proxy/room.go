package proxy

import "sync/atomic"

// room bounds how many bytes of request bodies are kept at once, of all requests
// together. The zero room is empty.
type room struct{ taken atomic.Int64 }

// take takes n bytes and returns true, unless more than limit would then be taken. A
// limit of 0 is none. However many take at once, there is never more.
func (r *room) take(n, limit int64) bool {
	for {
		taken := r.taken.Load()
		if limit > 0 && n > limit-taken {
			return false
		}
		if r.taken.CompareAndSwap(taken, taken+n) {
			return true
		}
	}
}

// give gives n bytes back.
func (r *room) give(n int64) { r.taken.Add(-n) }

// bytes is how many are taken.
func (r *room) bytes() int64 { return r.taken.Load() }
