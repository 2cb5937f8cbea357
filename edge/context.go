package edge

import (
	"context"
	"sync"
)

// life is the context of one request. It ends with the handler, or when the client
// leaves, or when the router cuts what is left.
//
// context.WithCancel would enter each request with the one context that all have in
// common, under its lock. Here the server ends lives itself, as it knows every
// connection, and a life makes what others want to wait on when they ask for it.
type life struct {
	context.Context // of the connection: its values

	mu    sync.Mutex
	err   error         // why it ended; nil: it has not
	done  chan struct{} // nil: nobody has asked
	after *afterwards   // who wants to be called
}

// afterwards is somebody who wants to be called when a life ends.
type afterwards struct {
	call func()
	next *afterwards
}

// Err is context.Context's.
func (l *life) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Done is context.Context's.
func (l *life) Done() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done == nil {
		l.done = make(chan struct{})
		if l.err != nil {
			close(l.done)
		}
	}
	return l.done
}

// AfterFunc is what package context looks for: with it, contexts that descend from this
// one need no goroutine to hear of its end. call must not wait.
func (l *life) AfterFunc(call func()) (stop func() bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		go call() // not here: the caller may hold what call needs
		return func() bool { return false }
	}
	one := &afterwards{call, l.after}
	l.after = one
	return func() bool { return l.strike(one) }
}

// strike reports whether somebody was still to be called, and now is not.
func (l *life) strike(one *afterwards) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for at := &l.after; *at != nil; at = &(*at).next {
		if *at == one {
			*at = one.next
			return true
		}
	}
	return false
}

// end ends it, unless it has ended before.
func (l *life) end(err error) {
	for one := l.endQuietly(err); one != nil; one = one.next {
		one.call()
	}
}

// endQuietly returns who is to be called.
func (l *life) endQuietly(err error) *afterwards {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return nil
	}
	l.err = err
	if l.done != nil {
		close(l.done)
	}
	after := l.after
	l.after = nil
	return after
}
