//go:build !linux

package transport

// goBare cannot be done without epoll.
func (c *connection) goBare(func()) bool { return false }

func (c *connection) dress() bool { return true }
