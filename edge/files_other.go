//go:build !unix

package edge

// openFiles has no limit that could be asked for.
func openFiles() uint64 { return 16 << 10 }
