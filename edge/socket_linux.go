package edge

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// canTry says that the kernel can be asked without waiting.
const canTry = true

// tryRead reads what has come; EAGAIN: nothing yet.
func tryRead(fd uintptr, p []byte) (int, error) {
	for {
		n, err := syscall.Read(int(fd), p)
		if err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}

// tryWrite writes what goes out; EAGAIN: nothing does.
func tryWrite(fd uintptr, parts *pieces) (int, error) {
	var some [len(parts)][]byte
	all := some[:0]
	for _, p := range parts {
		if len(p) > 0 {
			all = append(all, p)
		}
	}
	for {
		n, err := 0, error(nil)
		if len(all) == 1 {
			n, err = syscall.Write(int(fd), all[0])
		} else {
			n, err = unix.Writev(int(fd), all)
		}
		if err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}
