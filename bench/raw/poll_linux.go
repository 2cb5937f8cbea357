package raw

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// poller waits for many sockets at once. It is for one goroutine.
type poller struct {
	fd     int
	events [512]unix.EpollEvent
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create: %w", err)
	}
	return &poller{fd: fd}, nil
}

// add has the poller watch for anything to read, which the end of a connection is
// too.
func (p *poller) add(fd int) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	if err := unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

// longestWait is how long a loop may not look whether its context has ended.
const longestWait = 100 * time.Millisecond

// wait returns what has something to read, at the latest after longestWait. The
// slice is good until the next wait.
func (p *poller) wait(atMost time.Duration) ([]unix.EpollEvent, error) {
	patience := min(max(atMost, 0), longestWait)
	n, err := unix.EpollWait(p.fd, p.events[:], int((patience+time.Millisecond-1)/time.Millisecond))
	if err != nil && !errors.Is(err, unix.EINTR) {
		return nil, fmt.Errorf("epoll_wait: %w", err)
	}
	return p.events[:max(n, 0)], nil
}

func (p *poller) close() { unix.Close(p.fd) }

// ticker is a clock that a poller can wait for. It ticks far more finely than
// the runtime's timers, which epoll rounds up to a millisecond.
type ticker struct{ fd int }

func newTicker() (ticker, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return ticker{}, fmt.Errorf("timerfd_create: %w", err)
	}
	return ticker{fd}, nil
}

// every has it tick regularly from now on; 0: never.
func (t ticker) every(interval time.Duration) error {
	of := unix.NsecToTimespec(int64(interval))
	if err := unix.TimerfdSettime(t.fd, 0, &unix.ItimerSpec{Interval: of, Value: of}, nil); err != nil {
		return fmt.Errorf("timerfd_settime: %w", err)
	}
	return nil
}

// ticks is how often it ticked since it was asked last.
func (t ticker) ticks() int {
	var count [8]byte
	if n, err := unix.Read(t.fd, count[:]); n != len(count) || err != nil {
		return 0
	}
	return int(binary.NativeEndian.Uint64(count[:]))
}

func (t ticker) close() { unix.Close(t.fd) }
