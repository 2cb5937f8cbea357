package main

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// roundTrip is the kernel's round trip to the other end of a connection; 0 when it
// does not know. Of the smoothed and the shortest of the last minutes it is the
// smaller one: the smoothed one has the pauses in it after which clients acknowledge
// a token, up to 40 ms, and the shortest one, from Linux 4.6 on, has not.
func roundTrip(conn *net.TCPConn) time.Duration {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	var info *unix.TCPInfo
	var refused error
	err = raw.Control(func(fd uintptr) {
		info, refused = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	})
	if err != nil || refused != nil {
		return 0
	}
	return time.Duration(min(info.Rtt, info.Min_rtt)) * time.Microsecond
}
