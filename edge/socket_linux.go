package edge

import (
	"syscall"

	"golang.org/x/sys/unix"

	"proxima/poll"
)

// canTry says that the kernel can be asked without waiting.
const canTry = true

// tryRead reads what has come; EAGAIN: nothing yet.
func tryRead(fd uintptr, p []byte) (int, error) { return poll.Receive(fd, p) }

// tryWrite writes what goes out; EAGAIN: nothing does.
func tryWrite(fd uintptr, parts *pieces) (int, error) {
	var some [len(parts)][]byte
	all := some[:0]
	for _, p := range parts {
		if len(p) > 0 {
			all = append(all, p)
		}
	}
	if len(all) == 1 {
		return poll.Send(fd, all[0])
	}
	for {
		n, err := unix.Writev(int(fd), all)
		if err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}
