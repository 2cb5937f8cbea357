//go:build !linux

package main

// hopSuites need epoll, cores to be pinned to and the accounting of the kernel.
func hopSuites() map[string]kind { return nil }
