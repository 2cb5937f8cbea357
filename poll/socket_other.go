//go:build unix && (!linux || race)

package poll

import "syscall"

// Receive reads what has come on a socket that does not block; 0 without an error is its
// end. EAGAIN: nothing has come.
func Receive(fd uintptr, p []byte) (int, error) {
	for {
		n, err := syscall.Read(int(fd), p)
		if err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}

// Peek reports whether nothing has come on a socket, its end included.
func Peek(fd uintptr) (quiet bool) {
	for {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
		if err != syscall.EINTR {
			return err == syscall.EAGAIN
		}
	}
}

// Send writes to a socket that does not block what goes out at once. EAGAIN: nothing does.
func Send(fd uintptr, p []byte) (int, error) {
	for {
		n, err := syscall.Write(int(fd), p)
		if err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}
