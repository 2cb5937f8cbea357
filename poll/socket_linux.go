//go:build linux && !race

package poll

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What follows asks the kernel and does not wait, so Go's scheduler is not told of it: to
// tell it, before and after, and of what it does meanwhile for fear that the call takes
// long, was a tenth of what a token cost. recvfrom and sendto go to the socket without
// the detour by files that read and write take.

// longest is how much is copied without telling the scheduler.
const longest = 64 << 10

// Receive reads what has come on a socket; 0 without an error is its end. EAGAIN: nothing
// has come.
func Receive(fd uintptr, p []byte) (int, error) { return receive(fd, p, unix.MSG_DONTWAIT) }

// Peek reports whether nothing has come on a socket, its end included.
func Peek(fd uintptr) (quiet bool) {
	var one [1]byte
	_, err := receive(fd, one[:], unix.MSG_DONTWAIT|unix.MSG_PEEK)
	return err == syscall.EAGAIN
}

func receive(fd uintptr, p []byte, flags uintptr) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	p = p[:min(len(p), longest)]
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), flags, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

// Send writes to a socket what goes out at once. EAGAIN: nothing does.
func Send(fd uintptr, p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	p = p[:min(len(p), longest)]
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}
