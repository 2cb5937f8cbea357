package poll

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"
)

// interest is what the kernel shall tell of a socket. All are told at the moment of
// the change only (edge-triggered, epoll(7)).
type interest uint32

const (
	edge     interest = 1 << 31 // EPOLLET, which package syscall has as a negative number
	leaving           = syscall.EPOLLRDHUP | edge
	readable          = syscall.EPOLLIN | syscall.EPOLLRDHUP | edge
)

// batch is how many sockets are told of with one system call.
const batch = 128

// line is an epoll and those who are called for it. The epoll is itself watched by Go's
// own poller, so that waiting for it holds no thread.
type line struct {
	book
	file *os.File
	fd   int
}

func openLine() (*line, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil { // says to package os that it can be waited for
		syscall.Close(fd)
		return nil, fmt.Errorf("epoll: %w", err)
	}
	return &line{file: os.NewFile(uintptr(fd), "epoll"), fd: fd}, nil
}

func (l *line) close() { l.file.Close() }

// watch asks the kernel. It forgets a socket by itself when that is closed, and no other
// descriptor of the same socket is open. forget is for what nobody asks the kernel for.
func (l *line) watch(fd int, what interest, call func()) (forget func(), err error) {
	at, turn := l.enter(call)
	if err := l.control(syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: uint32(what), Fd: at, Pad: turn}); err != nil {
		l.strike(at, turn)
		return nil, err
	}
	return func() { l.strike(at, turn) }, nil
}

// drop asks the kernel to forget a socket that is open.
func (l *line) drop(fd int) { _ = l.control(syscall.EPOLL_CTL_DEL, fd, nil) }

func (l *line) control(op, fd int, event *syscall.EpollEvent) error {
	raw, err := l.file.SyscallConn()
	if err != nil {
		return err
	}
	controlled := raw.Control(func(epoll uintptr) { err = syscall.EpollCtl(int(epoll), op, fd, event) })
	if controlled != nil {
		return controlled
	}
	return err
}

// run calls until the line is closed.
func (l *line) run() {
	raw, err := l.file.SyscallConn()
	if err != nil {
		return
	}
	var events [batch]syscall.EpollEvent
	for {
		var n int
		err := raw.Read(func(epoll uintptr) bool {
			n = look(epoll, &events)
			return n > 0
		})
		if err != nil {
			return
		}
		for _, event := range events[:n] {
			if call := l.find(event.Fd, event.Pad); call != nil {
				call()
			}
		}
	}
}

// look asks what has happened, and does not wait. So the scheduler need not know of it.
func look(epoll uintptr, events *[batch]syscall.EpollEvent) int {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, epoll, uintptr(unsafe.Pointer(events)), batch, 0, 0, 0)
	if errno != 0 {
		return 0 // interrupted; the next change wakes again
	}
	return int(n)
}
