package edge

import "sync"

// buffer is what a head, a piece of a body or a piece of an answer is in for as long as
// it is on its way. Connections on which nothing happens have none.
type buffer [4 << 10]byte

// buffers are those that nobody has right now.
type buffers struct{ pool sync.Pool }

func (b *buffers) take() *buffer {
	if one, is := b.pool.Get().(*buffer); is {
		return one
	}
	return new(buffer)
}

func (b *buffers) give(one *buffer) { b.pool.Put(one) }

// reuse gives back the buffer that a slice began with, if it still does.
func (b *buffers) reuse(slice []byte) {
	if cap(slice) == len(buffer{}) {
		b.give((*buffer)(slice[:cap(slice)]))
	}
}

// ahead is what came from a client and was not used yet: the beginning of the next
// request, or some of a body.
type ahead struct {
	pool  *buffers
	lent  *buffer // nil: the bytes are somewhere else, or there are none
	data  []byte  // of a body, out of its chunks already; before bytes
	bytes []byte
}

// leastRoom is less than is worth a system call.
const leastRoom = 512

// room is where more can be read to, behind bytes.
func (a *ahead) room() []byte {
	if a.lent == nil && cap(a.bytes) == 0 {
		a.lent = a.pool.take()
		a.bytes = a.lent[:0]
	}
	if cap(a.bytes)-len(a.bytes) < leastRoom {
		a.makeRoom()
	}
	return a.bytes[len(a.bytes):cap(a.bytes)]
}

func (a *ahead) makeRoom() {
	if a.lent != nil && len(a.bytes)+leastRoom <= len(a.lent) {
		a.bytes = a.lent[:copy(a.lent[:], a.bytes)]
		return
	}
	a.store(append(make([]byte, 0, max(2*len(a.bytes), len(buffer{}))), a.bytes...))
}

// store replaces what there is, as long as data is empty.
func (a *ahead) store(bytes []byte) {
	a.release()
	a.bytes = bytes
}

// came says that n bytes were read into the room.
func (a *ahead) came(n int) { a.bytes = a.bytes[:len(a.bytes)+n] }

// keep takes a copy of what came elsewhere, when there is nothing else.
func (a *ahead) keep(bytes []byte) {
	if len(bytes) > 0 {
		a.store(append([]byte(nil), bytes...))
	}
}

// use says that n bytes of bytes are done with.
func (a *ahead) use(n int) {
	a.bytes = a.bytes[n:]
	a.tidy()
}

// moveData moves some of data to p.
func (a *ahead) moveData(p []byte) (n int) {
	n = copy(p, a.data)
	a.data = a.data[n:]
	a.tidy()
	return n
}

// tidy gives back the buffer that there is nothing in.
func (a *ahead) tidy() {
	if len(a.data)+len(a.bytes) == 0 {
		a.release()
	}
}

func (a *ahead) release() {
	if a.lent != nil {
		a.pool.give(a.lent)
	}
	a.lent, a.data, a.bytes = nil, nil, nil
}
